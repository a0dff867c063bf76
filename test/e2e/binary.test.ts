import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import packageJson from "../../package.json" with { type: "json" };
import { run } from "../support/run-agent.ts";
import { TempDir } from "../support/temp-dir.ts";

const ROOT = join(import.meta.dir, "../..");
const dist = new TempDir();
const AGENT = join(dist.path, "agent");

beforeAll(async () => {
  const build = [process.execPath, join(ROOT, "scripts/build.ts"), `--outdir=${dist.path}`];
  const { status, stderr } = await run(build);
  expect(stderr).toBe("");
  expect(status).toBe(0);
}, 120_000);

afterAll(() => dist[Symbol.dispose]());

describe("the executable", () => {
  test("--version prints the package's version, a commit and Bun's version", async () => {
    const { status, stdout } = await run([AGENT, "--version"]);
    const [, version, commit, bun] =
      /^agent (\S+) \(commit (\S+), Bun (\S+)\)\n$/.exec(stdout) ?? [];
    expect([version, bun]).toEqual([packageJson.version, Bun.version]);
    expect(commit).toMatch(/^([0-9a-f]{12}\+?|unknown)$/);
    expect(status).toBe(0);
  });

  test("--help names the commands, a command's --help its options", async () => {
    expect((await run([AGENT, "--help"])).stdout).toContain("Usage: agent COMMAND");
    expect((await run([AGENT, "serve", "--help"])).stdout).toContain("--listen-https=ADDR|-N");
  });

  test("called systemd-journal-remote it is that program", async () => {
    const link = join(dist.path, "systemd-journal-remote");
    symlinkSync("agent", link);
    const byPath = await run([link, "--help"]);
    expect(byPath.stdout).toStartWith("Usage: systemd-journal-remote [OPTION]... {FILE|-}...");
    const byName = await run(["systemd-journal-remote", "--foo"], { env: { PATH: dist.path } });
    expect(byName.stderr).toContain('Cannot use "--foo"');
    expect(byName.status).toBe(1);
  });

  test("exits 64 for what it does not know", async () => {
    const { status, stdout, stderr } = await run([AGENT, "serve", "--prot=5"]);
    expect(stderr).toContain('Cannot use "--prot": no such option');
    expect([status, stdout]).toEqual([64, ""]);
  });
});

describe("in a directory with a planted .env and bunfig.toml", () => {
  const ARGS = ["serve", "--check-config"];
  const PLANTED = 'SYSTEMD_JOURNAL_COMPACT: Cannot use "planted"';

  /** Runs there; tells whether the preload ran and the variable got in. */
  async function runPlanted(command: string[]) {
    using dir = new TempDir();
    const marker = join(dir.path, "marker");
    dir.write(".env", "SYSTEMD_JOURNAL_COMPACT=planted\n");
    dir.write("bunfig.toml", 'preload = ["./preload.ts"]\n');
    dir.write("preload.ts", `await Bun.write(${JSON.stringify(marker)}, "ran");\n`);
    const { stdout } = await run([...command, ...ARGS], { cwd: dir.path });
    expect(stdout).toContain("Configuration files, a later one wins:");
    return { preloaded: existsSync(marker), obeyedEnv: stdout.includes(PLANTED) };
  }

  test("the executable ignores both", async () => {
    expect(await runPlanted([AGENT])).toEqual({ preloaded: false, obeyedEnv: false });
  });

  test("Bun itself obeys both, so the trap works", async () => {
    const command = [process.execPath, join(ROOT, "src/main.ts")];
    expect(await runPlanted(command)).toEqual({ preloaded: true, obeyedEnv: true });
  });
});
