import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { BatchEncoder } from "../../src/batch-format/encoder.ts";
import { BLOCK_SIZE_MAX, DICTIONARY_SIZE_MAX } from "../../src/batch-format/format.ts";
import { type Entry, newEntry } from "../../src/journal/entry.ts";
import {
  contentOf,
  decodeAll,
  decodeChunks,
  type EntryContent,
  encodeBatch,
} from "../support/batch-bodies.ts";
import { cutEvery } from "../support/export-stream.ts";
import { hostEntries, hostEntry, OTHER_BOOT_ID, toEntry } from "../support/journal-entries.ts";
import { RecordCache } from "../support/record-cache.ts";

const anyEntry = fc.record({
  seqnum: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  realtimeUsec: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  monotonicUsec: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
  bootId: fc.constantFrom(OTHER_BOOT_ID, "12".repeat(16)),
  fields: fc.array(
    fc
      .tuple(
        fc.constantFrom("A", "MESSAGE", `N${"9".repeat(63)}`),
        fc.uint8Array({ maxLength: 40 }),
      )
      .map(([name, value]) => Buffer.concat([Buffer.from(`${name}=`), value])),
    { minLength: 0, maxLength: 12 },
  ),
});

describe("What is encoded", () => {
  test("is decoded as it was: numbers, ids, fields in their order, repeated ones too", () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.tuple(anyEntry, fc.constantFrom(undefined, "0123456789abcdef", "f".repeat(16))),
        ),
        (plains) => {
          const entries = plains.map(([plain, xorHash]) =>
            toEntry(xorHash === undefined ? plain : { ...plain, xorHash }),
          );
          expect(decodeAll(encodeBatch(entries))).toEqual(entries.map((one) => contentOf(one)));
        },
      ),
    );
  });

  test("is the same however the body is split", () => {
    const body = encodeBatch(hostEntries(20).map((plain) => toEntry(plain)));
    const whole = decodeChunks([body]);
    expect(whole).toMatchObject({ refusals: [], error: undefined, trailingBytes: 0 });
    for (let at = 0; at <= body.length; at++) {
      expect(decodeChunks([body.subarray(0, at), body.subarray(at)])).toEqual(whole);
    }
    for (const size of [1, 2, 3, 7, 8, 15, 16, 17, 100]) {
      expect(decodeChunks(cutEvery(body, size))).toEqual(whole);
    }
  });

  test("may be an entry without identity", () => {
    const entry = toEntry({ seqnum: 0, fields: ["MESSAGE=x"] });
    const [decoded] = decodeAll(encodeBatch([entry]));
    expect(decoded).toMatchObject({ seqnum: 0, hasXorHash: false });
  });

  test("fills several blocks, whose definitions count on", () => {
    const plains = Array.from({ length: 3000 }, (_, n) =>
      hostEntry(n + 1, `TAG=${n % 10}`, `DETAIL=${"d".repeat(n % 200)}${n}`),
    );
    const entries = plains.map((plain) => toEntry(plain));
    const body = encodeBatch(entries);
    expect(body.length).toBeGreaterThan(3 * 128 * 1024);
    const view = new DataView(body.buffer);
    for (let at = 0; at < body.length; at += view.getUint32(at + 4, true)) {
      expect(view.getUint32(at + 4, true)).toBeLessThanOrEqual(128 * 1024);
    }
    expect(decodeAll(body)).toEqual(entries.map((one) => contentOf(one)));
  });

  test("fields too large for a block have one of their own", () => {
    const large = "x".repeat(BLOCK_SIZE_MAX + 5);
    const entries = [
      toEntry({ seqnum: 1, fields: ["A=1", `LARGE=${large}`, "B=2", `OTHER=${large}`, "C=3"] }),
      toEntry({ seqnum: 2, fields: [`LARGE=${large}`, "C=3", `M=${"m".repeat(140_000)}`] }),
      toEntry({
        seqnum: 3,
        fields: Array.from({ length: 1000 }, (_, n) => `F${n}=${"v".repeat(300)}`),
      }),
    ];
    const body = encodeBatch(entries);
    expect(body.length).toBeLessThan(2 * BLOCK_SIZE_MAX + 600_000);
    expect(decodeAll(body)).toEqual(entries.map((one) => contentOf(one)));
  });
});

