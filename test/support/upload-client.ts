/** A sender of journals over mutual TLS: one connection at a time, any number of requests in flight. */
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
  readonly #unsent: Uint8Array[] = [];
  /** Of the requests in flight, in order. */
  readonly #answers: PromiseWithResolvers<number>[] = [];

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
      for (const answer of this.#answers.splice(0)) answer.reject(error);
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
    this.#unsent.length = 0;
  }

  /**
   * Sends one request, behind those in flight, and returns the status of the answer; rejects when the
   * connection is lost.
   */
  async post(body: Uint8Array): Promise<number> {
    const head = [
      "POST /upload HTTP/1.1",
      "Host: 127.0.0.1",
      "Content-Type: application/vnd.fdo.journal",
      `Content-Length: ${body.length}`,
    ].join("\r\n");
    if (this.#socket === undefined) throw new Error("Not connected");
    const answer = Promise.withResolvers<number>();
    this.#answers.push(answer);
    this.#unsent.push(Buffer.from(`${head}\r\n\r\n`), body);
    this.#flush();
    return await answer.promise;
  }

  /** Sends all, so many in flight, until they are acknowledged; rejects at any other answer. */
  async postAll(bodies: Iterable<Uint8Array>, inFlight: number): Promise<void> {
    const pending: Promise<number>[] = [];
    const expectAccepted = async (answer: Promise<number> | undefined): Promise<void> => {
      const status = await answer;
      if (status !== 202) throw new Error(`The receiver answered ${status}`);
    };
    for (const body of bodies) {
      if (pending.length === inFlight) await expectAccepted(pending.shift());
      const answer = this.post(body);
      answer.catch(() => undefined); // told when it is its turn
      pending.push(answer);
    }
    for (const answer of pending) await expectAccepted(answer);
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
    for (let bytes = this.#unsent[0]; bytes !== undefined; bytes = this.#unsent[0]) {
      const written = Math.max(0, this.#socket?.write(bytes) ?? 0);
      if (written < bytes.length) {
        this.#unsent[0] = bytes.subarray(written);
        return;
      }
      this.#unsent.shift();
    }
  }

  #receive(chunk: Uint8Array): void {
    this.#received += Buffer.from(chunk).toString("latin1");
    for (let head = ANSWER_HEAD.exec(this.#received); head !== null; ) {
      const end = head[0].length + Number(CONTENT_LENGTH.exec(head[0])?.[1] ?? 0);
      if (this.#received.length < end) return;
      this.#received = this.#received.slice(end);
      this.#answers.shift()?.resolve(Number(head[1]));
      head = ANSWER_HEAD.exec(this.#received);
    }
  }
}
