/** A new, empty directory for each test of a file. */
import { afterAll, beforeEach } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { TempDir } from "./temp-dir.ts";

/** @param set told before each test. @returns the directory that they are in */
export function useWorkDirectories(set: (path: string) => void): TempDir {
  const dir = new TempDir();
  let count = 0;
  beforeEach(() => {
    const path = join(dir.path, `${count++}`);
    mkdirSync(path);
    set(path);
  });
  afterAll(() => dir[Symbol.dispose]());
  return dir;
}
