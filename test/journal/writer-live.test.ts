import { afterAll, describe, expect, spyOn, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { FileState } from "../../src/journal/format.ts";
import { PageCache } from "../../src/journal/page-cache.ts";
import { SeqnumLookup } from "../../src/journal/seqnum-lookup.ts";
import { JournalWriter } from "../../src/journal/writer.ts";
import {
  appendAll,
  exported,
  hostEntries,
  hostEntry,
  OPTIONS,
  type PlainEntry,
  toExported,
} from "../support/journal-entries.ts";
import { JournalImage } from "../support/journal-image.ts";
import { hasSystemd } from "../support/journal-tools.ts";
import { TempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";

const dir = new TempDir();
afterAll(() => dir[Symbol.dispose]());

let files = 0;
const nextPath = (): string => path.join(dir.path, `${files++}.journal`);

/** Entries that fill more pages than the smallest cache has. */
function wideEntries(count: number): PlainEntry[] {
  return Array.from({ length: count }, (_, i) =>
    hostEntry(i + 1, `BODY=${i} ${"x".repeat((i * 37) % 1200)}`, `GROUP=${i % 40}`),
  );
}

/** Runs `work` and calls `onWrite` after each change of any file. */
function afterEachWrite(work: () => void, onWrite: () => void): void {
  const { writeSync, ftruncateSync } = fs;
  const spies = [
    spyOn(fs, "writeSync").mockImplementation((...args: unknown[]) => {
      const count: number = Reflect.apply(writeSync, fs, args);
      onWrite();
      return count;
    }),
    spyOn(fs, "ftruncateSync").mockImplementation((...args: unknown[]) => {
      Reflect.apply(ftruncateSync, fs, args);
      onWrite();
    }),
  ];
  try {
    work();
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}

/** Fails unless a reader can use the file as it is. Returns how many entries it sees. */
function expectUsable(bytes: Uint8Array): number {
  const image = new JournalImage(bytes);
  const entries = image.entries();
  const wrong = entries.findIndex(
    ({ seqnum, fields }, i) =>
      seqnum !== i + 1 || !fields.includes(`MESSAGE=message number ${seqnum}`) || fields.length < 5,
  );
  expect(wrong).toBe(-1);
  image.data();
  return entries.length;
}

describe("a file that is being written", () => {
  const caches: [string, number, number][] = [
    ["a large cache", 1 << 24, 200],
    ["the smallest cache", 0, 600],
  ];
  for (const [name, cacheBytes, count] of caches) {
    for (const compact of [true, false]) {
      test(`can be read after every write, ${compact ? "compact" : "regular"}, with ${name}`, () => {
        const file = nextPath();
        const copy = nextPath();
        const format = { ...OPTIONS, compact, compressThresholdBytes: undefined, dataBuckets: 499 };
        const seen = new Set<number>();
        const copies: number[] = [];
        let writes = 0;
        const check = (): void => {
          writes++;
          const bytes = fs.readFileSync(file);
          // Until its header is written, which is the last write of create(), there is no journal.
          if (bytes.subarray(0, 8).every((byte) => byte === 0)) return;
          const entries = expectUsable(bytes);
          seen.add(entries);
          if (writes % 60 !== 0 || !hasSystemd()) return;
          fs.writeFileSync(copy, bytes);
          copies.push(entries);
          expect(exported(copy)).toEqual(wideEntries(entries).map(toExported));
          const [first] = exported(copy, "GROUP=3", "--lines=1");
          expect(first === undefined).toBe(entries < 4);
        };
        afterEachWrite(() => {
          const writer = JournalWriter.create(file, format, new PageCache(cacheBytes));
          for (const entry of wideEntries(count)) {
            appendAll(writer, [entry]);
            if (entry.seqnum % 90 === 1) writer.publish();
          }
          writer.close("archived");
        }, check);
        expect([...seen]).toEqual([...new Set([0, ...[...seen].sort((a, b) => a - b)])]);
        expect(seen.size).toBeGreaterThan(count / 90);
        expect(writes).toBeGreaterThan(cacheBytes === 0 ? 200 : 20);
        expect(copies.length > 0 || cacheBytes > 0 || !hasSystemd()).toBe(true);
      });
    }
  }

  test("shows each publish to a fresh reader and to one that refreshes, and nothing before", () => {
    const file = nextPath();
    const writer = JournalWriter.create(file, OPTIONS, new PageCache());
    const entries = hostEntries(60);
    const old = new SeqnumLookup(file);
    let published = 0;
    for (const count of [1, 1, 3, 5, 20, 30]) {
      appendAll(writer, entries.slice(published, published + count));
      const before = new SeqnumLookup(file);
      expect(before.has(published + 1)).toBe(false);
      before.close();
      writer.publish();
      published += count;
      old.refresh();
      const fresh = new SeqnumLookup(file);
      for (const lookup of [old, fresh]) {
        expect(lookup.entries).toBe(published);
        expect(lookup.has(published)).toBe(true);
        expect(lookup.has(published + 1)).toBe(false);
      }
      fresh.close();
      expect(new JournalImage(fs.readFileSync(file)).header.state).toBe(FileState.online);
      if (hasSystemd()) {
        expect(exported(file)).toEqual(entries.slice(0, published).map(toExported));
        expect(exported(file, "_HOSTNAME=host.example.net")).toHaveLength(published);
      }
    }
    old.close();
    writer.close("archived");
  });

  test("is written to no more when nothing was appended", async () => {
    const writer = JournalWriter.create(nextPath(), OPTIONS, new PageCache());
    appendAll(writer, hostEntries(3));
    await writer.sync();
    let writes = 0;
    afterEachWrite(
      () => writer.publish(),
      () => writes++,
    );
    await writer.sync();
    expect(writes).toBe(0);
    writer.close("archived");
  });

  for (const cacheBytes of [0, 1 << 24]) {
    test(`can be read by another process at any moment, and after kill -9, cache ${cacheBytes}`, async () => {
      const file = nextPath();
      const child = Bun.spawn(
        [
          process.execPath,
          path.join(import.meta.dir, "../support/journal-writer-child.ts"),
          file,
          `${cacheBytes}`,
        ],
        { stderr: "inherit" },
      );
      let last = 0;
      try {
        await until(() => fs.existsSync(file) && fs.readFileSync(file)[0] === 0x4c);
        const counts = new Set<number>();
        for (const end = performance.now() + 1000; performance.now() < end; ) {
          const entries = expectUsable(fs.readFileSync(file));
          expect(entries).toBeGreaterThanOrEqual(last);
          last = entries;
          counts.add(entries);
          await Bun.sleep(0);
          if (hasSystemd() && counts.size % 20 === 1) {
            expect(exported(file, "_HOSTNAME=host.example.net").length).toBeGreaterThanOrEqual(
              last,
            );
          }
        }
        expect(counts.size).toBeGreaterThan(5);
      } finally {
        child.kill("SIGKILL");
        await child.exited;
      }
      expect(expectUsable(fs.readFileSync(file))).toBeGreaterThanOrEqual(last);
      if (hasSystemd()) expect(exported(file).length).toBeGreaterThanOrEqual(last);
    }, 20_000);
  }
});
