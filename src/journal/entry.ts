/**
 * The program's one currency: a journal entry as numbers plus raw `NAME=value` slices.
 * Both the export format and the journal file store a field as these bytes, so nothing between
 * the socket and the disk needs a string or an object per field.
 */

import type { FieldDictionary } from "./field-dictionary.ts";

/** Ceiling for fields of one entry: journald adds up to 64 of its own to a client's 1024. */
export const ENTRY_FIELDS_MAX = 1024 + 64;

/**
 * One entry. The object and its buffers are reused by whoever produces it: everything is valid
 * only until the callback that received it returns.
 */
export interface Entry {
  /** The bytes that hold all fields. */
  bytes: Uint8Array;
  /** Field i is `bytes[fieldStart[i] .. fieldEnd[i])`: the text `NAME=value`, value of any bytes. */
  fieldStart: Uint32Array;
  fieldEnd: Uint32Array;
  /** Length of field i's NAME, so the "=" stands at `fieldStart[i] + nameLength[i]`. */
  nameLength: Uint8Array;
  fieldCount: number;
  /**
   * Where an entry of the batch format has its fields: field i is number `numbers[numbersStart + i]` of the dictionary.
   * `bytes` and the three tables then hold nothing, until `spellOutFields()` was called.
   */
  dictionary: FieldDictionary | undefined;
  numbers: Uint16Array;
  numbersStart: number;
  /** Wall clock in microseconds, 1 .. 2^53-1. */
  realtimeUsec: number;
  /** Monotonic clock in microseconds, 0 .. 2^53-1. */
  monotonicUsec: number;
  /** 16 bytes, not all zero. */
  bootId: Uint8Array;
  /** Sender's sequence number, 1 .. 2^53-1; 0 when the entry came without an identity. */
  seqnum: number;
  /** 16 bytes; meaningful only when `seqnum` is not 0. */
  seqnumId: Uint8Array;
  /**
   * The xor-hash the sender's cursor names (`x=`), as halves, so that the stored entry has the same cursor even
   * where the sender's file was damaged. Meaningful only when `hasXorHash`; else it is computed.
   */
  hasXorHash: boolean;
  xorHashLow: number;
  xorHashHigh: number;
}

const NO_NUMBERS = new Uint16Array(0);

/** An entry with room for `fieldsMax` fields, to be filled and reused. */
export function newEntry(fieldsMax: number = ENTRY_FIELDS_MAX): Entry {
  return {
    bytes: new Uint8Array(0),
    fieldStart: new Uint32Array(fieldsMax),
    fieldEnd: new Uint32Array(fieldsMax),
    nameLength: new Uint8Array(fieldsMax),
    fieldCount: 0,
    dictionary: undefined,
    numbers: NO_NUMBERS,
    numbersStart: 0,
    realtimeUsec: 0,
    monotonicUsec: 0,
    bootId: new Uint8Array(16),
    seqnum: 0,
    seqnumId: new Uint8Array(16),
    hasXorHash: false,
    xorHashLow: 0,
    xorHashHigh: 0,
  };
}
