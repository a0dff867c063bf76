/** A TLS server that answers what a test says, and remembers what it was sent: for receivers that lie. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createServer, type Server, type TLSSocket } from "node:tls";

export class ScriptedHttps implements Disposable {
  /** Whole requests, as text. */
  readonly requests: string[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<TLSSocket>();

  private constructor(
    identity: { key: string; cert: string },
    answer: (request: string) => Answer | Promise<Answer>,
  ) {
    this.#server = createServer(identity, (socket) => {
      this.#sockets.add(socket);
      let text = "";
      socket.on("error", () => undefined);
      socket.on("data", (chunk: Buffer) => {
        text += chunk.toString("latin1");
        if (!isWhole(text)) return;
        this.requests.push(text);
        void Promise.resolve(answer(text)).then((bytes) => {
          if (bytes !== "nothing") socket.end(bytes);
        });
      });
    });
    this.#server.on("tlsClientError", () => undefined);
  }

  static async start(
    identity: { key: string; cert: string },
    answer: (request: string) => Answer | Promise<Answer>,
  ): Promise<ScriptedHttps> {
    const server = new ScriptedHttps(identity, answer);
    server.#server.listen(0, "127.0.0.1");
    await once(server.#server, "listening");
    return server;
  }

  get url(): string {
    return `https://localhost:${(this.#server.address() as AddressInfo).port}`;
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }
}

/** Bytes, after which the connection ends. */
type Answer = string | "nothing";

export function httpAnswer(status: number, body: string, headers = ""): string {
  return `HTTP/1.1 ${status} Whatever\r\nContent-Length: ${body.length}\r\n${headers}\r\n${body}`;
}

function isWhole(text: string): boolean {
  const end = text.indexOf("\r\n\r\n");
  const length = Number(/^content-length: (\d+)/im.exec(text)?.[1] ?? 0);
  return end >= 0 && text.length >= end + 4 + length;
}
