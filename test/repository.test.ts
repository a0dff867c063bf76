/** What must hold of the repository as a whole. */
import { describe, expect, test } from "bun:test";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import packageJson from "../package.json" with { type: "json" };
import {
  COMMANDS_WITH_OPTIONS,
  formatOptionTables,
  optionTablesIn,
} from "../scripts/readme-options.ts";

const ROOT = join(import.meta.dir, "..");
const FILE_LINES_MAX = 500;

interface LockedPackage {
  version?: string;
  optionalDependencies?: Record<string, string>;
}

const lockText = read("package-lock.json");
const locked = (JSON.parse(lockText) as { packages: Record<string, LockedPackage> }).packages;
/** Tracked files, and those that would be with `git add --all`. */
const files = listFiles();

describe("dependencies", () => {
  test("are pinned to exact versions", () => {
    const { dependencies, devDependencies } = packageJson;
    const versions = Object.values({ ...dependencies, ...devDependencies });
    expect(versions.length).toBeGreaterThan(0);
    expect(versions.filter((version) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([]);
  });

  test("are locked without addresses", () => {
    expect(lockText).not.toContain('"resolved"');
    // Addresses of sponsors are not for downloads.
    const addresses = lockText.match(/https?:\/\/[^\s"]+\.tgz/g) ?? [];
    expect(addresses).toEqual([]);
  });

  test("are all in the lock file, for every platform: without, npm ci refuses it", () => {
    const optional = Object.values(locked).flatMap((entry) =>
      Object.keys(entry.optionalDependencies ?? {}),
    );
    expect(optional).toContain("@oven/bun-linux-aarch64");
    expect(optional.filter((name) => !locked[`node_modules/${name}`]?.version)).toEqual([]);
  });
});

describe("files", () => {
  test("of the sources have at most 500 lines", () => {
    const sources = files.filter((file) => /^src\/.*\.ts$/.test(file));
    expect(sources.length).toBeGreaterThan(50);
    const long = sources.filter((file) => read(file).split("\n").length - 1 > FILE_LINES_MAX);
    expect(long).toEqual([]);
  });

  test("with #! are executable, and the commands of the README are among them", () => {
    const scripts = files.filter((file) => read(file).startsWith("#!"));
    expect(scripts).toEqual(expect.arrayContaining([".ci/run", "scripts/demo", "scripts/test"]));
    const notExecutable = scripts.filter((file) => (statSync(join(ROOT, file)).mode & 0o111) === 0);
    expect(notExecutable).toEqual([]);
  });

  test("name no machine's folders and no registry's hosts", () => {
    // Put together here, so that this file is not one of those found.
    const forbidden = new RegExp(
      [`${"/work"}/`, `${"/home"}/\\w`, `${"registry"}\\.\\w+\\.\\w`, `${"npmjs"}\\.`].join("|"),
    );
    const found = files.flatMap((file) =>
      read(file)
        .split("\n")
        .filter((line) => forbidden.test(line))
        .map((line) => `${file}: ${line.trim()}`),
    );
    expect(found).toEqual([]);
  });
});

test.each(COMMANDS_WITH_OPTIONS)("the README's tables of %s are the program's", (command) => {
  const readme = read("README.md");
  // When this fails: npx bun scripts/readme-options.ts
  expect(optionTablesIn(readme, command)).toBe(formatOptionTables(command));
});

function read(file: string): string {
  return readFileSync(join(ROOT, file), "latin1");
}

function listFiles(): string[] {
  // Whoever the clone belongs to.
  const git = ["git", "-c", "safe.directory=*"];
  const command = [...git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"];
  const { exitCode, stdout, stderr } = Bun.spawnSync(command, { cwd: ROOT });
  if (exitCode !== 0) throw new Error(`git ls-files: ${stderr}`);
  const names = stdout.toString().split("\0");
  // A file that is removed but not yet for git is still listed.
  return names.filter(
    (name) => name !== "" && statSync(join(ROOT, name), { throwIfNoEntry: false })?.isFile(),
  );
}
