import { describe, expect, test } from "bun:test";
import { AgentError } from "../../src/errors.ts";
import { HEADER, HEADER_SIZE, HEADER_SIZE_MIN } from "../../src/journal/format.ts";
import {
  decodeHeader,
  encodeHeader,
  type JournalHeader,
  tailPointerFault,
} from "../../src/journal/header.ts";

const FILE_SIZE = 1024 * 1024;

/** Every field has a value of its own, and all fit together. */
function sampleHeader(): JournalHeader {
  return {
    compatibleFlags: 0,
    incompatibleFlags: 0x1c,
    state: 1,
    fileId: new Uint8Array(16).fill(1),
    machineId: new Uint8Array(16).fill(2),
    tailEntryBootId: new Uint8Array(16).fill(3),
    seqnumId: new Uint8Array(16).fill(4),
    headerSize: HEADER_SIZE,
    arenaSize: FILE_SIZE - HEADER_SIZE,
    dataHashTableOffset: 6000,
    dataHashTableSize: 32_000,
    fieldHashTableOffset: 304,
    fieldHashTableSize: 5328,
    tailObjectOffset: 90_000,
    objects: 700,
    entries: 100,
    tailEntrySeqnum: 1100,
    headEntrySeqnum: 1001,
    entryArrayOffset: 40_000,
    headEntryRealtime: 1_700_000_000_000_000,
    tailEntryRealtime: 1_700_000_100_000_000,
    tailEntryMonotonic: 5_000_000_000,
    data: 300,
    fields: 20,
    tags: 1,
    entryArrays: 200,
    dataHashChainDepth: 5,
    fieldHashChainDepth: 2,
    tailEntryArrayOffset: 80_000,
    tailEntryArrayEntries: 36,
    tailEntryOffset: 89_000,
  };
}

function encoded(changes: Partial<JournalHeader> = {}): Uint8Array {
  const bytes = new Uint8Array(HEADER_SIZE).fill(0xee);
  encodeHeader({ ...sampleHeader(), ...changes }, bytes);
  return bytes;
}

/** An encoded header with a le64 overwritten. */
function patched(field: keyof typeof HEADER, value: number | bigint): Uint8Array {
  const bytes = encoded();
  new DataView(bytes.buffer).setBigUint64(HEADER[field], BigInt(value), true);
  return bytes;
}

