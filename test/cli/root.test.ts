import { describe, expect, test } from "bun:test";
import { closeSync, fstatSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ALL_SERVE_SETTINGS } from "../../src/cli/serve-options.ts";
import { ALL_UPLOAD_SETTINGS } from "../../src/cli/upload-options.ts";
import { VERSION } from "../../src/version.ts";
import { runAgent } from "../support/run-agent.ts";
import { TempDir } from "../support/temp-dir.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");

describe("agent", () => {
  test.each([["--help"], ["-h"], ["help"]])("%s lists the commands on stdout", async (arg) => {
    const { status, stdout, stderr } = await runAgent([arg]);
    expect(stdout).toStartWith("Usage: agent COMMAND [OPTION]...\n");
    expect(stdout).toMatch(/^ {2}serve +Receive journals/m);
    expect(stdout).toMatch(/^ {2}upload +Read the journal/m);
    expect([status, stderr]).toEqual([0, ""]);
  });

  test("--version prints version, commit and Bun version", async () => {
    for (const args of [["--version"], ["serve", "--version"], ["upload", "--version"]]) {
      const { status, stdout, stderr } = await runAgent(args);
      expect(stdout).toBe(
        `${["agent", ...args.slice(0, -1)].join(" ")} ${VERSION} (commit development, Bun ${Bun.version})\n`,
      );
      expect([status, stderr]).toEqual([0, ""]);
    }
  });

  test.each([
    [[], "Cannot run: no command"],
    [["srve"], 'Cannot run "srve": no such command'],
    [["--verbose", "serve"], 'Cannot run "--verbose": no such command'],
    [["serve", "--prot=1"], 'Cannot use "--prot": no such option'],
    [["serve", "--key"], 'Cannot use "--key": it needs a value'],
    [["serve", "--max-use=much"], '--max-use: Cannot read size "much"'],
    [["serve", "--output=/tmp"], "Cannot start: zero sources specified"],
    [["upload"], "Cannot start: no URL to send to"],
    [["upload", "--url"], 'Cannot use "--url": it needs a value'],
    [["upload", "--system=yes"], 'Cannot use "--system": it takes no value'],
    [["upload", "--lines=1", "-n2"], 'Cannot use "--lines": it is given twice'],
    [["upload", "--url=ftp://h"], '--url: Cannot upload to "ftp://h"'],
  ])("%p exits 64, the reason on stderr alone", async (args, message) => {
    const { status, stdout, stderr } = await runAgent(args);
    expect(stderr).toContain(message);
    expect([status, stdout]).toEqual([64, ""]);
  });

  test("a wrong environment exits 78", async () => {
    const { status, stderr } = await runAgent(["serve", "--output=/no/where", "--listen-raw=1"]);
    expect(stderr).toContain('Cannot write to "/no/where": no such directory');
    expect(stderr).toContain("install -d");
    expect(status).toBe(78);
  });

  test("warns of a bad configuration and goes on", async () => {
    using dir = new TempDir();
    const file = dir.write("own.conf", "[Remote]\nMaxUze=3G\n");
    const env = { SYSTEMD_JOURNAL_REMOTE_CONFIG_FILE: file };
    const { status, stderr } = await runAgent(["serve", `--output=${dir.path}`], { env });
    expect(stderr).toContain(`${file}:2: Unknown key "MaxUze"`);
    expect(stderr).toContain("zero sources specified");
    expect(status).toBe(64);
  });

  test("prefixes priorities when stderr is the journal", async () => {
    using dir = new TempDir();
    const path = dir.write("stderr", "");
    const fd = openSync(path, "a");
    const { dev, ino } = fstatSync(fd);
    const { PATH } = Bun.env;
    const runInto = async (stream: string): Promise<string> => {
      const child = Bun.spawn([process.execPath, MAIN, "serve", "--output=/tmp"], {
        env: { PATH, JOURNAL_STREAM: stream, SYSTEMD_JOURNAL_REMOTE_CONFIG_FILE: "/dev/null" },
        stdio: ["ignore", "ignore", fd],
      });
      await child.exited;
      return readFileSync(path, "utf8");
    };
    expect(await runInto(`${dev}:${ino + 1}`)).not.toContain("<3>");
    expect(await runInto(`${dev}:${ino}`)).toContain("\n<3>Cannot start: zero sources specified");
    closeSync(fd);
  });

  test("heeds SYSTEMD_LOG_LEVEL, by name and by number", async () => {
    for (const [level, hasHint] of [
      ["err", false],
      ["3", false],
      ["6", true],
      ["info", true],
    ] as const) {
      const { stderr } = await runAgent(["frobnicate"], { env: { SYSTEMD_LOG_LEVEL: level } });
      expect(stderr).toContain("Cannot run");
      expect(stderr.includes("--help")).toBe(hasHint);
    }
  });
});

test.each([
  ["serve", ALL_SERVE_SETTINGS],
  ["upload", ALL_UPLOAD_SETTINGS],
] as const)("agent %s --help tells every option, with hint, key and default", async (name, all) => {
  const { status, stdout } = await runAgent([name, "--help"]);
  expect(status).toBe(0);
  expect(Math.max(...stdout.split("\n").map((line) => line.length))).toBeLessThanOrEqual(96);
  const text = stdout.replace(/\s+/g, " ");
  for (const setting of all) {
    const value = setting.takesValue === "never" ? "" : '(\\[?=[A-Za-z"][^\\n]*)';
    expect(stdout).toMatch(new RegExp(`--${setting.name}${value}\n? `));
    expect(text).toContain(setting.description);
    if (setting.key !== undefined) expect(text).toContain(`key ${setting.key}=`);
    if (setting.defaultText !== undefined)
      expect(text).toContain(`default: ${setting.defaultText}`);
  }
  expect(stdout).toContain("--check-config");
});
