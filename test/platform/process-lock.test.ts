import { expect, test } from "bun:test";
import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { lockPath, type ProcessLock } from "../../src/platform/process-lock.ts";
import { TempDir } from "../support/temp-dir.ts";

function lock(path: string, purpose: "serve" | "upload" = "serve"): ProcessLock {
  return lockPath(path, { purpose, hint: "Use another one" });
}

test("lockPath() lets one in, by whatever path, until it releases", () => {
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
    const held = lock(first);
    for (const path of [first, ...others]) {
      expect(() => lock(path)).toThrow(`Cannot write to "${path}": another process does`);
    }
    held.release();
    lock(others[0] ?? "").release();
  }
});

test("lockPath() keeps places and purposes apart", () => {
  using dir = new TempDir();
  const locks = ["", "/a.journal", "/b.journal"].map((name) => lock(dir.path + name));
  locks.push(lock(dir.path, "upload"));
  for (const held of locks) held.release();
});
