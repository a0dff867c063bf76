/** Where install.sh fetches from: a folder by HTTP on loopback, that can break off in the middle. */
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { basename, join } from "node:path";

export class ReleaseServer implements AsyncDisposable {
  /** What was asked for; of a proxy that is whole addresses. */
  readonly requests: string[] = [];
  /** A file by its name, of which only the first half is sent. */
  cutFile: string | undefined;
  /** A file by its name, of which nothing is sent until the server ends. */
  heldFile: string | undefined;
  readonly #directory: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor(directory: string) {
    this.#directory = directory;
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
      socket.on("error", () => socket.destroy());
      socket.once("data", (request) => this.#answer(socket, request.toString("latin1")));
    });
    this.#server.listen(0, "127.0.0.1");
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await once(this.#server, "close");
  }

  #answer(socket: Socket, request: string): void {
    const target = request.split(" ", 2)[1] ?? "";
    this.requests.push(target);
    const path = join(this.#directory, new URL(target, this.url).pathname);
    if (basename(path) === this.heldFile) return;
    const found = existsSync(path);
    const body = found ? readFileSync(path) : Buffer.alloc(0);
    socket.write(
      `HTTP/1.1 ${found ? "200 OK" : "404 Not Found"}\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n`,
    );
    socket.end(basename(path) === this.cutFile ? body.subarray(0, body.length / 2) : body);
  }
}
