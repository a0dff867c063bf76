/** A sender of journals over mutual TLS: one connection at a time, one request after another. */
import type { Identity } from "../../scripts/throwaway-certificates.ts";

export interface UploadTarget {
  /** Of 127.0.0.1. */
  port: number;
  /** PEM of the authority behind the receiver's certificate. */
  authority: string;
}

const RETRY_MS = 50;
const ANSWER_HEAD = /^HTTP\/1\.1 (\d{3}) [\s\S]*?\r\n\r\n/;
const CONTENT_LENGTH = /\r\ncontent-length: (\d+)\r\n/i;

export class UploadClient {
  /** Requests that had to be repeated, whatever the reason. */
  retries = 0;
  readonly #target: UploadTarget;
  readonly #identity: Identity;
  #socket: Bun.Socket<undefined> | undefined;
  #received = "";
  #unsent: Uint8Array = new Uint8Array(0);
  #onAnswer: PromiseWithResolvers<number> | undefined;

  constructor(target: UploadTarget, identity: Identity) {
    this.#target = target;
    this.#identity = identity;
  }

  /** Resolves when the handshake is complete. */
  async connect(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const closed = (socket: Bun.Socket<undefined>): void => {
      const error = new Error("The connection was closed");
      reject(error);
      // The end of a former connection may come to light when the next one is in use.
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      this.#onAnswer?.reject(error);
    };
    const { certificate: cert, key } = this.#identity;
    const { port, authority: ca } = this.#target;
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      tls: { ca, cert, key },
      socket: {
        handshake: (_socket, isDone, error) => (isDone ? resolve() : reject(error)),
        data: (_socket, chunk) => this.#receive(chunk),
        drain: () => this.#flush(),
        close: closed,
        error: closed,
      },
    });
    await promise;
    this.#socket = socket;
    this.#received = "";
  }

  /** Sends one request and returns the status of the answer; rejects when the connection is lost. */
  async post(body: Uint8Array): Promise<number> {
    const head = [
      "POST /upload HTTP/1.1",
      "Host: 127.0.0.1",
      "Content-Type: application/vnd.fdo.journal",
      `Content-Length: ${body.length}`,
    ].join("\r\n");
    this.#unsent = Buffer.concat([Buffer.from(`${head}\r\n\r\n`), body]);
    this.#onAnswer = Promise.withResolvers<number>();
    this.#flush();
    return await this.#onAnswer.promise;
  }

  /** Repeats the request, over a new connection if need be, until it is acknowledged. */
  async deliver(body: Uint8Array): Promise<void> {
    for (;;) {
      try {
        if (this.#socket === undefined) await this.connect();
        const status = await this.post(body);
        if (status === 202) return;
        if (status < 429) throw new RangeError(`The receiver answered ${status}`);
      } catch (error) {
        if (error instanceof RangeError) throw error;
      }
      this.retries++;
      this.close();
      await Bun.sleep(RETRY_MS);
    }
  }

  close(): void {
    this.#socket?.end();
    this.#socket = undefined;
  }

  #flush(): void {
    const socket = this.#socket;
    if (socket === undefined) {
      this.#onAnswer?.reject(new Error("Not connected"));
      return;
    }
    if (this.#unsent.length === 0) return;
    const written = socket.write(this.#unsent);
    this.#unsent = this.#unsent.subarray(Math.max(0, written));
  }

  #receive(chunk: Uint8Array): void {
    this.#received += Buffer.from(chunk).toString("latin1");
    const head = ANSWER_HEAD.exec(this.#received);
    if (head === null) return;
    const end = head[0].length + Number(CONTENT_LENGTH.exec(head[0])?.[1] ?? 0);
    if (this.#received.length < end) return;
    this.#received = this.#received.slice(end);
    this.#onAnswer?.resolve(Number(head[1]));
  }
}
