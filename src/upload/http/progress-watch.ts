/** Notices that nothing moves on a connection any more. */
import type { Socket } from "node:net";
import { unacknowledgedSize } from "../../platform/send-queue.ts";

/** Looks a time-out is divided into: it is noticed at most so much later. */
const LOOKS = 8;

/**
 * Progress is a byte that the kernel took from us, that came, or that the peer acknowledged: megabytes
 * may wait in the kernel for a slow line, and time is not up as long as they get fewer.
 */
export class ProgressWatch {
  readonly #socket: Socket;
  readonly #timeoutMs: number;
  readonly #onStall: () => void;
  #timer: ReturnType<typeof setInterval> | undefined;
  #movedBytes = 0;
  #queuedBytes: number | undefined;
  #quietLooks = 0;

  /** @param socket what is written to, encrypted or not; its ports are those of the TCP connection. @param timeoutMs Infinity = never. */
  constructor(socket: Socket, timeoutMs: number, onStall: () => void) {
    this.#socket = socket;
    this.#timeoutMs = timeoutMs;
    this.#onStall = onStall;
  }

  /** Something is expected of the peer from now on. */
  start(): void {
    if (this.#timer !== undefined || this.#timeoutMs === Number.POSITIVE_INFINITY) return;
    this.#quietLooks = 0;
    this.#hasMoved();
    this.#timer = setInterval(() => this.#look(), this.#timeoutMs / LOOKS);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #look(): void {
    this.#quietLooks = this.#hasMoved() ? 0 : this.#quietLooks + 1;
    if (this.#quietLooks < LOOKS) return;
    this.stop();
    this.#onStall();
  }

  #hasMoved(): boolean {
    const { bytesRead, bytesWritten, writableLength, localPort, remotePort } = this.#socket;
    // The runtime counts what it holds back as written.
    const moved = bytesRead + bytesWritten - writableLength;
    const hasMoved = moved !== this.#movedBytes;
    this.#movedBytes = moved;
    if (hasMoved || localPort === undefined || remotePort === undefined) return hasMoved;
    const queued = unacknowledgedSize(localPort, remotePort);
    const hasDrained = queued !== this.#queuedBytes;
    this.#queuedBytes = queued;
    return hasDrained;
  }
}
