import { once } from "node:events";
import net, { type AddressInfo } from "node:net";
import tls, { type TlsOptions } from "node:tls";
import { cursorOf, exportEntry } from "./recording-ingest.ts";

/** What the gateway does with one request; "follow" sends the entries and stays open. */
export type GatewayAct =
  | "follow"
  | "complete"
  | "silent"
  | { cutAfterBytes: number }
  | { status: number; headers?: Record<string, string>; body?: string };

export interface GatewayRequestSeen {
  target: string;
  headers: Headers;
  /** CN of the client certificate. */
  client: string | undefined;
}

/**
 * A systemd-journal-gatewayd that misbehaves on request. Its journal is entries 1 … `tail`; a Range
 * starts at the entry of its cursor, and past the end at the last one, as systemd 252 does.
 */
export class FakeGateway {
  readonly requests: GatewayRequestSeen[] = [];
  /** One for each request to come; then `otherwise`. */
  readonly acts: GatewayAct[] = [];
  otherwise: GatewayAct = "follow";
  head = 1;
  tail: number;
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();
  /** Connections that follow, and the last entry each was sent. */
  readonly #followers = new Map<net.Socket, number>();

  /** @param tlsOptions for https. */
  static async start(tail: number, tlsOptions?: TlsOptions): Promise<FakeGateway> {
    const gateway = new FakeGateway(tail, tlsOptions);
    gateway.#server.listen(0, "127.0.0.1");
    await once(gateway.#server, "listening");
    return gateway;
  }

  private constructor(tail: number, tlsOptions: TlsOptions | undefined) {
    this.tail = tail;
    this.#server =
      tlsOptions === undefined
        ? net.createServer((socket) => this.#accept(socket, undefined))
        : tls.createServer(tlsOptions, (socket) => {
            const { subject } = socket.getPeerCertificate();
            this.#accept(socket, subject?.CN?.toString());
          });
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Appends entries up to `tail` and sends them to the connections that follow. */
  append(tail: number): void {
    this.tail = tail;
    for (const [socket, sent] of this.#followers) this.#sendFrom(socket, sent + 1);
  }

  /** Ends all connections in the middle of nothing. */
  cutAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  get connections(): number {
    return this.#sockets.size;
  }

  stop(): void {
    this.cutAll();
    this.#server.close();
  }

  #accept(socket: net.Socket, client: string | undefined): void {
    this.#sockets.add(socket);
    let head = "";
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#sockets.delete(socket);
      this.#followers.delete(socket);
    });
    socket.on("data", (chunk) => {
      head += chunk.toString("latin1");
      if (head.includes("\r\n\r\n")) this.#answer(socket, head, client);
    });
  }

  #answer(socket: net.Socket, head: string, client: string | undefined): void {
    const [requestLine = "", ...lines] = head.split("\r\n\r\n")[0]?.split("\r\n") ?? [];
    const headers = new Headers(
      lines.map((line): [string, string] => {
        const colon = line.indexOf(":");
        return [line.slice(0, colon), line.slice(colon + 1).trim()];
      }),
    );
    this.requests.push({ target: requestLine.split(" ")[1] ?? "", headers, client });
    const act = this.acts.shift() ?? this.otherwise;
    if (act === "silent") return;
    if (typeof act === "object" && "status" in act) {
      const body = act.body ?? "Failed.\n";
      const own = Object.entries(act.headers ?? {}).map(([name, value]) => `${name}: ${value}\r\n`);
      const length = `Content-Length: ${body.length}\r\nContent-Type: text/plain\r\n`;
      socket.end(`HTTP/1.1 ${act.status} No\r\n${own.join("")}${length}\r\n${body}`);
      return;
    }
    socket.write(
      "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.fdo.journal\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    const from = this.#firstEntry(headers.get("range"));
    if (typeof act === "object") {
      const text = this.#text(from).slice(0, act.cutAfterBytes);
      socket.write(chunked(text), () => socket.destroy());
    } else {
      this.#sendFrom(socket, from);
      if (act === "complete") socket.end("0\r\n\r\n");
      else this.#followers.set(socket, this.tail);
    }
  }

  #firstEntry(range: string | null): number {
    if (range === null) return this.head;
    for (let seqnum = this.head; seqnum <= this.tail; seqnum++) {
      if (range === `entries=${cursorOf(seqnum)}`) return seqnum;
    }
    return this.head;
  }

  #text(from: number): string {
    let text = "";
    for (let seqnum = from; seqnum <= this.tail; seqnum++) text += exportEntry(seqnum);
    return text;
  }

  #sendFrom(socket: net.Socket, from: number): void {
    const text = this.#text(from);
    // Two chunks cut anywhere: the framing has nothing to do with entries.
    if (text.length > 1) {
      const middle = Math.floor(text.length / 2);
      socket.write(chunked(text.slice(0, middle)) + chunked(text.slice(middle)));
    }
    if (this.#followers.has(socket)) this.#followers.set(socket, this.tail);
  }
}

function chunked(text: string): string {
  return text === "" ? "" : `${text.length.toString(16)}\r\n${text}\r\n`;
}
