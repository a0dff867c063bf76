import { describe, expect, test } from "bun:test";
import {
  DATA,
  ENTRY,
  ENTRY_ARRAY,
  FIELD,
  HASH_ITEM,
  HASH_ITEM_SIZE,
  HASH_TABLE,
  HEADER,
  HEADER_SIZE,
  HEADER_SIZE_MIN,
  OBJECT,
  OBJECT_HEADER_SIZE,
  TAG,
  TAG_SIZE,
} from "../../src/journal/format.ts";

/**
 * The structs of journal-def.h (systemd 257) a second time, as widths in bytes: two copies made at
 * different times must agree.
 */
const STRUCTS: { name: string; table: object; start: number; size: number; widths: object }[] = [
  {
    name: "Header",
    table: HEADER,
    start: 0,
    size: HEADER_SIZE,
    widths: {
      signature: 8,
      compatibleFlags: 4,
      incompatibleFlags: 4,
      state: 1,
      reserved: 7,
      fileId: 16,
      machineId: 16,
      tailEntryBootId: 16,
      seqnumId: 16,
      headerSize: 8,
      arenaSize: 8,
      dataHashTableOffset: 8,
      dataHashTableSize: 8,
      fieldHashTableOffset: 8,
      fieldHashTableSize: 8,
      tailObjectOffset: 8,
      objects: 8,
      entries: 8,
      tailEntrySeqnum: 8,
      headEntrySeqnum: 8,
      entryArrayOffset: 8,
      headEntryRealtime: 8,
      tailEntryRealtime: 8,
      tailEntryMonotonic: 8,
      data: 8,
      fields: 8,
      tags: 8,
      entryArrays: 8,
      dataHashChainDepth: 8,
      fieldHashChainDepth: 8,
      tailEntryArrayOffset: 4,
      tailEntryArrayEntries: 4,
      tailEntryOffset: 8,
    },
  },
  {
    name: "FieldObject",
    table: FIELD,
    start: OBJECT_HEADER_SIZE,
    size: 40,
    widths: { hash: 8, nextHashOffset: 8, headDataOffset: 8, payload: 0 },
  },
  {
    name: "EntryObject",
    table: ENTRY,
    start: OBJECT_HEADER_SIZE,
    size: 64,
    widths: { seqnum: 8, realtime: 8, monotonic: 8, bootId: 16, xorHash: 8, items: 0 },
  },
  {
    name: "HashTableObject",
    table: HASH_TABLE,
    start: OBJECT_HEADER_SIZE,
    size: 16,
    widths: { items: 0 },
  },
  {
    name: "HashItem",
    table: HASH_ITEM,
    start: 0,
    size: HASH_ITEM_SIZE,
    widths: { head: 8, tail: 8 },
  },
  {
    name: "EntryArrayObject",
    table: ENTRY_ARRAY,
    start: OBJECT_HEADER_SIZE,
    size: 24,
    widths: { nextEntryArrayOffset: 8, items: 0 },
  },
  {
    name: "TagObject",
    table: TAG,
    start: OBJECT_HEADER_SIZE,
    size: TAG_SIZE,
    widths: { seqnum: 8, epoch: 8, hmac: 32 },
  },
];

describe("layout tables", () => {
  for (const { name, table, start, size, widths } of STRUCTS) {
    test(`struct ${name} has its fields back to back, ${size} bytes`, () => {
      const expected: Record<string, number> = {};
      let offset = start;
      for (const [field, width] of Object.entries(widths)) {
        expected[field] = offset;
        offset += width;
      }
      expect(table).toEqual(expected);
      expect(offset).toBe(size);
    });
  }

  test("struct DataObject ends with the payload, or two words and the payload", () => {
    expect<object>(DATA).toEqual({
      hash: 16,
      nextHashOffset: 24,
      nextFieldOffset: 32,
      entryOffset: 40,
      entryArrayOffset: 48,
      entries: 56,
      regularPayload: 56 + 8,
      tailEntryArrayOffset: 56 + 8,
      tailEntryArrayEntries: 56 + 8 + 4,
      compactPayload: 56 + 8 + 4 + 4,
    });
  });

  test("struct ObjectHeader is type, flags, six reserved bytes and the size", () => {
    expect<object>(OBJECT).toEqual({ type: 0, flags: 1, size: 1 + 1 + 6 });
    expect<number>(OBJECT_HEADER_SIZE).toBe(1 + 1 + 6 + 8);
  });

  test("the smallest header ends where the fields of systemd 187 begin", () => {
    expect<number>(HEADER_SIZE_MIN).toBe(HEADER.data);
  });
});
