/** One connection that carries an export stream and nothing else (`--listen-raw`, ForwardToSocket=). */
import { AgentError, reasonOf } from "../errors.ts";
import type { ConnectionContext } from "./connection-context.ts";
import type { Peer } from "./identity.ts";
import type { IngestStream } from "./ingest-types.ts";
import type { ByteSocket } from "./paced-socket.ts";
import { storageRefusal } from "./upload-request.ts";

export type RawContext = Pick<ConnectionContext, "ingest" | "counters" | "reportBug">;

/**
 * There is nobody to answer: an error closes the connection, after it was counted. A raw sender
 * may be quiet for ever.
 */
export class RawConnection {
  readonly peer: Peer;
  readonly #socket: ByteSocket;
  readonly #context: RawContext;
  readonly #inbox: Uint8Array[] = [];
  readonly #onOver: () => void;
  #stream: IngestStream | undefined;
  /** A promise of the stream is pending. */
  #isWaiting = false;
  #peerEnded = false;
  #isClosed = false;
  #isSocketGone = false;
  #isStored = false;

  /** @param onOver called once, when the socket is gone and what came from it is stored. */
  constructor(socket: ByteSocket, peer: Peer, context: RawContext, onOver: () => void) {
    this.#socket = socket;
    this.peer = peer;
    this.#context = context;
    this.#onOver = onOver;
    try {
      this.#stream = context.ingest.open(peer.name, undefined);
    } catch (error) {
      this.#fail(error);
    }
  }

  received(chunk: Uint8Array): void {
    if (this.#isClosed) return;
    this.#inbox.push(chunk);
    this.#pump();
  }

  /** Nothing is ever written. */
  drained(): void {}

  /** The peer has sent everything. */
  receivedEnd(): void {
    this.#peerEnded = true;
    this.#pump();
  }

  /** The socket is gone: by reset, or after `receivedEnd()`. Like stock, both end the stream. */
  socketClosed(): void {
    this.#isSocketGone = true;
    this.receivedEnd();
    this.#checkOver();
  }

  /** Ends the stream with what has arrived. */
  finish(): void {
    this.receivedEnd();
  }

  #pump(): void {
    try {
      while (!this.#isWaiting && !this.#isClosed) {
        const chunk = this.#inbox.shift();
        if (chunk === undefined) break;
        const pending = this.#stream?.push(chunk);
        if (pending !== undefined) this.#waitFor(pending);
      }
    } catch (error) {
      this.#fail(error);
    }
    if (this.#peerEnded && !this.#isWaiting && !this.#isClosed) void this.#end();
  }

  #waitFor(pending: Promise<void>): void {
    this.#isWaiting = true;
    this.#socket.pause();
    pending
      .then(() => {
        this.#isWaiting = false;
        if (!this.#isClosed) this.#socket.resume();
        this.#pump();
      })
      .catch((error: unknown) => this.#fail(error));
  }

  async #end(): Promise<void> {
    const stream = this.#stream;
    if (stream === undefined) return;
    this.#stream = undefined;
    this.#isClosed = true;
    try {
      const { trailingBytes } = await stream.end();
      if (trailingBytes > 0) {
        const message = `Premature EOF from ${this.#who()}: ${trailingBytes} bytes lost`;
        this.#context.counters.count("raw-premature-end", message);
      }
    } catch (error) {
      this.#report(error);
    }
    this.#isStored = true;
    this.#socket.end();
    this.#checkOver();
  }

  #checkOver(): void {
    if (!(this.#isSocketGone && this.#isStored)) return;
    this.#isStored = false;
    this.#onOver();
  }

  #fail(error: unknown): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#report(error);
    this.#stream?.abort();
    this.#stream = undefined;
    this.#inbox.length = 0;
    this.#isStored = true;
    this.#socket.end();
    this.#checkOver();
  }

  #report(error: unknown): void {
    const { counters, reportBug } = this.#context;
    if (!(error instanceof AgentError)) reportBug(error);
    const reason = `raw-${storageRefusal(error).reason}`;
    counters.count(reason, `Closed the connection of ${this.#who()}: ${reasonOf(error)}`);
  }

  #who(): string {
    return JSON.stringify(this.peer.name);
  }
}
