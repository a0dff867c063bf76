/** Files that are open for reading and writing until the tests of a file have ended. */
import { afterAll } from "bun:test";
import fs from "node:fs";
import { TempDir } from "./temp-dir.ts";

export interface OpenFiles {
  /** Where they are. */
  path: string;
  /** @returns a descriptor of a new file */
  open(name: string, content?: Uint8Array): number;
}

export function useOpenFiles(): OpenFiles {
  const dir = new TempDir();
  const descriptors: number[] = [];
  afterAll(() => {
    for (const fd of descriptors) fs.closeSync(fd);
    dir[Symbol.dispose]();
  });
  return {
    path: dir.path,
    open: (name, content = new Uint8Array(0)) => {
      const fd = fs.openSync(dir.write(name, content), "r+");
      descriptors.push(fd);
      return fd;
    },
  };
}
