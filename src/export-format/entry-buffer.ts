/**
 * Where a parser keeps the bytes of the entry it is in the middle of. A parser that is not inside
 * push() holds only what the unfinished entry takes (nothing, between entries): thousands of quiet
 * connections cost little. During push() it works in a scratch buffer that all parsers share.
 */

const NEWLINE = 0x0a;

/** Room of the shared scratch buffer; larger entries get a buffer of their own. */
const SCRATCH_SIZE = 128 * 1024;
/** Smallest buffer for an unfinished entry; one of this size is kept between entries. */
const SMALL_SIZE = 4096;

interface Storage {
  readonly bytes: Uint8Array;
  /** The same memory as 32-bit words, for scanning. */
  readonly words: Int32Array;
}

const NO_STORAGE = newStorage(0);

/** Scratch buffers not in use: one, unless a handler pushed into another parser. */
const spareScratches: Storage[] = [];

/** A window of the stream: `bytes[start .. end)`, followed by one line end as a stop for scans. */
export class EntryBuffer {
  bytes: Uint8Array = NO_STORAGE.bytes;
  words: Int32Array = NO_STORAGE.words;
  /** First byte still needed; whoever parses moves it on. */
  start = 0;
  end = 0;
  /** Where in the stream `bytes[0]` stands. */
  streamOffset = 0;
  readonly #sizeMax: number;
  #storage: Storage = NO_STORAGE;
  #scratch: Storage | undefined;
  #small: Storage | undefined;

  /** @param entrySizeMax the most that lies between `start` and `end` when append() is called. */
  constructor(entrySizeMax: number) {
    this.#sizeMax = entrySizeMax + SCRATCH_SIZE;
  }

  /** Bytes held between two calls of push(). */
  get heldBytes(): number {
    return this.#storage.bytes.length;
  }

  /**
   * Takes at least one byte of chunk[from ..] and returns how many. What lies between `start` and
   * `end` may move, always to the front of `bytes`.
   */
  append(chunk: Uint8Array, from: number): number {
    const wanted = chunk.length - from;
    if (wanted >= this.bytes.length - this.end || this.start === this.end) this.#makeRoom();
    const room = this.bytes.length - 1 - this.end;
    const count = Math.min(wanted, room);
    this.bytes.set(count === chunk.length ? chunk : chunk.subarray(from, from + count), this.end);
    this.end += count;
    this.bytes[this.end] = NEWLINE;
    return count;
  }

  /** To be called when a push() ends: gives the scratch buffer back, keeps what is unfinished. */
  settle(): void {
    const pending = this.end - this.start;
    if (pending === 0) this.#use(NO_STORAGE);
    else if (this.#storage === this.#scratch || this.#isTooLargeFor(pending)) {
      this.#use(this.#storageFor(pending));
    }
    if (this.#scratch !== undefined) spareScratches.push(this.#scratch);
    this.#scratch = undefined;
  }

  #makeRoom(): void {
    const pending = this.end - this.start;
    if (pending <= SCRATCH_SIZE / 2) {
      this.#scratch ??= spareScratches.pop() ?? newStorage(SCRATCH_SIZE);
      this.#use(this.#scratch);
    } else {
      const size = Math.min(roomyFor(pending), this.#sizeMax);
      this.#use(size > this.bytes.length ? newStorage(size) : this.#storage);
    }
  }

  #isTooLargeFor(pending: number): boolean {
    return this.#storage !== this.#small && roomyFor(pending) < this.bytes.length;
  }

  #storageFor(pending: number): Storage {
    const size = Math.min(roomyFor(pending), this.#sizeMax);
    if (size > SMALL_SIZE) return newStorage(size);
    this.#small ??= newStorage(SMALL_SIZE);
    return this.#small;
  }

  /** Moves what is pending to the front of `storage`. */
  #use(storage: Storage): void {
    const pending = this.end - this.start;
    if (storage === this.#storage) this.bytes.copyWithin(0, this.start, this.end);
    else if (pending > 0) storage.bytes.set(this.bytes.subarray(this.start, this.end));
    this.#storage = storage;
    this.bytes = storage.bytes;
    this.words = storage.words;
    this.streamOffset += this.start;
    this.start = 0;
    this.end = pending;
  }
}

/** At least twice `pending`, so that each byte is moved twice at most, however small the chunks. */
function roomyFor(pending: number): number {
  return 2 ** Math.ceil(Math.log2(2 * pending));
}

function newStorage(size: number): Storage {
  const buffer = new ArrayBuffer(Math.ceil(size / 4) * 4);
  return { bytes: new Uint8Array(buffer), words: new Int32Array(buffer) };
}
