/**
 * Compressed bytes as the decoders read them: any split into chunks looks the same. Decoders are
 * generators, so that they read top to bottom and stop wherever bytes run out.
 */
import { AgentError } from "../errors.ts";

/** What a decoder stops for: undefined = it needs more input; a promise = resume when it settles. */
type Wait = Promise<void> | undefined;

/** A decoder, or a part of one: use with `yield*`. */
export type Decoding<T = void> = Generator<Wait, T, void>;

/** Capacity kept when nothing is pending, so that an idle connection holds next to nothing. */
const IDLE_CAPACITY_MAX = 64 * 1024;

const NOTHING = new Uint8Array(0);

export class CompressedInput {
  readonly #what: string;
  /** Unread bytes are #bytes[#from, #to). */
  #bytes: Uint8Array = NOTHING;
  #from = 0;
  #to = 0;
  /** Whether #bytes is ours, or the caller's chunk, which is valid only during its push(). */
  #owned = true;
  #ended = false;
  #offset = 0;

  /** @param what what the bytes are, for messages: "xz body" */
  constructor(what: string) {
    this.#what = what;
  }

  /** Bytes of the body read so far. */
  get offset(): number {
    return this.#offset;
  }

  /** Bytes of memory in use. */
  get heldBytes(): number {
    return this.#owned ? this.#bytes.length : 0;
  }

  // The decoder's side.

  /**
   * All unread bytes that are there, at least `count` of them. Valid until the next `yield`.
   * @throws AgentError E_EXPORT_SYNTAX when the body ends before.
   */
  *peek(count: number): Decoding<Uint8Array> {
    while (this.#to - this.#from < count) {
      if (this.#ended) {
        throw this.syntaxError(
          `it ends in mid-frame: ${this.#to - this.#from} bytes left, need ${count}`,
        );
      }
      yield undefined;
    }
    return this.#bytes.subarray(this.#from, this.#to);
  }

  /** Whether the body ends here; waits until that is known. */
  *atEnd(): Decoding<boolean> {
    while (this.#to === this.#from && !this.#ended) yield undefined;
    return this.#to === this.#from;
  }

  /** Marks `count` peeked bytes as read. */
  skip(count: number): void {
    this.#from += count;
    this.#offset += count;
  }

  /** Exactly `count` bytes, read. Valid until the next `yield`. */
  *take(count: number): Decoding<Uint8Array> {
    const bytes = yield* this.peek(count);
    this.skip(count);
    return bytes.subarray(0, count);
  }

  /** Reads `count` bytes, however many, and drops them. */
  *discard(count: number): Decoding {
    for (let left = count; left > 0; ) {
      const step = Math.min(left, (yield* this.peek(1)).length);
      this.skip(step);
      left -= step;
    }
  }

  /** An error about the bytes at the current offset. */
  syntaxError(reason: string, cause?: unknown): AgentError {
    const details = { offset: this.#offset };
    return new AgentError(
      "E_EXPORT_SYNTAX",
      `Cannot decode ${this.#what}: ${reason}`,
      cause === undefined ? details : { ...details, cause },
    );
  }

  /** An error about a maximum that the frame at the current offset passes. */
  limitError(reason: string): AgentError {
    return new AgentError("E_LIMIT", `Cannot decode ${this.#what}: ${reason}`, {
      offset: this.#offset,
    });
  }

  // The caller's side.

  /** Adds a chunk; it is borrowed until `own` is called. */
  supply(chunk: Uint8Array): void {
    const pending = this.#to - this.#from;
    if (pending === 0) {
      this.#borrow(chunk);
      return;
    }
    this.#reserve(pending + chunk.length);
    this.#bytes.set(chunk, this.#to);
    this.#to += chunk.length;
  }

  /** No bytes follow. */
  end(): void {
    this.#ended = true;
  }

  /** Copies what is borrowed and unread: the caller's chunk becomes invalid. */
  own(): void {
    if (this.#from === this.#to) {
      if (!this.#owned || this.#bytes.length > IDLE_CAPACITY_MAX) this.clear();
    } else if (!this.#owned) {
      this.#bytes = this.#bytes.slice(this.#from, this.#to);
      this.#to -= this.#from;
      this.#from = 0;
      this.#owned = true;
    }
  }

  /** Forgets everything unread. */
  clear(): void {
    this.#bytes = NOTHING;
    this.#from = 0;
    this.#to = 0;
    this.#owned = true;
  }

  #borrow(chunk: Uint8Array): void {
    // A plain view: the slice() of a Buffer would not copy.
    this.#bytes = new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.length);
    this.#from = 0;
    this.#to = chunk.length;
    this.#owned = false;
  }

  /** Makes room for `size` unread bytes; grows by doubling, so a byte at a time stays linear. */
  #reserve(size: number): void {
    if (this.#from + size <= this.#bytes.length) return;
    const pending = this.#bytes.subarray(this.#from, this.#to);
    if (size > this.#bytes.length) {
      this.#bytes = new Uint8Array(Math.max(size, 2 * this.#bytes.length));
      this.#bytes.set(pending);
    } else {
      this.#bytes.copyWithin(0, this.#from, this.#to);
    }
    this.#from = 0;
    this.#to = pending.length;
  }
}
