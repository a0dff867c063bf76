/**
 * Where a decoder collects the block it is in the middle of. Between blocks it holds nothing: thousands of quiet
 * connections cost little.
 */

/** A block of a usual size fits. */
const USUAL_SIZE = 128 * 1024;

/** The same memory in several ways. */
export interface BlockViews {
  readonly bytes: Uint8Array;
  readonly halves: Uint16Array;
  readonly words: Int32Array;
  readonly doubles: Float64Array;
}

const NO_STORAGE = newStorage(0);
/** One buffer of the usual size that nobody uses now. */
let spare: BlockViews | undefined;

export class BlockBuffer {
  /** Bytes of the block that are there. */
  size = 0;
  #storage: BlockViews = NO_STORAGE;

  /** The block begins where they do. */
  get views(): BlockViews {
    return this.#storage;
  }

  /** Bytes held between two calls of push(). */
  get heldBytes(): number {
    return this.#storage.bytes.length;
  }

  /** Takes bytes of chunk[from ..] until there are `needed`, and returns how many. */
  append(chunk: Uint8Array, from: number, needed: number): number {
    const count = Math.min(chunk.length - from, needed - this.size);
    const size = this.size + count;
    if (size > this.#storage.bytes.length) this.#makeRoom(size, needed);
    this.#storage.bytes.set(chunk.subarray(from, from + count), this.size);
    this.size = size;
    return count;
  }

  /** The block is done with. */
  clear(): void {
    this.size = 0;
  }

  /** To be called when a push() ends: keeps only what is unfinished. */
  settle(): void {
    if (this.size > 0) return;
    if (this.#storage.bytes.length === USUAL_SIZE) spare = this.#storage;
    this.#storage = NO_STORAGE;
  }

  /** Never much more than what arrived, however large the block says it is. */
  #makeRoom(size: number, needed: number): void {
    const old = this.#storage;
    if (size <= USUAL_SIZE) {
      this.#storage = spare ?? newStorage(USUAL_SIZE);
      spare = undefined;
    } else {
      const room = Math.max(size, Math.min(needed, 2 * old.bytes.length));
      this.#storage = newStorage(Math.ceil(room / 8) * 8);
    }
    this.#storage.bytes.set(old.bytes.subarray(0, this.size));
  }
}

function newStorage(size: number): BlockViews {
  const buffer = new ArrayBuffer(size);
  return {
    bytes: new Uint8Array(buffer),
    halves: new Uint16Array(buffer),
    words: new Int32Array(buffer),
    doubles: new Float64Array(buffer),
  };
}
