import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { LookupCache } from "../../../src/serve/store/lookup-cache.ts";
import {
  hostEntries,
  OTHER_BOOT_ID,
  toEntry,
  writeJournal,
} from "../../support/journal-entries.ts";
import { openBelow } from "../../support/store-rig.ts";
import { TempDir } from "../../support/temp-dir.ts";

let dir: TempDir;
let cache: LookupCache;

beforeEach(() => {
  dir = new TempDir();
  cache = new LookupCache(3);
});
afterEach(() => {
  cache.close();
  dir[Symbol.dispose]();
});

/** A journal of entries 1 to 10. */
function journal(name: string): string {
  const path = join(dir.path, name);
  writeJournal(path, hostEntries(10));
  return path;
}

describe("LookupCache", () => {
  test("finds the very entry: number, time and boot", () => {
    const path = journal("a.journal");
    const [entry] = hostEntries(1, 7);
    if (entry === undefined) throw new Error("no entry");
    expect(cache.holds(path, toEntry(entry), 10)).toBe(true);
    expect(cache.holds(path, toEntry({ ...entry, realtimeUsec: 17 }), 10)).toBe(false);
    expect(cache.holds(path, toEntry({ ...entry, bootId: OTHER_BOOT_ID }), 10)).toBe(false);
    expect(cache.holds(path, toEntry({ ...entry, seqnum: 11 }), 10)).toBe(false);
  });

  test("keeps the most recently used files open, and no more", () => {
    const names = ["a.journal", "b.journal", "c.journal", "d.journal"];
    const paths = names.map(journal);
    const [entry] = hostEntries(1);
    if (entry === undefined) throw new Error("no entry");
    for (const index of [0, 1, 0, 2, 0, 3, 0]) {
      expect(cache.holds(paths[index] ?? "", toEntry(entry), 10)).toBe(true);
    }
    expect(cache.size).toBe(3);
    expect(openBelow(dir.path).sort()).toEqual(["a.journal", "c.journal", "d.journal"]);
    cache.close();
    expect(openBelow(dir.path)).toEqual([]);
  });

  test("forgets what is at a path, and what it cannot read", () => {
    const path = journal("a.journal");
    const [entry] = hostEntries(1);
    if (entry === undefined) throw new Error("no entry");
    expect(cache.holds(path, toEntry(entry), 10)).toBe(true);
    cache.forget(path);
    expect(cache.size).toBe(0);
    dir.write("a.journal", "something else");
    expect(() => cache.holds(path, toEntry(entry), 10)).toThrow();
    expect(cache.size).toBe(0);
    expect(openBelow(dir.path)).toEqual([]);
  });
});