function errorOf(run: () => unknown): AgentError {
  try {
    run();
  } catch (error) {
    if (error instanceof AgentError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

describe("encodeHeader() and decodeHeader()", () => {
  test("are inverse", () => {
    expect(decodeHeader(encoded(), FILE_SIZE)).toEqual(sampleHeader());
  });

  test("encodeHeader() overwrites all 272 bytes and no more", () => {
    const bytes = new Uint8Array(HEADER_SIZE + 16).fill(0xee);
    encodeHeader(sampleHeader(), bytes);
    expect(bytes.subarray(0, 8)).toEqual(new TextEncoder().encode("LPKSHHRH"));
    expect(bytes.subarray(HEADER.reserved, HEADER.fileId)).toEqual(new Uint8Array(7));
    expect(bytes.subarray(HEADER_SIZE)).toEqual(new Uint8Array(16).fill(0xee));
  });

  test("encodeHeader() refuses a header of another size, or with a field missing", () => {
    const { tags: _, ...untagged } = sampleHeader();
    const into = new Uint8Array(HEADER_SIZE);
    expect(() => encodeHeader({ ...sampleHeader(), headerSize: 264 }, into)).toThrow(RangeError);
    expect(() => encodeHeader(untagged, into)).toThrow(RangeError);
  });

  test("decodeHeader() copies the ids, from a Buffer too", () => {
    const bytes = Buffer.from(encoded());
    const header = decodeHeader(bytes, FILE_SIZE);
    bytes.fill(0);
    expect(header.fileId).toEqual(new Uint8Array(16).fill(1));
    expect(header.seqnumId).toEqual(new Uint8Array(16).fill(4));
  });
});

/** Later fields with their end, as systemd 187, 189, 246, 252 and 254 added them. */
const LATER_FIELDS: [keyof JournalHeader, number][] = [
  ["data", 216],
  ["fields", 224],
  ["tags", 232],
  ["entryArrays", 240],
  ["dataHashChainDepth", 248],
  ["fieldHashChainDepth", 256],
  ["tailEntryArrayOffset", 260],
  ["tailEntryArrayEntries", 264],
  ["tailEntryOffset", 272],
];

describe("decodeHeader() of short headers", () => {
  const sizes = [208, 212, 216, 220, 224, 232, 236, 240, 248, 252, 256, 260, 264, 268, 272, 280];
  for (const size of sizes) {
    test(`decodes the fields inside a header of ${size} bytes and leaves the rest undefined`, () => {
      const bytes = patched("headerSize", size);
      // What stands behind the header belongs to the first object and must not be read.
      if (size < HEADER_SIZE) bytes.fill(0xff, size);
      const header = decodeHeader(bytes, FILE_SIZE + 8);
      const full = sampleHeader();
      for (const [field, end] of LATER_FIELDS) {
        expect(header[field]).toEqual(size >= end ? full[field] : undefined);
      }
      expect(header.tailEntryMonotonic).toBe(full.tailEntryMonotonic);
    });
  }

  test("accepts a file that ends with its short header's arena", () => {
    const bytes = encoded({ arenaSize: 100_000 });
    new DataView(bytes.buffer).setBigUint64(HEADER.headerSize, 208n, true);
    expect(decodeHeader(bytes.subarray(0, 208), 100_208).headerSize).toBe(208);
  });
});

describe("decodeHeader() rejects", () => {
  test("a header cut short at every length", () => {
    const bytes = encoded();
    for (let length = 0; length < HEADER_SIZE; length++) {
      const error = errorOf(() => decodeHeader(bytes.subarray(0, length), FILE_SIZE));
      expect(error.code).toBe("E_JOURNAL_CORRUPT");
    }
  });

  test("a damaged signature at every byte", () => {
    for (let i = 0; i < 8; i++) {
      const bytes = encoded();
      bytes[i] = (bytes[i] as number) ^ 1;
      const error = errorOf(() => decodeHeader(bytes, FILE_SIZE));
      expect(error.message).toContain("not a journal file");
      expect(error.offset).toBe(HEADER.signature);
    }
  });

  test("every incompatible flag it does not know", () => {
    for (let bit = 5; bit < 32; bit++) {
      const bytes = encoded({ incompatibleFlags: (0x1c | (1 << bit)) >>> 0 });
      const error = errorOf(() => decodeHeader(bytes, FILE_SIZE));
      expect(error.code).toBe("E_JOURNAL_UNSUPPORTED");
      expect(error.offset).toBe(HEADER.incompatibleFlags);
    }
  });

  const cases: [string, keyof typeof HEADER, number | bigint][] = [
    ["a header size below the smallest", "headerSize", HEADER_SIZE_MIN - 8],
    ["a header size above the file's", "headerSize", FILE_SIZE + 8],
    ["a header size above 2^53", "headerSize", 2n ** 60n],
    ["an arena that passes the end of the file", "arenaSize", FILE_SIZE - HEADER_SIZE + 1],
    ["an arena size above 2^53", "arenaSize", 2n ** 64n - 1n],
    ["a tail object inside the header", "tailObjectOffset", 264],
    ["a misaligned tail object", "tailObjectOffset", 90_004],
    ["a tail object at the end of the file", "tailObjectOffset", FILE_SIZE - 8],
    ["a data hash table without a size", "dataHashTableSize", 0],
    ["a data hash table without an offset", "dataHashTableOffset", 0],
    ["a misaligned data hash table", "dataHashTableOffset", 6004],
    ["a data hash table inside the header", "dataHashTableOffset", 280],
    ["a data hash table behind the tail", "dataHashTableOffset", 90_024],
    ["a data hash table that passes the end", "dataHashTableSize", FILE_SIZE],
    ["a field hash table inside the header", "fieldHashTableOffset", 16],
    ["a field hash table that passes the end", "fieldHashTableSize", 2n ** 52n],
    ["an entry array behind the tail", "entryArrayOffset", 90_008],
    ["a misaligned entry array", "entryArrayOffset", 40_001],
    ["more objects than fit", "objects", FILE_SIZE / 16],
    ["more entries than objects", "entries", 701],
    ["more data than objects", "data", 701],
    ["more fields than objects", "fields", 701],
    ["more tags than objects", "tags", 701],
    ["more entry arrays than objects", "entryArrays", 701],
  ];
  for (const [what, field, value] of cases) {
    test(what, () => {
      const error = errorOf(() => decodeHeader(patched(field, value), FILE_SIZE));
      expect(error.code).toBe("E_JOURNAL_CORRUPT");
      expect(error.message).toStartWith("Cannot read journal header: ");
      // Table faults are told at the offset field, whichever of the two is wrong.
      const at = field.endsWith("TableSize") ? field.replace("Size", "Offset") : field;
      expect(error.offset).toBe(HEADER[at as keyof typeof HEADER]);
    });
  }

  test("a state that does not exist", () => {
    expect(errorOf(() => decodeHeader(encoded({ state: 3 }), FILE_SIZE)).offset).toBe(HEADER.state);
  });

  test("nothing but with an AgentError, whatever 8 bytes are damaged", () => {
    for (let offset = 0; offset < HEADER_SIZE; offset += 4) {
      for (const fill of [0x00, 0x01, 0x7f, 0xff]) {
        const bytes = encoded();
        bytes.fill(fill, offset, offset + 8);
        try {
          decodeHeader(bytes, FILE_SIZE);
        } catch (error) {
          expect(error).toBeInstanceOf(AgentError);
        }
      }
    }
  });
});

describe("tailPointerFault()", () => {
  test("accepts a header with entries, without, and a short one", () => {
    expect(tailPointerFault(sampleHeader())).toBeUndefined();
    expect(tailPointerFault(emptyHeader())).toBeUndefined();
    const { tailEntryArrayOffset: _a, tailEntryArrayEntries: _b, ...short } = sampleHeader();
    expect(tailPointerFault(short)).toBeUndefined();
  });

  test("accepts the boot id of a writer before systemd 254 in a file without entries", () => {
    const header = { ...emptyHeader(), tailEntryBootId: new Uint8Array(16).fill(3) };
    expect(tailPointerFault(header)).toBeUndefined();
    expect(tailPointerFault({ ...header, compatibleFlags: 2 })?.offset).toBe(
      HEADER.tailEntryBootId,
    );
  });

  const faults: [string, Partial<JournalHeader>][] = [
    ["a tail array before the first", { tailEntryArrayOffset: 39_992 }],
    ["a tail array behind the tail object", { tailEntryArrayOffset: 90_008 }],
    ["a misaligned tail array", { tailEntryArrayOffset: 80_004 }],
    ["a tail array without items", { tailEntryArrayEntries: 0 }],
    ["items without a tail array", { tailEntryArrayOffset: 0 }],
    ["no tail array beside a first", { tailEntryArrayOffset: 0, tailEntryArrayEntries: 0 }],
    ["a tail array without a first", { entryArrayOffset: 0 }],
    ["more items than entries", { tailEntryArrayEntries: 101 }],
    ["items that pass the end", { arenaSize: 80_024 + 35 * 4 - HEADER_SIZE }],
    ["a tail entry inside the header", { tailEntryOffset: 264 }],
    ["a misaligned tail entry", { tailEntryOffset: 89_001 }],
    ["a tail entry behind the tail object", { tailEntryOffset: 90_008 }],
    ["a tail entry without a boot id", { tailEntryBootId: new Uint8Array(16) }],
    ["a tail entry without a head time", { headEntryRealtime: 0 }],
    ["a tail entry with an invalid time", { tailEntryRealtime: 2 ** 55 }],
    ["a tail entry with an invalid monotonic time", { tailEntryMonotonic: 2 ** 55 }],
    ["times without a tail entry", { tailEntryOffset: 0 }],
  ];
  for (const [what, changes] of faults) {
    test(`reports ${what}`, () => {
      expect(tailPointerFault({ ...sampleHeader(), ...changes })).toBeDefined();
    });
  }
});

function emptyHeader(): JournalHeader {
  return {
    ...sampleHeader(),
    tailEntryBootId: new Uint8Array(16),
    entries: 0,
    entryArrayOffset: 0,
    headEntryRealtime: 0,
    tailEntryRealtime: 0,
    tailEntryMonotonic: 0,
    tailEntryArrayOffset: 0,
    tailEntryArrayEntries: 0,
    tailEntryOffset: 0,
  };
}
