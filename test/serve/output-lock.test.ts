import { expect, test } from "bun:test";
import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { lockOutput } from "../../src/serve/output-lock.ts";
import { TempDir } from "../support/temp-dir.ts";

test("lockOutput() lets one in, by whatever path, until it releases", () => {
  using dir = new TempDir();
  const output = join(dir.path, "out");
  mkdirSync(output);
  symlinkSync(output, join(dir.path, "alias"));
  const places = [
    [output, join(dir.path, "alias"), `${output}/`, join(dir.path, "./out")],
    [
      join(output, "all.journal"),
      join(dir.path, "alias/all.journal"),
      `${output}/../out/all.journal`,
    ],
  ];
  for (const [first = "", ...others] of places) {
    const lock = lockOutput(first);
    for (const path of [first, ...others]) {
      expect(() => lockOutput(path)).toThrow(`Cannot write to "${path}": another process does`);
    }
    lock.release();
    lockOutput(others[0] ?? "").release();
  }
});

test("lockOutput() keeps outputs apart", () => {
  using dir = new TempDir();
  const locks = ["", "/a.journal", "/b.journal"].map((name) => lockOutput(dir.path + name));
  for (const lock of locks) lock.release();
});
