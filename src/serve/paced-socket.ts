/** A socket whose two directions go at the pace of the slower side: its pauses, and what the peer has not read yet. */

/** What a connection asks of its socket. */
export interface ByteSocket {
  /** Bytes taken; fewer than given = wait for `drained()`; -1 = closed. */
  write(bytes: Uint8Array): number;
  pause(): void;
  resume(): void;
  /** Closes after what was written. */
  end(): void;
  /** Closes at once, by reset. */
  terminate(): void;
}

export class PacedSocket {
  readonly #socket: ByteSocket;
  readonly #nowMs: () => number;
  readonly #stalledTimeoutMs: number;
  #isPaused = false;
  /** Few: whoever writes looks at `isBehind` before taking on more to answer. */
  #unsent: Uint8Array | undefined;
  #progressMs = 0;

  /** @param stalledTimeoutMs how long the peer may take none of what is kept for it */
  constructor(socket: ByteSocket, nowMs: () => number, stalledTimeoutMs: number) {
    this.#socket = socket;
    this.#nowMs = nowMs;
    this.#stalledTimeoutMs = stalledTimeoutMs;
  }

  /** The peer has not taken everything yet. */
  get isBehind(): boolean {
    return this.#unsent !== undefined;
  }

  /** When the peer is too late with reading. */
  get deadlineMs(): number {
    return this.isBehind ? this.#progressMs + this.#stalledTimeoutMs : Infinity;
  }

  write(bytes: Uint8Array): void {
    if (this.#unsent !== undefined) this.#unsent = Buffer.concat([this.#unsent, bytes]);
    else this.#send(bytes);
  }

  /** The socket takes bytes again. */
  drained(): void {
    const unsent = this.#unsent;
    if (unsent === undefined) return;
    this.#unsent = undefined;
    this.#send(unsent);
  }

  /** Reads nothing more until `resume`. */
  pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.#socket.pause();
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#socket.resume();
  }

  /** Closes, and reads on to learn when the peer does. */
  end(): void {
    this.resume();
    this.#socket.end();
  }

  terminate(): void {
    this.#socket.terminate();
  }

  #send(bytes: Uint8Array): void {
    const written = this.#socket.write(bytes);
    if (written < 0 || written >= bytes.length) return;
    this.#unsent = bytes.subarray(written);
    this.#progressMs = this.#nowMs();
  }
}
