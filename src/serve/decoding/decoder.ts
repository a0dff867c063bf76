/**
 * Decompression of request bodies. A body is a concatenation of frames of its encoding, and HTTP may
 * split it anywhere; memory is bounded whatever it decodes to.
 * Wire formats: systemd-journal-upload compresses each piece of at most 64 KiB into a frame of its own.
 */

import { CompressedInput, type Decoding } from "../../bytes/compressed-input.ts";
import { DecodedOutput } from "../../bytes/decoded-output.ts";
import { decodeXz } from "../../bytes/xz/xz.ts";
import type { WireEncoding } from "../settings.ts";
import { decodeGzip } from "./gzip.ts";
import { decodeLz4 } from "./lz4.ts";
import { decodeZstd } from "./zstd.ts";

/** The bytes of one body, decoded. */
export interface Decoder {
  /**
   * Takes compressed bytes in any split; `emit` gets the decoded bytes in pieces of at most 1 MiB, each
   * valid during its call. The chunk may be reused when this returns. Returns a promise when the
   * caller has to wait for it before the next call.
   * @throws AgentError E_EXPORT_SYNTAX (broken), E_LIMIT (window too large), or whatever `emit` throws;
   * or the promise rejects with it. Further calls fail in the same way.
   */
  push(chunk: Uint8Array): Promise<void> | undefined;
  /** The body is complete. Fails as `push` does, and with E_EXPORT_SYNTAX if it stops in mid-frame. */
  end(): Promise<void> | undefined;
  /** Frees everything; a pending promise resolves. Never throws. */
  abort(): void;
  /** Bytes of memory in use: input that waits, and windows. */
  readonly heldBytes: number;
}

type Decode = (input: CompressedInput, output: DecodedOutput) => Decoding;

const DECODE_BY_ENCODING = {
  zstd: decodeZstd,
  xz: decodeXz,
  lz4: decodeLz4,
  gzip: decodeGzip,
} as const satisfies Record<WireEncoding, Decode>;

/**
 * @param encoding a Content-Encoding in lower case; "" and "identity" pass bytes through.
 * @returns undefined for an encoding that is not known.
 */
export function createDecoder(
  encoding: string,
  emit: (bytes: Uint8Array) => void,
): Decoder | undefined {
  if (encoding === "" || encoding === "identity") return new IdentityDecoder(emit);
  if (!isWireEncoding(encoding)) return undefined;
  return new FrameDecoder(encoding, emit);
}

function isWireEncoding(encoding: string): encoding is WireEncoding {
  return Object.hasOwn(DECODE_BY_ENCODING, encoding);
}

class IdentityDecoder implements Decoder {
  readonly heldBytes = 0;
  readonly #output: DecodedOutput;

  constructor(emit: (bytes: Uint8Array) => void) {
    this.#output = new DecodedOutput(emit);
  }

  push(chunk: Uint8Array): undefined {
    this.#output.writeNow(chunk);
  }

  end(): undefined {
    return undefined;
  }

  abort(): void {
    this.#output.close();
  }
}

/** Runs one format's generator: resumes it when bytes arrive, waits when it waits. */
class FrameDecoder implements Decoder {
  readonly #input: CompressedInput;
  readonly #output: DecodedOutput;
  readonly #decoding: Decoding;
  /** open → running (the generator is on the stack) or waiting (for its promise) → open … closed. */
  #state: "open" | "running" | "waiting" | "closed" = "open";
  #failure: { error: unknown } | undefined;

  constructor(encoding: WireEncoding, emit: (bytes: Uint8Array) => void) {
    this.#input = new CompressedInput(`${encoding} body`);
    this.#output = new DecodedOutput(emit);
    this.#decoding = DECODE_BY_ENCODING[encoding](this.#input, this.#output);
  }

  get heldBytes(): number {
    return this.#input.heldBytes + this.#output.windowBytes;
  }

  push(chunk: Uint8Array): Promise<void> | undefined {
    if (!this.#accepts()) return undefined;
    this.#input.supply(chunk);
    return this.#run();
  }

  end(): Promise<void> | undefined {
    if (!this.#accepts()) return undefined;
    this.#input.end();
    return this.#run();
  }

  abort(): void {
    const wasRunning = this.#state === "running";
    this.#state = "closed";
    this.#output.close();
    // A generator on the stack cannot be ended from within; `#resume` does it when it stops.
    if (!wasRunning) this.#release();
  }

  #accepts(): boolean {
    if (this.#failure !== undefined) throw this.#failure.error;
    if (this.#state === "closed") return false;
    if (this.#state !== "open") throw new Error("Cannot use decoder: an earlier call is pending");
    return true;
  }

  #run(): Promise<void> | undefined {
    const wait = this.#resume(() => this.#decoding.next());
    return wait === undefined ? undefined : this.#runLater(wait);
  }

  async #runLater(first: Promise<void>): Promise<void> {
    for (let wait: Promise<void> | undefined = first; wait !== undefined; ) {
      const outcome = await wait.then(
        () => undefined,
        (error: unknown) => ({ error }),
      );
      if (this.#state === "closed") return;
      wait = this.#resume(() =>
        outcome === undefined ? this.#decoding.next() : this.#decoding.throw(outcome.error),
      );
    }
  }

  /** Lets the generator run until it needs input (undefined) or has to wait. */
  #resume(step: () => IteratorResult<Promise<void> | undefined, void>): Promise<void> | undefined {
    this.#state = "running";
    try {
      const wait = step().value ?? undefined;
      this.#input.own();
      if (!this.#isClosed()) this.#state = wait === undefined ? "open" : "waiting";
      return wait;
    } catch (error) {
      this.#failure = { error };
      this.abort();
      throw error;
    } finally {
      if (this.#isClosed()) this.#release();
    }
  }

  /** The state, which `emit` may have changed behind the compiler's back by calling abort(). */
  #isClosed(): boolean {
    return this.#state === "closed";
  }

  #release(): void {
    this.#decoding.return();
    this.#input.clear();
    this.#output.close();
  }
}
