import { describe, expect, test } from "bun:test";
import { chmodSync, copyFileSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { run } from "../support/run-agent.ts";
import { TempDir } from "../support/temp-dir.ts";

const ROOT = join(import.meta.dir, "../..");
const COMMANDS = [
  "bash",
  "cat",
  "dirname",
  "env",
  "find",
  "grep",
  "id",
  "mkdir",
  "mktemp",
  "rm",
].concat(["sed", "sh", "sort", "tail", "timeout"]);
const GOOD = "#!/bin/sh\n";
const LIMIT_MS = 30_000;

const PASSING = 'import { test } from "bun:test"; test("is well", () => {});';
const FAILING = `import { expect, test } from "bun:test";
test("is well", () => {});
test("is not", () => { console.log("see here"); expect(1).toBe(2); });`;
const SKIPPING = 'import { test } from "bun:test"; test.skipIf(true)("has no tool", () => {});';
const DYING = 'import { test } from "bun:test"; test("x", () => process.kill(process.pid, 9));';
const BROKEN = 'import { test } from "bun:test"; test("x", () => {}); throw new Error("no");';
const EMPTY = "export {};";
const LITTERING = `import { test } from "bun:test"; import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os"; test("x", () => { mkdtempSync(tmpdir() + "/litter-"); });`;

describe("scripts/test", () => {
  test(
    "counts steps and tests, and ends with the counts",
    async () => {
      const { status, lines } = await runScript({ "a.test.ts": PASSING, "b/c.test.ts": PASSING });
      expect(lines).toContain("skipped shell scripts: shellcheck is not installed");
      // Modules, format, types, dead code, build, two tests, nothing left; no tools, no shellcheck.
      expect(lines.at(-1)).toBe("8 passed, 0 failed, 2 skipped");
      expect(status).toBe(0);
    },
    LIMIT_MS,
  );

  test.each([
    ["a test", FAILING, "1 failed", "test/a.test.ts: is not"],
    ["a process that dies", DYING, "1 failed", "test/a.test.ts (took too long or was killed)"],
    ["an error outside of tests", BROKEN, "1 failed", "test/a.test.ts (exit status 1)"],
    ["a file without tests", EMPTY, "1 failed", "test/a.test.ts (exit status 0)"],
    [
      "temporary files left",
      LITTERING,
      "1 failed",
      /^FAILED {2}temporary files left by tests: litter-/,
    ],
  ])(
    "fails for %s, says what and goes on",
    async (_, text, count, failure) => {
      const { status, lines } = await runScript({ "a.test.ts": text, "b.test.ts": PASSING });
      expect(lines.at(-1)).toContain(count);
      const summary = lines.slice(lines.lastIndexOf("") + 1).filter((line) => /^FAILED/.test(line));
      expect(summary).toEqual([
        typeof failure === "string" ? `FAILED  ${failure}` : expect.stringMatching(failure),
      ]);
      expect(lines.some((line) => line.startsWith("ok      test/b.test.ts (1 tests,"))).toBe(true);
      expect(status).toBe(1);
    },
    LIMIT_MS,
  );

  test(
    "shows the output of what fails, test or tool",
    async () => {
      const failingTool = "#!/bin/sh\necho 'this is ugly'\nexit 3\n";
      const { status, lines } = await runScript({ "a.test.ts": FAILING }, { biome: failingTool });
      expect(lines).toContain("see here");
      expect(lines).toContain("this is ugly");
      expect(lines).toContain("FAILED  format and lint (biome) (exit status 3)");
      expect(lines.at(-1)).toContain(" passed, 2 failed");
      expect(status).toBe(1);
    },
    LIMIT_MS,
  );

  test(
    "names what was skipped",
    async () => {
      const { status, lines } = await runScript({ "a.test.ts": SKIPPING });
      expect(lines).toContain("skipped test/a.test.ts: has no tool");
      expect(lines.some((line) => /^skipped installing .*curl.*: that takes root/.test(line))).toBe(
        true,
      );
      expect(lines.at(-1)).toBe("6 passed, 0 failed, 3 skipped");
      expect(status).toBe(0);
    },
    LIMIT_MS,
  );
});

/** The script in a repository of its own, where tools are well unless given otherwise. */
async function runScript(
  tests: Record<string, string>,
  tools: Record<string, string> = {},
): Promise<{ status: number; lines: string[] }> {
  using dir = new TempDir();
  const script = (name: string, text: string): void => {
    chmodSync(dir.write(name, text), 0o755);
  };
  mkdirSync(join(dir.path, "scripts"));
  copyFileSync(join(ROOT, "scripts/test"), join(dir.path, "scripts/test"));
  script("scripts/node-modules", GOOD);
  script("scripts/build.ts", "");
  script(".ci/run", GOOD);
  script("install.sh", GOOD);
  for (const tool of ["biome", "tsc", "knip"]) {
    script(`node_modules/.bin/${tool}`, tools[tool] ?? GOOD);
  }
  symlinkSync(process.execPath, join(dir.path, "node_modules/.bin/bun"));
  for (const [name, text] of Object.entries(tests)) dir.write(`test/${name}`, text);
  mkdirSync(join(dir.path, "bin"));
  mkdirSync(join(dir.path, "tmp"));
  for (const name of COMMANDS) {
    symlinkSync(Bun.which(name) ?? name, join(dir.path, "bin", name));
  }
  const { status, stdout } = await run([join(dir.path, "scripts/test")], {
    env: { PATH: join(dir.path, "bin"), TMPDIR: join(dir.path, "tmp") },
  });
  return { status, lines: stdout.trimEnd().split("\n") };
}
