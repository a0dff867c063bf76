/**
 * A file seen through a window of 1 MiB that moves forward: what a sequential pass needs, whatever
 * the size of the file. HOT: guarded by scripts/bench/verify.ts.
 */
import fs from "node:fs";

export const WINDOW_SIZE = 1024 * 1024;

const TWO_29 = 2 ** 29;
const TWO_32 = 2 ** 32;

/** Result of {@link FileWindow.slot} for what is not an offset. */
export const NO_SLOT = -1;

/**
 * Positions in the window are 32-bit word numbers, since everything in a journal file but a
 * payload is aligned to 4 bytes. An offset is handled as a slot: the offset divided by 8.
 */
export class FileWindow {
  readonly #fd: number;
  readonly #buffer = new ArrayBuffer(WINDOW_SIZE);
  /** Valid until the next load(). */
  readonly bytes = Buffer.from(this.#buffer);
  readonly view = new DataView(this.#buffer);
  readonly words = new Uint32Array(this.#buffer);
  #start = 0;
  #end = 0;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * Brings bytes [offset, offset + size) in and returns the word number of the first.
   * What the file does not have (any more) reads as zeros.
   *
   * @param offset a multiple of 4
   * @param size up to WINDOW_SIZE
   */
  load(offset: number, size: number): number {
    if (offset < this.#start || offset + size > this.#end) {
      this.#start = offset;
      this.#end = offset + WINDOW_SIZE;
      this.bytes.fill(0, readFully(this.#fd, this.bytes, offset));
    }
    // A shift, not a division: the JIT must see an integer, whatever the size of the file.
    return (offset - this.#start) >>> 2;
  }

  /** A copy of bytes [offset, offset + size), of any size. */
  read(offset: number, size: number): Buffer {
    const bytes = Buffer.alloc(size);
    readFully(this.#fd, bytes, offset);
    return bytes;
  }

  /** A le64 as a number, exact to 2^53. */
  uint64(word: number): number {
    return this.words[word + 1]! * TWO_32 + this.words[word]!;
  }

  /** A le64 offset as a slot: 0 if unset, {@link NO_SLOT} if not a multiple of 8 or above 32 GiB. */
  slot(word: number): number {
    const low = this.words[word]!;
    const high = this.words[word + 1]!;
    if ((low & 7) !== 0 || high > 7) return NO_SLOT;
    return (low >>> 3) + high * TWO_29;
  }
}

/** Fills `bytes` from the file; returns how many the file had. */
function readFully(fd: number, bytes: Uint8Array, offset: number): number {
  let filled = 0;
  while (filled < bytes.length) {
    const count = fs.readSync(fd, bytes, filled, bytes.length - filled, offset + filled);
    if (count === 0) break;
    filled += count;
  }
  return filled;
}
