import { afterAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { hashJenkins, jenkins } from "../../src/bytes/lookup3.ts";
import { viewOf } from "../../src/bytes/view.ts";
import { PageCache } from "../../src/journal/page-cache.ts";
import { bucketOf } from "../../src/journal/payload-hash.ts";
import { JournalWriter } from "../../src/journal/writer.ts";
import {
  appendAll,
  complaints,
  hostEntries,
  hostEntry,
  OPTIONS,
  OTHER_BOOT_ID,
  type PlainEntry,
  toEntry,
  writeJournal,
} from "../support/journal-entries.ts";
import { JournalImage } from "../support/journal-image.ts";
import { hasSystemd } from "../support/journal-tools.ts";
import { TempDir } from "../support/temp-dir.ts";

const dir = new TempDir();
afterAll(() => dir[Symbol.dispose]());

let files = 0;
const nextPath = (): string => path.join(dir.path, `${files++}.journal`);
const readImage = (file: string): JournalImage => new JournalImage(fs.readFileSync(file));

describe("JournalWriter.fits()", () => {
  const tail = { seqnum: 10, fields: ["A=1"], realtimeUsec: 5000, monotonicUsec: 500 };
  const cases: [string, Partial<PlainEntry>, boolean][] = [
    ["a higher number", { seqnum: 11 }, true],
    ["a gap", { seqnum: 1000 }, true],
    ["the same number", { seqnum: 10 }, false],
    ["a lower number", { seqnum: 9 }, false],
    ["the same monotonic time", { seqnum: 11, monotonicUsec: 500 }, true],
    ["a lower monotonic time", { seqnum: 11, monotonicUsec: 499 }, false],
    [
      "a lower monotonic time of another boot",
      { seqnum: 11, monotonicUsec: 1, bootId: OTHER_BOOT_ID },
      true,
    ],
    ["a lower realtime", { seqnum: 11, realtimeUsec: 4999 }, true],
  ];
  for (const [what, change, fits] of cases) {
    test(`is ${fits} for ${what}`, () => {
      const writer = JournalWriter.create(nextPath(), OPTIONS, new PageCache());
      const next = { ...tail, ...change };
      expect(writer.fits(toEntry(next), next.seqnum)).toBe(true);
      appendAll(writer, [tail]);
      expect(writer.fits(toEntry(next), next.seqnum)).toBe(fits);
      writer.close("archived");
    });
  }
});

describe("JournalWriter.rotationReason()", () => {
  const reasonAfter = (
    entries: Iterable<PlainEntry>,
    options: Partial<typeof OPTIONS>,
    next: PlainEntry = hostEntry(1_000_000),
  ): string | undefined => {
    const writer = JournalWriter.create(nextPath(), { ...OPTIONS, ...options }, new PageCache());
    appendAll(writer, entries);
    const reason = writer.rotationReason(toEntry(next));
    writer.close("archived");
    return reason;
  };

  test("is none for an empty file, whatever the entry", () => {
    const next = hostEntry(1, `BIG=${"x".repeat(100_000)}`);
    expect(reasonAfter([], { sizeMaxBytes: 60_000, dataBuckets: 4 }, next)).toBeUndefined();
  });

  test("is the data hash table past three quarters", () => {
    const entries = (count: number): PlainEntry[] =>
      Array.from({ length: count }, (_, i) => ({ seqnum: i + 1, fields: [`A=${i}`] }));
    // 1 DATA for the boot id and one for each entry; the limit for 40 buckets is 30.
    expect(reasonAfter(entries(29), { dataBuckets: 40 })).toBeUndefined();
    expect(reasonAfter(entries(30), { dataBuckets: 40 })).toBe("data-hash-table");
  });

  test("is the field hash table past three quarters of its 1,023 buckets", () => {
    const entry = (count: number): PlainEntry => ({
      seqnum: 1,
      fields: Array.from({ length: count }, (_, i) => `F${i}=`),
    });
    expect(reasonAfter([entry(766)], {})).toBeUndefined();
    expect(reasonAfter([entry(767)], {})).toBe("field-hash-table");
  });

  /** `A=00000000` and so on: those whose Jenkins hash is wanted. */
  function craft(count: number, isWanted: (low: number, high: number) => boolean): string[] {
    const fields: string[] = [];
    const bytes = Buffer.from("A=00000000");
    for (let number = 0; fields.length < count; number++) {
      for (let at = 9, rest = number; at > 1; at--, rest = Math.floor(rest / 10)) {
        bytes[at] = 48 + (rest % 10);
      }
      hashJenkins(viewOf(bytes), 0, bytes.length);
      if (isWanted(jenkins.low, jenkins.high)) fields.push(bytes.toString());
    }
    return fields;
  }

  test("is the hash chain past a depth of 100", () => {
    const fields = craft(102, (low, high) => bucketOf(low, high, 1000) === 7);
    const options = { dataBuckets: 1000, keyedHash: false };
    const file = nextPath();
    writeJournal(file, [{ seqnum: 1, fields }], options);
    expect(readImage(file).header.dataHashChainDepth).toBe(101);
    if (hasSystemd()) expect(complaints(file)).toEqual([]);
    expect(reasonAfter([{ seqnum: 1, fields: fields.slice(1) }], options)).toBeUndefined();
    expect(reasonAfter([{ seqnum: 1, fields }], options)).toBe("hash-chain");
  });

  test("is the index of a keyed file when many payloads fall on one place of it", () => {
    const fields = craft(1003, (low, high) => ((low ^ Math.imul(high, 31)) & 4095) === 0);
    const entries = fields.map((field, i) => ({ seqnum: i + 1, fields: [field] }));
    expect(reasonAfter(entries.slice(0, 1000), {})).toBeUndefined();
    expect(reasonAfter(entries, {})).toBe("hash-chain");
  });

  test("is the size when the entry with all it brings may pass it", () => {
    const next = hostEntry(2, `BIG=${"x".repeat(9_996)}`);
    const base = nextPath();
    writeJournal(base, hostEntries(1));
    const used = fs.statSync(base).size;
    expect(reasonAfter(hostEntries(1), { sizeMaxBytes: used + 10_000 }, next)).toBe("size");
    expect(reasonAfter(hostEntries(1), { sizeMaxBytes: used + 13_000 }, next)).toBeUndefined();
  });

  const fills: [boolean, number, number][] = [
    [true, 40, 1400],
    [false, 40, 500],
    [true, 1000, 250],
    [false, 1000, 80],
  ];
  for (const [compact, fieldCount, entriesMin] of fills) {
    const name = `${compact ? "compact" : "regular"} file of ${fieldCount} shared fields`;
    test(`keeps a ${name} below its size, arrays included`, () => {
      const file = nextPath();
      const sizeMaxBytes = fieldCount === 40 ? 1 << 20 : 5_000_000;
      const writer = JournalWriter.create(
        file,
        { ...OPTIONS, compact, sizeMaxBytes, dataBuckets: 8191 },
        new PageCache(),
      );
      const shared = Array.from({ length: fieldCount }, (_, i) => `SHARED_${i % 50}=${i}`);
      let count = 0;
      for (;;) {
        const plain = { seqnum: count + 1, fields: shared };
        const entry = toEntry(plain);
        if (writer.rotationReason(entry) !== undefined) break;
        writer.append(entry, plain.seqnum);
        count++;
      }
      writer.close("archived");
      expect(fs.statSync(file).size).toBeLessThanOrEqual(sizeMaxBytes);
      // Most of it is used: the arrays did not stop short either.
      expect(count).toBeGreaterThan(entriesMin);
      expect(readImage(file).entries()).toHaveLength(count);
      if (hasSystemd()) expect(complaints(file)).toEqual([]);
    });
  }
});
