/** One of node:zlib's decompressors as a decoder can use it: runs beside the event loop. */
import type { Transform } from "node:stream";
import type { CompressedInput } from "../../bytes/compressed-input.ts";
import type { DecodedOutput } from "../../bytes/decoded-output.ts";
import { reasonOf } from "../../errors.ts";

/** Bytes the decompressor makes at a time. Small ones cost a trip through the thread pool each. */
export const ZLIB_CHUNK_SIZE = 128 * 1024;

/** The decompressors of node:zlib: `bytesWritten` counts the bytes they made use of. */
type Decompressor = Transform & { readonly bytesWritten: number };

export class ZlibStream {
  readonly #decompressor: Decompressor;
  readonly #input: CompressedInput;
  #bytesGiven = 0;
  #isClosed = false;
  #failure: { error: unknown } | undefined;
  #wake: (() => void) | undefined;

  constructor(decompressor: Decompressor, input: CompressedInput, output: DecodedOutput) {
    this.#decompressor = decompressor;
    this.#input = input;
    decompressor.on("data", (piece: Uint8Array) => {
      try {
        output.writeNow(piece);
      } catch (error) {
        this.#fail(error);
      }
    });
    decompressor.on("error", (error) => this.#failToDecode(error));
    // Comes after the last data, and after destroy().
    decompressor.on("close", () => {
      this.#isClosed = true;
      this.#wake?.();
    });
  }

  /**
   * Decompresses `bytes`, which are copied. Resolves when all they give is written.
   * @throws AgentError E_EXPORT_SYNTAX, or what the output throws.
   */
  write(bytes: Uint8Array): Promise<void> {
    this.#bytesGiven += bytes.length;
    return this.#until((done) =>
      this.#decompressor.write(bytes.slice(), (error) => {
        if (error) this.#failToDecode(error);
        done();
      }),
    );
  }

  /** @throws AgentError E_EXPORT_SYNTAX when the stream is not complete. */
  end(): Promise<void> {
    return this.#until(() => this.#decompressor.end());
  }

  /** Frees native memory; a pending promise settles. */
  destroy(): void {
    this.#decompressor.destroy();
  }

  #failToDecode(error: Error): void {
    this.#fail(this.#input.syntaxError(reasonOf(error), error));
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
    this.destroy();
  }

  /** Resolves when `done` is called or the stream is closed; rejects if something is wrong then. */
  async #until(start: (done: () => void) => void): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      if (this.#isClosed) resolve();
      else start(resolve);
    });
    if (this.#failure !== undefined) throw this.#failure.error;
    // Bytes that follow the end and do not look like a frame are dropped in silence.
    const stray = this.#bytesGiven - this.#decompressor.bytesWritten;
    if (stray > 0) throw this.#input.syntaxError(`${stray} stray bytes after a frame`);
  }
}
