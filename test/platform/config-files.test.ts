import { describe, expect, test } from "bun:test";
import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { loadConfig, parseConfig } from "../../src/platform/config-files.ts";
import { TempDir } from "../support/temp-dir.ts";

function assignmentsOf(text: string): (string | number)[][] {
  return parseConfig(text, "f").assignments.map((a) => [a.line, a.section, a.key, a.value]);
}

describe("parseConfig()", () => {
  test("reads sections, keys, values; drops blanks, comments, empty lines and a BOM", () => {
    const text = "\uFEFF# comment\n\n [One] \n  A =  1 = 2  \n; B=1\n  # C=1\n[Two]\r\nD=\r\n";
    expect(assignmentsOf(text)).toEqual([
      [4, "One", "A", "1 = 2"],
      [8, "Two", "D", ""],
    ]);
    expect(parseConfig(text, "f").problems).toEqual([]);
  });

  test("keeps what looks like a comment after a value", () => {
    expect(assignmentsOf("[S]\nA=1 # one")).toEqual([[2, "S", "A", "1 # one"]]);
  });

  test.each([
    [
      "[S]\nA=1 \\\n  2\nB=3",
      [
        [2, "S", "A", "1    2"],
        [4, "S", "B", "3"],
      ],
    ],
    ["[S]\nA=1\\\n# comment\n; another\n2", [[2, "S", "A", "1 2"]]],
    [
      "[S]\nA=1\\\\\nB=2",
      [
        [2, "S", "A", "1\\\\"],
        [3, "S", "B", "2"],
      ],
    ],
    ["[S]\nA=1\\\\\\\nB=2", [[2, "S", "A", "1\\\\ B=2"]]],
    ["[S]\nA=1\\", [[2, "S", "A", "1"]]],
    ["[S]\r\nA=1\\\r\n2\r\n", [[2, "S", "A", "1 2"]]],
  ])("joins lines at a backslash: %p", (text, expected) => {
    expect(assignmentsOf(text)).toEqual(expected);
  });

  test("reports each broken line and goes on", () => {
    const parsed = parseConfig("A=0\n[S]\nword\n=x\nB=1\n[Broken\nC=2\n[T]\nD=3", "f");
    expect(parsed.problems.map((problem) => [problem.line, problem.message])).toEqual([
      [1, "Assignment outside of a section, ignoring"],
      [3, 'Missing "=", ignoring the line'],
      [4, 'Missing key before "=", ignoring the line'],
      [6, 'Invalid section header "[Broken", ignoring what follows it'],
    ]);
    expect(parsed.assignments.map((a) => a.key)).toEqual(["B", "D"]);
    expect(parsed.sections.map((s) => s.section)).toEqual(["S", "T"]);
  });
});

describe("loadConfig()", () => {
  const load = (root: TempDir) => {
    const loaded = loadConfig({ name: "test", root: root.path });
    return {
      files: loaded.files.map((file) => file.slice(root.path.length + 1)),
      values: loaded.assignments.map((a) => a.value),
      problems: loaded.problems,
    };
  };

  test("takes the main file of the first directory that has one", () => {
    using root = new TempDir();
    root.write("usr/lib/systemd/test.conf", "[S]\nA=usr");
    expect(load(root).values).toEqual(["usr"]);
    root.write("usr/local/lib/systemd/test.conf", "[S]\nA=local");
    expect(load(root).values).toEqual(["local"]);
    root.write("run/systemd/test.conf", "[S]\nA=run");
    expect(load(root).values).toEqual(["run"]);
    root.write("etc/systemd/test.conf", "[S]\nA=etc");
    expect(load(root).values).toEqual(["etc"]);
  });

  test("applies drop-ins by file name, after the main file", () => {
    using root = new TempDir();
    root.write("etc/systemd/test.conf", "[S]\nA=main");
    root.write("etc/systemd/test.conf.d/20-b.conf", "[S]\nA=2");
    root.write("usr/lib/systemd/test.conf.d/10-a.conf", "[S]\nA=1");
    root.write("run/systemd/test.conf.d/30-c.conf", "[S]\nA=3");
    root.write("usr/local/lib/systemd/test.conf.d/B.conf", "[S]\nA=upper");
    root.write("usr/local/lib/systemd/test.conf.d/a.conf", "[S]\nA=lower");
    expect(load(root).values).toEqual(["main", "1", "2", "3", "upper", "lower"]);
  });

  test("lets a drop-in mask those of its name in later directories", () => {
    using root = new TempDir();
    const folder = "systemd/test.conf.d";
    root.write(`etc/${folder}/a.conf`, "[S]\nA=etc");
    root.write(`run/${folder}/a.conf`, "[S]\nA=run");
    root.write(`usr/lib/${folder}/a.conf`, "[S]\nA=usr");
    root.write(`run/${folder}/empty.conf`, "");
    root.write(`usr/lib/${folder}/empty.conf`, "[S]\nA=masked");
    root.write(`usr/local/lib/${folder}/null.conf`, "[S]\nA=masked");
    symlinkSync("/dev/null", join(root.path, `etc/${folder}/null.conf`));
    expect(load(root)).toEqual({ files: [`etc/${folder}/a.conf`], values: ["etc"], problems: [] });
  });

  test("skips folders, hidden files, other suffixes and dangling links", () => {
    using root = new TempDir();
    const folder = "etc/systemd/test.conf.d";
    root.write(`${folder}/.a.conf`, "[S]\nA=hidden");
    root.write(`${folder}/a.conf.bak`, "[S]\nA=backup");
    mkdirSync(join(root.path, `${folder}/dir.conf`));
    symlinkSync("nowhere", join(root.path, `${folder}/gone.conf`));
    expect(load(root)).toEqual({ files: [], values: [], problems: [] });
  });

  test("reads one file alone when told so", () => {
    using root = new TempDir();
    root.write("etc/systemd/test.conf", "[S]\nA=main");
    root.write("etc/systemd/test.conf.d/a.conf", "[S]\nA=drop-in");
    const onlyFile = root.write("own.conf", "[S]\nA=own");
    const loaded = loadConfig({ name: "test", root: root.path, onlyFile });
    expect(loaded.assignments).toEqual([
      { file: onlyFile, line: 2, section: "S", key: "A", value: "own" },
    ]);
  });

  test("reports what it cannot read", () => {
    using root = new TempDir();
    const onlyFile = join(root.path, "missing.conf");
    const loaded = loadConfig({ name: "test", root: root.path, onlyFile });
    expect(loaded.files).toEqual([]);
    expect(loaded.problems).toMatchObject([{ file: onlyFile, line: undefined }]);
    root.write("etc/systemd/test.conf.d", "a file where a folder is expected");
    expect(load(root).problems[0]?.message).toStartWith("Cannot read it, ignoring: ENOTDIR");
  });
});
