/** What `agent install` and `agent uninstall` print and exit with: into an image, from the sources. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { makeBundles } from "../../src/certs/bundle-files.ts";
import { CertsAuthority } from "../support/certs.ts";
import { listFiles } from "../support/file-listing.ts";
import { type RunResult, runAgent } from "../support/run-agent.ts";
import { TempDir } from "../support/temp-dir.ts";

const SERVER = "https://logs.example.net:19532";
/** The tools of systemd that a server's plan runs on this machine, for the image. */
const HAS_TOOLS = ["systemd-sysusers", "systemd-tmpfiles"].every((name) => Bun.which(name));

let image: TempDir;
let ca: CertsAuthority;
beforeEach(async () => {
  image = new TempDir(existsSync("/dev/shm") ? "/dev/shm" : undefined);
  image.write("usr/lib/systemd/libsystemd-shared-257.so", "");
  image.write("etc/hostname", "web1\n");
  image.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
  image.write("etc/group", "root:x:0:\nsystemd-journal:x:190:\n");
  for (const path of ["usr/local/bin", "etc/ssl", "var/lib", "var/log/journal"]) {
    mkdirSync(join(image.path, path), { recursive: true });
  }
  ca = await CertsAuthority.create();
});
afterEach(() => {
  image[Symbol.dispose]();
  ca[Symbol.dispose]();
});

function agent(words: string, stdin = ""): Promise<RunResult> {
  const [verb = "", ...options] = words.split(" ");
  return runAgent([verb, `--root=${image.path}`, ...options], { stdin });
}

async function bundle(name: string): Promise<string> {
  await ca.issue(name, { role: "client" });
  using authority = await ca.open();
  const output = join(ca.dir.path, `${name}.bundle`);
  await makeBundles(authority, name, { server: SERVER, output });
  return output;
}

describe.skipIf(process.getuid?.() !== 0)("into an image", () => {
  test("a client: what was done and what comes next, on stdout; a second run; uninstall", async () => {
    const before = listFiles(image.path);
    const file = await bundle("web1");
    const first = await agent(`install --role=client --bundle=${file}`);
    expect(first).toMatchObject({ status: 0, stderr: "" });
    expect(first.stdout).toContain("create /etc/ssl/journal-agent/client/key.pem 0600 root:root");
    expect(first.stdout).toEndWith(
      [
        "",
        `Journals of this machine, as "web1", go to: ${SERVER}`,
        "It starts when the image is booted",
        `Holds the private key, and is not needed any more: ${file}`,
        `Undo: agent uninstall --root=${image.path}`,
        "",
      ].join("\n"),
    );
    const second = await agent("install --role=client");
    expect(second).toMatchObject({ status: 0, stderr: "" });
    expect(second.stdout).toStartWith("Nothing to do: everything is as asked for\n");
    const installed = listFiles(image.path);
    const wouldBe = await agent("uninstall --purge --dry-run");
    expect(wouldBe.stderr).toContain("Nothing was changed: this is what would be done");
    expect(listFiles(image.path)).toEqual(installed);
    const undone = await agent("uninstall --purge");
    expect(undone).toEqual({ status: 0, stderr: "", stdout: wouldBe.stdout });
    expect(listFiles(image.path)).toEqual(before);
    expect((await agent("uninstall")).stdout).toBe("Nothing to do: nothing is installed\n");
  });

  test("--dry-run prints files with what is in them, but no key, and says that it did nothing", async () => {
    const file = await bundle("web1");
    const before = listFiles(image.path);
    const { status, stdout, stderr } = await agent(
      `install --role=client --bundle=${file} --dry-run`,
    );
    expect(status).toBe(0);
    expect(stdout).toContain(`    URL=${SERVER}\n`);
    expect(stdout).toMatch(/key\.pem 0600 root:root {2}private key\n {4}\(secret, \d+ bytes\)\n/);
    expect(stdout).not.toContain("BEGIN PRIVATE KEY");
    expect(stderr).toContain("Nothing was changed: this is what would be done");
    expect(listFiles(image.path)).toEqual(before);
  });

  test.skipIf(!HAS_TOOLS)(
    "a server: how a client is added, with and without enrolment",
    async () => {
      const options = "--init-ca --name=logs --san=DNS:logs.example.net,IP:192.0.2.10";
      const { status, stdout } = await agent(`install --role=server ${options}`);
      expect(status).toBe(0);
      expect(stdout).toContain(
        `agent certs issue web1 && agent certs bundle web1 --server=${SERVER} --output=web1.bundle\n`,
      );
      const enrolling = await agent("install --role=server --enroll");
      expect(enrolling.stdout).toContain(`agent certs token web1 --server=${SERVER}\n`);
      expect((await agent("install --role=server")).stdout).toStartWith("Nothing to do");
    },
  );

  test.each([
    ["install", 64, "need --role="],
    ["install --role=client", 64, "no certificate is given, and none is configured"],
    ["install --role=client --bundle=/nowhere", 74, 'Cannot read "/nowhere": no such file'],
    ["install --role=client --renew", 64, 'Cannot use "--root" together with "--renew"'],
    ["install --role=client --token=-", 64, "need --server=https://… beside it"],
  ])("%s exits with %i and changes nothing", async (words, status, message) => {
    const before = listFiles(image.path);
    const result = await agent(words, "secret\n");
    expect(result).toMatchObject({ status, stdout: "" });
    expect(result.stderr).toContain(message);
    expect(result.stderr).not.toContain("secret");
    expect(listFiles(image.path)).toEqual(before);
  });

  test("a receiver that does not answer is status 69", async () => {
    const before = listFiles(image.path);
    const { formatToken } = await import("../../src/certs/token.ts");
    const bytes = Buffer.alloc(32, 1);
    const token = formatToken({ fingerprint: bytes, secret: bytes, name: "web1" });
    const words = "install --role=client --server=https://127.0.0.1:1 --token=-";
    const { status, stdout, stderr } = await agent(words, `${token}\n`);
    expect({ status, stdout }).toEqual({ status: 69, stdout: "" });
    expect(stderr).toContain('Cannot enrol at "https://127.0.0.1:1"');
    expect(stderr).not.toContain(token);
    expect(listFiles(image.path)).toEqual(before);
  });

  test("without systemd in it, it is no image", async () => {
    using empty = new TempDir();
    const words = ["install", "--role=client", `--root=${empty.path}`, "--server=http://a"];
    const { status, stderr } = await runAgent(words);
    expect(status).toBe(78);
    expect(stderr).toContain(`no systemd found in "${empty.path}"`);
    expect([...listFiles(empty.path).keys()]).toEqual(["."]);
  });

  test("--status of what is installed", async () => {
    await agent(`install --role=client --bundle=${await bundle("web1")}`);
    const { status, stdout } = await agent("install --status --json");
    expect(status).toBe(0);
    expect(JSON.stringify(JSON.parse(stdout))).toContain("web1");
    expect((await agent("install --status")).stdout).toContain("web1");
  });
});

test("the help shows the ways to get a certificate, and the exit statuses", async () => {
  const { status, stdout } = await runAgent(["install", "--help"]);
  expect(status).toBe(0);
  for (const part of ["--bundle", "--token", "--init-ca", "Exit status: 0 when"]) {
    expect(stdout).toContain(part);
  }
});