describe("BatchEncoder", () => {
  test("says how large the body is, and begins with nothing after it", () => {
    const encoder = new BatchEncoder();
    const records = new RecordCache();
    encoder.begin();
    expect(encoder.size).toBe(0);
    expect(encoder.finish()).toEqual(new Uint8Array(0));
    for (const plain of hostEntries(2000)) encoder.add(records.toJournalEntry(toEntry(plain)));
    expect(encoder.entries).toBe(2000);
    const { size } = encoder;
    const first = encoder.finish();
    expect(first.length).toBe(size);
    expect(encoder.size).toBe(0);
    expect(encoder.entries).toBe(0);
    // The numbers of the body before mean nothing in this one.
    encoder.add(records.toJournalEntry(toEntry(hostEntry(7))));
    expect(decodeAll(encoder.finish())).toEqual([contentOf(toEntry(hostEntry(7)))]);
    expect(decodeAll(first)).toHaveLength(2000);
  });

  test("forgets what was added when a body begins", () => {
    const encoder = new BatchEncoder();
    const records = new RecordCache();
    encoder.begin();
    encoder.add(records.toJournalEntry(toEntry(hostEntry(1))));
    encoder.begin();
    encoder.add(records.toJournalEntry(toEntry(hostEntry(2))));
    expect(decodeAll(encoder.finish())).toEqual([contentOf(toEntry(hostEntry(2)))]);
  });

  test("goes on when the cache has forgotten its records", () => {
    const encoder = new BatchEncoder();
    const records = new RecordCache();
    const plains = hostEntries(40);
    encoder.begin();
    for (const plain of plains) {
      encoder.add(records.toJournalEntry(toEntry(plain)));
      if (plain.seqnum % 7 === 0) records.cache.clear();
    }
    const expected = plains.map((plain) => contentOf(toEntry(plain)));
    expect(decodeAll(encoder.finish())).toEqual(expected);
  });

  test("leaves out fields that no receiver takes", () => {
    const entry = toEntry({ seqnum: 1, fields: ["__REALTIME_TIMESTAMP=1", "A=1", "__X=", "_X=2"] });
    const [decoded] = decodeAll(encodeBatch([entry]));
    expect(decoded?.fields.slice(1)).toEqual([
      ["A=1", 1],
      ["_X=2", 2],
    ]);
  });

  test("starts the numbers anew when there are too many fields, or too large ones", () => {
    const encoder = new BatchEncoder();
    const records = new RecordCache();
    const part = Math.floor(DICTIONARY_SIZE_MAX / 3);
    const large = (seqnum: number) =>
      toEntry(
        { seqnum, fields: ["A=1", `L=${String(seqnum % 10).repeat(part)}`, "B=2"] },
        newEntry(),
      );
    const plains = hostEntries(200);
    encoder.begin();
    const expected: EntryContent[] = [];
    const add = (entry: Entry): void => {
      expect(encoder.add(records.toJournalEntry(entry))).toBe(true);
      expected.push(contentOf(entry));
    };
    for (const [n, plain] of plains.entries()) {
      const fields = Array.from({ length: 1000 }, (_, i) => `N${i}=${n}`);
      add(toEntry({ ...plain, fields: n < 140 ? fields : plain.fields }));
      if (n % 40 === 39) add(large(1000 + n));
    }
    const body = encoder.finish();
    expect(decodeAll(body)).toEqual(expected);
    expect(restartsOf(body)).toBeGreaterThanOrEqual(2);
  }, 30_000);

  test("refuses an entry with more fields than a receiver takes, and goes on", () => {
    const encoder = new BatchEncoder();
    const records = new RecordCache();
    const entryOf = (seqnum: number, count: number) =>
      toEntry(
        { seqnum, fields: Array.from({ length: count }, (_, n) => `N${n}=${seqnum}`) },
        newEntry(2000),
      );
    encoder.begin();
    const added = [1000, 1087, 1088, 1500, 3].map((count, i) =>
      encoder.add(records.toJournalEntry(entryOf(i, count))),
    );
    expect(added).toEqual([true, true, false, false, true]);
    const found = decodeAll(encoder.finish());
    expect(found.map(({ fields }) => fields.length)).toEqual([1001, 1088, 4]);
  });

  test("refuses an entry whose fields are too large for any body, and goes on", () => {
    const encoder = new BatchEncoder();
    const records = new RecordCache();
    const part = Math.floor(DICTIONARY_SIZE_MAX / 3);
    const fields = Array.from({ length: 3 }, (_, n) => `L${n}=${"x".repeat(part)}`);
    const tooLarge = () => records.toJournalEntry(toEntry({ seqnum: 1, fields }, newEntry()));
    encoder.begin();
    expect(encoder.add(tooLarge())).toBe(false);
    expect(encoder.size).toBe(0);
    expect(encoder.add(records.toJournalEntry(toEntry(hostEntry(2))))).toBe(true);
    const { size } = encoder;
    expect(encoder.add(tooLarge())).toBe(false);
    expect(encoder.size).toBe(size);
    expect(encoder.add(records.toJournalEntry(toEntry(hostEntry(4))))).toBe(true);
    expect(encoder.entries).toBe(2);
    const decoded = decodeAll(encoder.finish());
    expect(decoded).toEqual([2, 4].map((seqnum) => contentOf(toEntry(hostEntry(seqnum)))));
  });

  test("tells entries of several boots and sequences apart", () => {
    const origins = [OTHER_BOOT_ID, "12".repeat(16), "13".repeat(16)];
    const entries = Array.from({ length: 3000 }, (_, n) =>
      toEntry({ ...hostEntry(n + 1), bootId: origins[n % 3] as string }),
    );
    expect(decodeAll(encodeBatch(entries))).toEqual(entries.map((one) => contentOf(one)));
  });
});

/** How many blocks say that they start the numbers anew. */
function restartsOf(body: Uint8Array): number {
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  let restarts = 0;
  for (let at = 0; at < body.length; at += view.getUint32(at + 4, true)) {
    restarts += view.getUint32(at + 8, true);
  }
  return restarts;
}
