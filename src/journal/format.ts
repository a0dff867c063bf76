/**
 * The journal file layout: systemd's journal-def.h as offset tables. The one place with numbers.
 * Spec: https://systemd.io/JOURNAL_FILE_FORMAT/ (systemd 254 .. 262). All integers little endian.
 */

export const SIGNATURE = "LPKSHHRH";

export const FileState = { offline: 0, online: 1, archived: 2 } as const;

export const Incompatible = {
  compressedXz: 1 << 0,
  compressedLz4: 1 << 1,
  keyedHash: 1 << 2,
  compressedZstd: 1 << 3,
  compact: 1 << 4,
} as const;
export const INCOMPATIBLE_KNOWN = 0x1f;

export const Compatible = {
  sealed: 1 << 0,
  tailEntryBootId: 1 << 1,
  sealedContinuous: 1 << 2,
} as const;
export const COMPATIBLE_KNOWN = 0x7;

/** struct Header. */
export const HEADER = {
  signature: 0, //             u8[8]
  compatibleFlags: 8, //       le32
  incompatibleFlags: 12, //    le32
  state: 16, //                u8
  reserved: 17, //             u8[7]
  fileId: 24, //               id128
  machineId: 40, //            id128
  tailEntryBootId: 56, //      id128
  seqnumId: 72, //             id128
  headerSize: 88, //           le64
  arenaSize: 96, //            le64
  dataHashTableOffset: 104, // le64, of the items
  dataHashTableSize: 112, //   le64, bytes
  fieldHashTableOffset: 120, // le64
  fieldHashTableSize: 128, //  le64
  tailObjectOffset: 136, //    le64
  objects: 144, //             le64
  entries: 152, //             le64
  tailEntrySeqnum: 160, //     le64
  headEntrySeqnum: 168, //     le64
  entryArrayOffset: 176, //    le64
  headEntryRealtime: 184, //   le64
  tailEntryRealtime: 192, //   le64
  tailEntryMonotonic: 200, //  le64
  data: 208, //                le64   since 187
  fields: 216, //              le64   since 187
  tags: 224, //                le64   since 189
  entryArrays: 232, //         le64   since 189
  dataHashChainDepth: 240, //  le64   since 246
  fieldHashChainDepth: 248, // le64   since 246
  tailEntryArrayOffset: 256, // le32  since 252
  tailEntryArrayEntries: 260, // le32 since 252
  tailEntryOffset: 264, //     le64   since 254
} as const;
/** The header this program writes. */
export const HEADER_SIZE = 272;
/** The smallest header any systemd wrote. */
export const HEADER_SIZE_MIN = 208;

export const ObjectType = {
  unused: 0,
  data: 1,
  field: 2,
  entry: 3,
  dataHashTable: 4,
  fieldHashTable: 5,
  entryArray: 6,
  tag: 7,
} as const;
export type ObjectType = (typeof ObjectType)[keyof typeof ObjectType];

/** Object flags; on DATA only, at most one. */
export const ObjectFlag = { xz: 1 << 0, lz4: 1 << 1, zstd: 1 << 2 } as const;
export const OBJECT_FLAGS_COMPRESSION = 0x7;

/** struct ObjectHeader, in front of every object. */
export const OBJECT = {
  type: 0, //   u8
  flags: 1, //  u8
  size: 8, //   le64, unpadded
} as const;
export const OBJECT_HEADER_SIZE = 16;

export const DATA = {
  hash: 16, //             le64
  nextHashOffset: 24, //   le64
  nextFieldOffset: 32, //  le64
  entryOffset: 40, //      le64
  entryArrayOffset: 48, // le64
  entries: 56, //          le64
  regularPayload: 64,
  /** Compact files only. */
  tailEntryArrayOffset: 64, //  le32
  tailEntryArrayEntries: 68, // le32
  compactPayload: 72,
} as const;

export const FIELD = {
  hash: 16, //           le64
  nextHashOffset: 24, // le64
  headDataOffset: 32, // le64
  payload: 40,
} as const;

export const ENTRY = {
  seqnum: 16, //    le64
  realtime: 24, //  le64
  monotonic: 32, // le64
  bootId: 40, //    id128
  xorHash: 56, //   le64
  items: 64,
} as const;
/** Regular: { le64 offset, le64 hash }; compact: { le32 offset }. */
export const ENTRY_ITEM_SIZE_REGULAR = 16;
export const ENTRY_ITEM_SIZE_COMPACT = 4;

export const HASH_TABLE = { items: 16 } as const;
/** { le64 head, le64 tail } */
export const HASH_ITEM = { head: 0, tail: 8 } as const;
export const HASH_ITEM_SIZE = 16;

export const ENTRY_ARRAY = {
  nextEntryArrayOffset: 16, // le64
  items: 24, //                le64 each; compact: le32
} as const;
export const ENTRY_ARRAY_ITEM_SIZE_REGULAR = 8;
export const ENTRY_ARRAY_ITEM_SIZE_COMPACT = 4;

export const TAG = { seqnum: 16, epoch: 24, hmac: 32 } as const;
export const TAG_SIZE = 64;

/** Compact files keep every offset in 32 bits. */
export const COMPACT_FILE_SIZE_MAX = 2 ** 32 - 1;
/** Realtime and monotonic times must be below this (journal-def.h: VALID_REALTIME). */
export const TIMESTAMP_LIMIT = 2 ** 55;
/** Uncompressed size of a payload; journal-importer.h: DATA_SIZE_MAX. */
export const DATA_SIZE_MAX = 768 * 1024 * 1024;
/** journal-file.c: a chain longer than this suggests rotation. */
export const HASH_CHAIN_DEPTH_MAX = 100;
