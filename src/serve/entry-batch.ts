/**
 * Many entries in one buffer: on their way from the parser to the store thread, or waiting to be stored.
 * HOT: guarded by scripts/bench/run.
 *
 * An entry begins at a multiple of 8:
 *
 *   0  i32 size of all this, a multiple of 8       4  i32 fields
 *   8  f64 realtime      16  f64 monotonic        24  f64 seqnum
 *  32  i32 xor-hash, low and high                 40  i32 whether it has one      44  i32 bytes of fields
 *  48  boot id           64  seqnum id
 *  80  i32 start, end (in the bytes) and name length of each field
 *   …  the bytes
 */
import { ID128_SIZE } from "../bytes/id128.ts";
import type { Entry } from "../journal/entry.ts";

const HEAD_SIZE = 80;
const FIELD_SIZE = 12;
const BOOT_ID = 48;
const SEQNUM_ID = 64;

/** A buffer and the views on it. */
export class EntryBatch {
  readonly buffer: ArrayBuffer;
  /** Bytes in use. */
  size = 0;
  readonly #bytes: Uint8Array;
  readonly #words: Int32Array;
  readonly #doubles: Float64Array;

  /** @param buffer of a length that is a multiple of 8 */
  constructor(buffer: ArrayBuffer) {
    this.buffer = buffer;
    this.#bytes = new Uint8Array(buffer);
    this.#words = new Int32Array(buffer);
    this.#doubles = new Float64Array(buffer);
  }

  hasRoom(size: number): boolean {
    return this.size + size <= this.buffer.byteLength;
  }

  /** Appends an entry that holds its fields; there must be room for `sizeOf(entry)`. */
  add(entry: Entry): void {
    const { fieldCount, fieldStart, fieldEnd, nameLength } = entry;
    const first = fieldStart[0] ?? 0;
    const span = (fieldEnd[fieldCount - 1] ?? first) - first;
    const start = this.size;
    const word = start >>> 2;
    const double = start >>> 3;
    const size = sizeOf(entry);
    const words = this.#words;
    const doubles = this.#doubles;
    words[word] = size;
    words[word + 1] = fieldCount;
    doubles[double + 1] = entry.realtimeUsec;
    doubles[double + 2] = entry.monotonicUsec;
    doubles[double + 3] = entry.seqnum;
    words[word + 8] = entry.xorHashLow;
    words[word + 9] = entry.xorHashHigh;
    words[word + 10] = entry.hasXorHash ? 1 : 0;
    words[word + 11] = span;
    copyId(entry.bootId, 0, this.#bytes, start + BOOT_ID);
    copyId(entry.seqnumId, 0, this.#bytes, start + SEQNUM_ID);
    let at = (start + HEAD_SIZE) >>> 2;
    for (let i = 0; i < fieldCount; i++, at += 3) {
      words[at] = (fieldStart[i] ?? 0) - first;
      words[at + 1] = (fieldEnd[i] ?? 0) - first;
      words[at + 2] = nameLength[i] ?? 0;
    }
    this.#bytes.set(entry.bytes.subarray(first, first + span), at << 2);
    this.size = start + size;
  }

  /**
   * Reads the entries one after the other into `entry`, and calls `onEntry` for each.
   * @param size bytes in use
   */
  forEach(size: number, entry: Entry, onEntry: (entry: Entry) => void): void {
    for (let start = 0; start < size; start += this.#words[start >>> 2] ?? size) {
      this.read(start, entry);
      onEntry(entry);
    }
  }

  /** Reads the entry that begins at `start` into `entry`, which has room for as many fields as there may be. */
  read(start: number, entry: Entry): void {
    const words = this.#words;
    const doubles = this.#doubles;
    const word = start >>> 2;
    const double = start >>> 3;
    const fieldCount = words[word + 1] ?? 0;
    const bytesStart = start + HEAD_SIZE + fieldCount * FIELD_SIZE;
    entry.bytes = this.#bytes;
    entry.dictionary = undefined;
    entry.fieldCount = fieldCount;
    entry.realtimeUsec = doubles[double + 1] ?? 0;
    entry.monotonicUsec = doubles[double + 2] ?? 0;
    entry.seqnum = doubles[double + 3] ?? 0;
    entry.xorHashLow = words[word + 8] ?? 0;
    entry.xorHashHigh = words[word + 9] ?? 0;
    entry.hasXorHash = words[word + 10] === 1;
    copyId(this.#bytes, start + BOOT_ID, entry.bootId, 0);
    copyId(this.#bytes, start + SEQNUM_ID, entry.seqnumId, 0);
    let at = (start + HEAD_SIZE) >>> 2;
    for (let i = 0; i < fieldCount; i++, at += 3) {
      entry.fieldStart[i] = (words[at] ?? 0) + bytesStart;
      entry.fieldEnd[i] = (words[at + 1] ?? 0) + bytesStart;
      entry.nameLength[i] = words[at + 2] ?? 0;
    }
  }
}

/** Bytes an entry takes in a batch. */
export function sizeOf(entry: Entry): number {
  const { fieldCount, fieldStart, fieldEnd } = entry;
  const span = (fieldEnd[fieldCount - 1] ?? 0) - (fieldStart[0] ?? 0);
  const size = HEAD_SIZE + fieldCount * FIELD_SIZE + span;
  return size + ((8 - (size & 7)) & 7);
}

function copyId(from: Uint8Array, fromOffset: number, to: Uint8Array, toOffset: number): void {
  for (let i = 0; i < ID128_SIZE; i++) to[toOffset + i] = from[fromOffset + i] ?? 0;
}
