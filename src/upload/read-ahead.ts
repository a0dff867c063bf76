/** Reads a pipe ahead of whoever takes what is in it, up to a bound, so that neither waits for the other. */

/** Bytes that wait to be taken, past which nothing is read. */
const QUEUE_SIZE_MAX = 4 * 1024 * 1024;

interface Reader {
  read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>;
  cancel(): Promise<void>;
}

export class ReadAhead {
  /** What the failed read threw. */
  failure: { cause: unknown } | undefined;
  /** Bytes that wait. */
  size = 0;
  readonly #reader: Reader;
  readonly #chunks: Buffer[] = [];
  #isReading = false;
  #isAtEnd = false;
  #wake: (() => void) | undefined;

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#reader = stream.getReader();
    this.#read();
  }

  /** All there is was taken, or all up to where it failed. */
  get isEnded(): boolean {
    return this.#isAtEnd && this.#chunks.length === 0;
  }

  /** The next bytes; undefined when there are none at the moment, or no more. */
  take(): Buffer | undefined {
    const chunk = this.#chunks.shift();
    this.size -= chunk?.length ?? 0;
    this.#read();
    return chunk;
  }

  /** Resolves when take() has something, or tells that it is over, or the signal is aborted. */
  async wait(signal: AbortSignal): Promise<void> {
    if (this.#chunks.length > 0 || this.#isAtEnd || signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    signal.addEventListener("abort", resolve as () => void, { once: true });
    await promise;
    signal.removeEventListener("abort", resolve as () => void);
  }

  close(): void {
    this.#isAtEnd = true;
    this.#chunks.length = 0;
    // A stream that failed cannot be cancelled either, and its error was told.
    void this.#reader.cancel().catch(() => {});
    this.#wake?.();
  }

  #read(): void {
    if (this.#isReading || this.#isAtEnd || this.size >= QUEUE_SIZE_MAX) return;
    this.#isReading = true;
    void this.#reader.read().then(
      ({ value }) => this.#receive(value),
      (cause: unknown) => {
        this.failure = { cause };
        this.#receive(undefined);
      },
    );
  }

  #receive(value: Uint8Array | undefined): void {
    this.#isReading = false;
    if (value === undefined) {
      this.#isAtEnd = true;
    } else if (!this.#isAtEnd && value.length > 0) {
      this.#chunks.push(Buffer.from(value.buffer, value.byteOffset, value.byteLength));
      this.size += value.length;
    }
    this.#wake?.();
    this.#wake = undefined;
    this.#read();
  }
}
