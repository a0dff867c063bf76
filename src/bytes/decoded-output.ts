/** Where decoded bytes go: in bounded pieces, with a rest for the event loop now and then. */
import type { Decoding } from "./compressed-input.ts";

/** Most bytes handed over at once. */
const PIECE_SIZE_MAX = 1024 * 1024;

/**
 * Decoded bytes after which other connections get their turn. A body of a few kilobytes can decode
 * to gigabytes (and honest logs to 50 times their size), so it is the output that is counted.
 */
const TURN_BYTES_MAX = 2 * 1024 * 1024;

export class DecodedOutput {
  /** Bytes the format holds to look back into; set by the decoders. */
  windowBytes = 0;
  readonly #emit: (bytes: Uint8Array) => void;
  #turnBytes = 0;
  #closed = false;

  constructor(emit: (bytes: Uint8Array) => void) {
    this.#emit = emit;
  }

  /** Hands over `bytes`, which stay valid meanwhile, and lets the event loop turn when it is time. */
  *write(bytes: Uint8Array): Decoding {
    for (let from = 0; from < bytes.length; from += PIECE_SIZE_MAX) {
      const piece = bytes.subarray(from, from + PIECE_SIZE_MAX);
      this.#handOver(piece);
      this.#turnBytes += piece.length;
      if (this.#turnBytes >= TURN_BYTES_MAX) {
        this.#turnBytes = 0;
        yield new Promise<void>((resolve) => setImmediate(resolve));
      }
    }
  }

  /** Hands over `bytes` at once, for who need not give turns: they are bounded in another way. */
  writeNow(bytes: Uint8Array): void {
    for (let from = 0; from < bytes.length; from += PIECE_SIZE_MAX) {
      this.#handOver(bytes.subarray(from, from + PIECE_SIZE_MAX));
    }
  }

  /** Nothing is handed over from now on. */
  close(): void {
    this.#closed = true;
    this.windowBytes = 0;
  }

  #handOver(piece: Uint8Array): void {
    if (!this.#closed) this.#emit(piece);
  }
}
