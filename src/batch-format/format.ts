/**
 * The batch format, `application/vnd.agent.journal-batch`, version 1: what `agent upload` sends to `agent serve`;
 * everybody else gets the export format. Each distinct field travels, is checked, hashed and stored once a
 * request, not once an entry.
 *
 * A body is a sequence of blocks, also of none. Integers are little endian; blocks, definitions and entries begin at
 * multiples of 8 bytes and are padded to them with zeros, which nobody looks at. A block is definitions, then
 * entries. A definition gives a field, `NAME=value` with any bytes as value, the next number, counted from 0
 * through the whole body; the entries of its block and of those behind it have the field by that number.
 *
 * What is wrong with one entry, or with a field it has, makes that entry be refused, counted and passed over. A
 * block whose sizes do not fit together ends the request (400), as does a dictionary over its limits (413). What
 * comes before the end of a body that was cut is stored (417, with the size of the unfinished block).
 *
 * `agent serve` says that it takes batches by `Accept-Post: …, application/vnd.agent.journal-batch` in every 2xx.
 */

export const BATCH_CONTENT_TYPE = "application/vnd.agent.journal-batch";

/** "JAB1". */
export const BLOCK_SIGNATURE = 0x3142414a;

/** Head of a block; its definitions follow, then its entries. */
export const BLOCK = {
  signature: 0, //       u32
  size: 4, //            u32  of the block, this head included
  definitionCount: 8, // u32
  entryCount: 12, //     u32
} as const;
export const BLOCK_HEAD_SIZE = 16;

/** Head of a definition; the payload follows. */
export const DEFINITION = {
  payloadSize: 0, // u32
  nameLength: 4, //  u32  1 .. 64: a field name of the journal that does not begin with "__"
} as const;
export const DEFINITION_HEAD_SIZE = 8;

/** Head of an entry; its field numbers, u32 each, follow. `_BOOT_ID` is one of them. */
export const ENTRY_HEAD = {
  realtimeUsec: 0, //  f64  integer, 1 .. 2^53-1
  monotonicUsec: 8, // f64  integer, 0 .. 2^53-1
  seqnum: 16, //       f64  integer, 0 .. 2^53-1; 0 = without identity
  xorHashLow: 24, //   u32
  xorHashHigh: 28, //  u32
  bootId: 32, //       u8[16]  not null
  seqnumId: 48, //     u8[16]  not null where there is a seqnum
  fieldCount: 64, //   u32
  flags: 68, //        u32
} as const;
export const ENTRY_HEAD_SIZE = 72;

export const EntryFlag = {
  /** The xor hash is not known: whoever stores the entry computes it. */
  noXorHash: 1 << 0,
  /** Set by the decoder, never on the wire: the entry was refused. */
  refused: 1 << 31,
} as const;

/** A block is no larger, unless it holds a single definition and nothing else. */
export const BLOCK_SIZE_MAX = 1024 * 1024;
/** Fields defined by one body. */
export const DEFINITIONS_MAX = 1024 * 1024;
/** Bytes of a body's definitions as they stand in it. A field for which this is too little goes as export text. */
export const DICTIONARY_SIZE_MAX = 64 * 1024 * 1024;

/** Bytes from the start of a definition to what follows it. */
export function definitionSize(payloadSize: number): number {
  return DEFINITION_HEAD_SIZE + payloadSize + ((8 - (payloadSize & 7)) & 7);
}

/** Bytes from the start of an entry to what follows it. */
export function entrySize(fieldCount: number): number {
  return ENTRY_HEAD_SIZE + 4 * (fieldCount + (fieldCount & 1));
}
