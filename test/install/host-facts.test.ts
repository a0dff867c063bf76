import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, symlinkSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { readHostFacts } from "../../src/install/host-facts.ts";
import type { RunCommand } from "../../src/platform/run.ts";
import { describeTrees } from "../support/debian-tree.ts";
import { TempDir } from "../support/temp-dir.ts";

const nobodysOwn = () => false;
/** Nothing of an image may be run. */
const forbidden: RunCommand = (argv) => {
  throw new Error(`It runs ${argv.join(" ")}`);
};

const read = (root: string, isOurs: (path: string) => boolean = nobodysOwn) =>
  readHostFacts(root, isOurs, forbidden);

describe("of an image", () => {
  for (const [file, version] of [
    ["usr/lib/systemd/libsystemd-shared-239.so", 239],
    ["usr/lib/systemd/libsystemd-shared-254.5-2.fc39.so", 254],
    ["usr/lib/aarch64-linux-gnu/systemd/libsystemd-shared-257.so", 257],
    ["usr/lib64/systemd/libsystemd-shared-262~rc1.so", 262],
    ["lib/systemd/libsystemd-shared-247.so", 247],
  ] as const) {
    test(`the version is in the name of ${file}`, async () => {
      using image = new TempDir();
      image.write(file, "");
      expect(await read(image.path)).toMatchObject({
        systemdVersion: version,
        isSystemdRunning: false,
        root: image.path,
      });
    });
  }

  test("without systemd the version is 0", async () => {
    using image = new TempDir();
    image.write("usr/lib/x86_64-linux-gnu/libsystemd.so.0", "");
    expect((await read(image.path)).systemdVersion).toBe(0);
  });

  test("links lead to where they lead in the image", async () => {
    using image = new TempDir();
    image.write("usr/lib/systemd/libsystemd-shared-252.so", "-GNUTLS");
    image.write("usr/lib/systemd/systemd-journal-remote", "");
    symlinkSync("/usr/lib", join(image.path, "lib"));
    mkdirSync(join(image.path, "etc"));
    image.write("run/name", "web7.example.net\n");
    symlinkSync("/run/name", join(image.path, "etc/hostname"));
    const facts = await read(image.path);
    expect(facts.hostName).toBe("web7");
    expect(facts.stockRemote?.path).toBe("/usr/lib/systemd/systemd-journal-remote");
  });

  test("what others brought of our units is known by the path that wins", async () => {
    using image = new TempDir();
    image.write("usr/lib/systemd/system/systemd-journal-remote.socket", "");
    image.write("usr/lib/systemd/system/systemd-journal-remote.service", "");
    image.write("usr/lib/systemd/system/systemd-journald.service", "");
    image.write("usr/local/lib/systemd/system/systemd-journal-remote.socket", "");
    image.write("etc/systemd/system/systemd-journal-remote.service", "");
    image.write("etc/systemd/system/systemd-journal-upload.service", "");
    image.write("etc/systemd/system/systemd-journal-remote.service.d/50-agent.conf", "");
    const ours = "/etc/systemd/system/systemd-journal-upload.service";
    const { foreignUnits } = await read(image.path, (path) => path === ours);
    expect([...foreignUnits].sort()).toEqual([
      ["systemd-journal-remote.service", "/etc/systemd/system/systemd-journal-remote.service"],
      [
        "systemd-journal-remote.socket",
        "/usr/local/lib/systemd/system/systemd-journal-remote.socket",
      ],
    ]);
  });

  test("a unit of ours does not hide the distribution's", async () => {
    using image = new TempDir();
    image.write("etc/systemd/system/systemd-journal-upload.service", "");
    image.write("usr/lib/systemd/system/systemd-journal-upload.service", "");
    const { foreignUnits } = await read(image.path, (path) => path.startsWith("/etc/"));
    expect(foreignUnits.get("systemd-journal-upload.service")).toStartWith("/usr/lib/");
  });

  for (const [features, hasGnutls] of [
    ["+GCRYPT +GNUTLS +OPENSSL", true],
    ["+GCRYPT -GNUTLS +OPENSSL", false],
  ] as const) {
    test(`stock programs built with "${features}" check certificates: ${hasGnutls}`, async () => {
      using image = new TempDir();
      image.write("usr/lib/systemd/libsystemd-shared-252.so", `\0+PAM ${features}\0`);
      image.write("usr/lib/systemd/systemd-journal-upload", "");
      const { stockUpload, stockRemote } = await read(image.path);
      expect(stockUpload).toEqual({ path: "/usr/lib/systemd/systemd-journal-upload", hasGnutls });
      expect(stockRemote).toBeUndefined();
    });
  }

  test("without a name it is called localhost", async () => {
    using image = new TempDir();
    expect((await read(image.path)).hostName).toBe("localhost");
    image.write("etc/hostname", "# made by hand\n\ndb1\n");
    expect((await read(image.path)).hostName).toBe("db1");
  });
});

await describeTrees(["trixie", "sid"], (tree) => {
  test("is found in the files alone, as it says itself", async () => {
    const facts = await read(tree.path);
    expect(facts.systemdVersion).toBe(tree.systemdVersion);
    const path = facts.stockRemote?.path ?? "";
    const said = tree.run([path, "--version"]).toString();
    expect(facts.stockRemote?.hasGnutls).toBe(said.includes("+GNUTLS"));
    expect(facts.foreignUnits.has("systemd-journal-remote.socket")).toBeTrue();
    expect(facts.foreignUnits.has("systemd-journal-upload.service")).toBeTrue();
  });
});

test("of this machine", async () => {
  const facts = await readHostFacts("", nobodysOwn, async (argv) => {
    expect(argv).toEqual(["systemctl", "--version"]);
    return { status: 0, stdout: "systemd 241 (241)\n+PAM +GNUTLS\n", stderr: "" };
  });
  expect(facts).toMatchObject({
    root: "",
    systemdVersion: 241,
    isSystemdRunning: existsSync("/run/systemd/system"),
    hostName: hostname().split(".")[0] ?? "",
  });
});
