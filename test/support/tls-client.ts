/** A sender with a connection of its own, to post with or to misbehave on. */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import tls, { type ConnectionOptions } from "node:tls";
import type { TestPki } from "./tls.ts";

export interface HttpReply {
  status: number;
  /** Names in lower case. */
  headers: Map<string, string>;
  body: string;
}

export class TlsClient {
  readonly #socket: tls.TLSSocket;
  #received = "";
  #isClosed = false;
  #onChange: () => void = () => undefined;

  private constructor(socket: tls.TLSSocket) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => {
      this.#received += chunk.toString("latin1");
      this.#onChange();
    });
    for (const event of ["end", "close", "error"]) {
      socket.on(event, () => {
        this.#isClosed = true;
        this.#onChange();
      });
    }
  }

  /**
   * Resolves after the handshake as far as a client can see it: with TLS 1.3 a server says later
   * what it thinks of the certificate.
   * @param name of the certificate; "" = without one.
   */
  static async connect(
    pki: Pick<TestPki, "path">,
    name: string,
    port: number,
    options: ConnectionOptions = {},
  ): Promise<TlsClient> {
    const identity =
      name === ""
        ? {}
        : {
            cert: readFileSync(pki.path(`${name}.pem`)),
            key: readFileSync(pki.path(`${name}.key`)),
          };
    const socket = tls.connect({
      host: "127.0.0.1",
      port,
      ca: readFileSync(pki.path("ca.pem")),
      ...identity,
      ...options,
    });
    const client = new TlsClient(socket);
    await once(socket, "secureConnect");
    return client;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  send(bytes: string | Uint8Array): void {
    this.#socket.write(bytes);
  }

  /** Begins an upload of `size` bytes. */
  sendHead(size: number): void {
    const lines = ["POST /upload HTTP/1.1", "Host: localhost", `Content-Length: ${size}`];
    this.send(`${[...lines, "Content-Type: application/vnd.fdo.journal"].join("\r\n")}\r\n\r\n`);
  }

  /** One upload on the kept connection. Rejects when no whole answer comes. */
  async post(body: Uint8Array): Promise<HttpReply> {
    this.sendHead(body.length);
    this.send(body);
    return await this.reply();
  }

  /** The next answer. Rejects when the connection ends before it, or after 20 s. */
  async reply(): Promise<HttpReply> {
    const deadlineMs = performance.now() + 20_000;
    for (;;) {
      const reply = this.#takeReply();
      if (reply !== undefined) return reply;
      if (this.#isClosed) throw new Error("The connection was closed before the answer");
      await this.#change(deadlineMs);
    }
  }

  /** Rejects when it is still open after that time. */
  async closed(limitMs: number): Promise<void> {
    const deadlineMs = performance.now() + limitMs;
    while (!this.#isClosed) await this.#change(deadlineMs);
  }

  close(): void {
    this.#socket.destroy();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #takeReply(): HttpReply | undefined {
    const headEnd = this.#received.indexOf("\r\n\r\n");
    if (headEnd < 0) return undefined;
    const [statusLine = "", ...lines] = this.#received.slice(0, headEnd).split("\r\n");
    const headers = new Map(
      lines.map((line): [string, string] => {
        const colon = line.indexOf(":");
        return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
      }),
    );
    const bodyEnd = headEnd + 4 + Number(headers.get("content-length") ?? 0);
    if (this.#received.length < bodyEnd) return undefined;
    const body = this.#received.slice(headEnd + 4, bodyEnd);
    this.#received = this.#received.slice(bodyEnd);
    return { status: Number(statusLine.split(" ")[1]), headers, body };
  }

  async #change(deadlineMs: number): Promise<void> {
    const leftMs = deadlineMs - performance.now();
    if (leftMs <= 0) throw new Error("Nothing came from the server in time");
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onChange = resolve;
    const timer = setTimeout(resolve, leftMs);
    await promise;
    clearTimeout(timer);
  }
}
