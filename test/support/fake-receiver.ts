/** A receiver that does what a test tells it to, over real sockets. */
import { once } from "node:events";
import net, { type AddressInfo, type Socket } from "node:net";
import tls, { type TLSSocket, type TlsOptions } from "node:tls";
import { RequestParser } from "../../src/serve/http1.ts";

export interface ReceivedRequest {
  method: string;
  target: string;
  headers: ReadonlyMap<string, readonly string[]>;
  body: Buffer;
  /** Which connection it came over, counted from 1. */
  connection: number;
}

export interface FakeReceiverOptions {
  /** Missing = without TLS. */
  tls?: TlsOptions;
  /** Called for each whole request; answers "202 OK." unless told otherwise. */
  onRequest?(request: ReceivedRequest, socket: Socket): void;
  /** Takes the connection in place of all of the above. */
  onConnection?(socket: Socket): void;
}

export const ACCEPTED = "HTTP/1.1 202 Accepted\r\nContent-Length: 4\r\n\r\nOK.\n";

export class FakeReceiver {
  readonly requests: ReceivedRequest[] = [];
  /** Handshakes done. */
  connections = 0;
  readonly sockets = new Set<Socket>();
  readonly #server: net.Server;
  readonly #options: FakeReceiverOptions;

  private constructor(options: FakeReceiverOptions) {
    this.#options = options;
    const accept = (socket: Socket): void => this.#accept(socket);
    this.#server =
      options.tls === undefined ? net.createServer(accept) : tls.createServer(options.tls, accept);
    this.#server.on("tlsClientError", () => undefined);
  }

  static async open(options: FakeReceiverOptions = {}, host = "127.0.0.1"): Promise<FakeReceiver> {
    const receiver = new FakeReceiver(options);
    receiver.#server.listen(0, host);
    await once(receiver.#server, "listening");
    return receiver;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** "http://127.0.0.1:PORT" or "https://localhost:PORT". */
  get url(): string {
    return this.#options.tls === undefined
      ? `http://127.0.0.1:${this.port}`
      : `https://localhost:${this.port}`;
  }

  /** New certificates for new connections. */
  useContext(context: TlsOptions): void {
    (this.#server as tls.Server).setSecureContext(context);
  }

  [Symbol.dispose](): void {
    for (const socket of this.sockets) socket.destroy();
    this.#server.close();
  }

  #accept(socket: Socket): void {
    const connection = ++this.connections;
    this.sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => this.sockets.delete(socket));
    if (this.#options.onConnection !== undefined) {
      this.#options.onConnection(socket);
      return;
    }
    const reader = new RequestReader((request) => {
      this.requests.push({ ...request, connection });
      if (this.#options.onRequest === undefined) socket.write(ACCEPTED);
      else this.#options.onRequest({ ...request, connection }, socket);
    });
    socket.on("data", (chunk: Buffer) => reader.push(chunk));
  }
}

/** The name in the certificate that a client has shown. */
export function clientName(socket: Socket): unknown {
  return (socket as TLSSocket).getPeerCertificate().subject?.CN;
}

type WholeRequest = Omit<ReceivedRequest, "connection">;

class RequestReader {
  readonly #parser = new RequestParser(64 * 1024);
  readonly #onRequest: (request: WholeRequest) => void;
  #head: Omit<WholeRequest, "body"> | undefined;
  #body: Uint8Array[] = [];

  constructor(onRequest: (request: WholeRequest) => void) {
    this.#onRequest = onRequest;
  }

  push(chunk: Uint8Array): void {
    this.#parser.feed(chunk);
    for (;;) {
      const event = this.#parser.next();
      if (event === undefined) return;
      switch (event.type) {
        case "head": {
          this.#head = event.head;
          const isChunked = event.head.headers.get("transfer-encoding")?.[0] === "chunked";
          const length = Number(event.head.headers.get("content-length")?.[0] ?? 0);
          this.#parser.startBody(isChunked ? { kind: "chunked" } : { kind: "length", length });
          break;
        }
        case "body":
          this.#body.push(event.bytes.slice());
          break;
        case "end":
          if (this.#head !== undefined) {
            const { method, target, headers } = this.#head;
            this.#onRequest({ method, target, headers, body: Buffer.concat(this.#body) });
          }
          this.#body = [];
          break;
        case "malformed":
          throw new Error(`The client sent what is no request: ${event.text}`);
      }
    }
  }
}
