/**
 * The batch format, `application/vnd.agent.journal-batch`, version 1: what `agent upload` sends to `agent serve`;
 * everybody else gets the export format. Each distinct field travels, is checked, hashed and stored once a
 * request or a part of it, not once an entry.
 *
 * A body is a sequence of blocks, also of none. Integers are little endian; blocks, definitions and entries begin at
 * multiples of 8 bytes and are padded to them with zeros, which nobody looks at. A block is origins, then definitions,
 * then entries. A definition gives a field, `NAME=value` with any bytes as value, the next number, counted from 0
 * through the whole body, or from the last block that starts them anew; the entries of its block and of those behind it
 * have the field by that number. An origin is a boot and a sequence of numbers; entries have it by its place in their block.
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

/** Head of a block; its origins follow, then its definitions, then its entries. */
export const BLOCK = {
  signature: 0, //       u32
  size: 4, //            u32  of the block, this head included
  flags: 8, //           u32
  originCount: 12, //    u32
  definitionCount: 16, // u32
  entryCount: 20, //     u32
} as const;
export const BLOCK_HEAD_SIZE = 24;

export const BlockFlag = {
  /** Its definitions are counted from 0 again: what was defined before is over. */
  restart: 1 << 0,
} as const;

export const ORIGIN = {
  bootId: 0, //    u8[16]  not null
  seqnumId: 16, // u8[16]  not null where there is a seqnum
} as const;
export const ORIGIN_SIZE = 32;

/** Head of a definition; the payload follows. */
export const DEFINITION = {
  payloadSize: 0, // u32
  nameLength: 4, //  u32  1 .. 64: a field name of the journal that does not begin with "__"
} as const;
export const DEFINITION_HEAD_SIZE = 8;

/** Head of an entry; its field numbers, u16 each, follow. `_BOOT_ID` is one of them. */
export const ENTRY_HEAD = {
  realtimeUsec: 0, //  f64  integer, 1 .. 2^53-1
  monotonicUsec: 8, // f64  integer, 0 .. 2^53-1
  seqnum: 16, //       f64  integer, 0 .. 2^53-1; 0 = without identity
  xorHashLow: 24, //   u32
  xorHashHigh: 28, //  u32
  fieldCount: 32, //   u32
  origin: 36, //       u16
  flags: 38, //        u16
} as const;
export const ENTRY_HEAD_SIZE = 40;

export const EntryFlag = {
  /** The xor hash is not known: whoever stores the entry computes it. */
  noXorHash: 1 << 0,
  /** Set by the decoder, never on the wire: the entry was refused. */
  refused: 1 << 15,
} as const;

/** A block is no larger, unless it holds a single definition and nothing else. */
export const BLOCK_SIZE_MAX = 1024 * 1024;
/** Fields that have numbers at a time. */
export const DEFINITIONS_MAX = 64 * 1024;
/** Bytes of their definitions as they stand in the body. A field for which this is too little goes as export text. */
export const DICTIONARY_SIZE_MAX = 64 * 1024 * 1024;

/** Bytes from the start of a definition to what follows it. */
export function definitionSize(payloadSize: number): number {
  return DEFINITION_HEAD_SIZE + payloadSize + ((8 - (payloadSize & 7)) & 7);
}

/** Bytes from the start of an entry to what follows it. */
export function entrySize(fieldCount: number): number {
  return ENTRY_HEAD_SIZE + 2 * (fieldCount + ((4 - (fieldCount & 3)) & 3));
}
