import { expect, test } from "bun:test";
import fc from "fast-check";
import { type Entry, newEntry } from "../../src/journal/entry.ts";
import { EntryBatch, sizeOf } from "../../src/serve/entry-batch.ts";
import { OTHER_BOOT_ID, toEntry } from "../support/journal-entries.ts";

/** Everything of an entry as plain values. */
function contentOf(entry: Entry) {
  const { fieldCount, bytes, fieldStart, fieldEnd, nameLength } = entry;
  const fields = Array.from({ length: fieldCount }, (_, i) => [
    Buffer.from(bytes.subarray(fieldStart[i], fieldEnd[i])).toString("latin1"),
    nameLength[i],
  ]);
  const { realtimeUsec, monotonicUsec, seqnum, hasXorHash } = entry;
  return {
    ...{ fields, realtimeUsec, monotonicUsec, seqnum, hasXorHash },
    xorHash: hasXorHash ? [entry.xorHashLow, entry.xorHashHigh] : [],
    ids: [...entry.bootId, ...entry.seqnumId],
  };
}

test("EntryBatch gives back every entry as it was, from a buffer that was used before", () => {
  const value = fc.string({ maxLength: 60 });
  const number = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });
  const plain = fc.record({
    seqnum: number,
    realtimeUsec: number,
    monotonicUsec: number,
    bootId: fc.constantFrom(OTHER_BOOT_ID, "12".repeat(16)),
    fields: fc.array(
      value.map((text) => `NAME=${text}`),
      { minLength: 1, maxLength: 8 },
    ),
    xorHash: fc.constantFrom("0123456789abcdef", "ffffffffffffffff"),
  });
  const buffer = new ArrayBuffer(64 * 1024);
  fc.assert(
    fc.property(fc.array(plain, { minLength: 1, maxLength: 20 }), (plains) => {
      const entries = plains.map((one) => toEntry(one));
      const batch = new EntryBatch(buffer);
      for (const entry of entries) {
        const before = batch.size;
        expect(batch.hasRoom(sizeOf(entry))).toBe(true);
        batch.add(entry);
        expect(batch.size - before).toBe(sizeOf(entry));
        expect(batch.size % 8).toBe(0);
      }
      const read: ReturnType<typeof contentOf>[] = [];
      new EntryBatch(buffer.slice(0, batch.size)).forEach(batch.size, newEntry(), (entry) => {
        read.push(contentOf(entry));
      });
      expect(read).toEqual(entries.map(contentOf));
    }),
  );
});

test("EntryBatch has room for exactly what it says", () => {
  const entry = toEntry({ seqnum: 1, fields: ["MESSAGE=x"] });
  const size = sizeOf(entry);
  expect(new EntryBatch(new ArrayBuffer(size)).hasRoom(size)).toBe(true);
  expect(new EntryBatch(new ArrayBuffer(size - 8)).hasRoom(size)).toBe(false);
});
