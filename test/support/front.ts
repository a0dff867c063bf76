/** A network front on loopback with an ingest that remembers, and clients to talk to it. */
import { connect } from "node:net";
import { type Front, type FrontOptions, startFront } from "../../src/serve/front.ts";
import type { Ingest, IngestResult, IngestStream } from "../../src/serve/ingest-types.ts";
import { parseListenAddress } from "../../src/serve/listen-address.ts";
import { DEFAULT_LIMITS, type IngestLimits } from "../../src/serve/settings.ts";

export interface RecordedStream {
  sender: string;
  encoding: string | undefined;
  body: Buffer[];
  state: "open" | "ended" | "aborted";
}

/** An ingest that keeps bodies as they come. A test may replace the hooks to be slow or to fail. */
export class BodyRecorder implements Ingest {
  readonly streams: RecordedStream[] = [];
  onOpen: () => void = () => undefined;
  onPush: (chunk: Uint8Array) => Promise<void> | undefined = () => undefined;
  /** Resolves when what has arrived is handed to the store, which later streams come behind. */
  onHandOver: () => Promise<void> = () => Promise.resolve();
  /** Resolves with the bytes of an unfinished entry when everything is on disk. */
  onEnd: (stream: RecordedStream) => Promise<number> = () => Promise.resolve(0);

  open(sender: string, encoding: string | undefined): IngestStream {
    this.onOpen();
    const stream: RecordedStream = { sender, encoding, body: [], state: "open" };
    this.streams.push(stream);
    return {
      push: (chunk) => {
        const pending = this.onPush(chunk);
        stream.body.push(Buffer.from(chunk));
        return pending;
      },
      end: async (onHandedOver): Promise<IngestResult> => {
        await this.onHandOver();
        onHandedOver?.();
        const trailingBytes = await this.onEnd(stream);
        stream.state = "ended";
        const counts = { stored: 0, duplicates: 0, refused: new Map() };
        return { counts, trailingBytes };
      },
      abort: () => {
        if (stream.state === "ended") throw new Error("abort() after end()");
        stream.state = "aborted";
      },
    };
  }

  /** Whole bodies as text, in the order they were opened. */
  bodies(): string[] {
    return this.streams.map(({ body }) => Buffer.concat(body).toString("latin1"));
  }
}

export interface FrontSetup {
  https?: string[];
  http?: string[];
  raw?: string[];
  limits?: Partial<IngestLimits>;
  options?: Partial<FrontOptions>;
}

/** Ports are the kernel's choice unless given. */
export function startTestFront(ingest: Ingest, setup: FrontSetup): Promise<Front> {
  const parse = (texts: string[] = []) =>
    texts.map((text) => parseListenAddress(text, { allowPortZero: true }));
  return startFront({
    https: parse(setup.https),
    http: parse(setup.http),
    raw: parse(setup.raw),
    certificates: {
      keyFile: "",
      certificateFile: "",
      trust: { authority: "all", crlFiles: [], allowSubject: [] },
    },
    plaintext: "accept",
    limits: { ...DEFAULT_LIMITS, ...setup.limits },
    announcedEncodings: ["zstd", "xz", "lz4", "gzip"],
    enrollSocket: undefined,
    ingest,
    unixName: "this-host",
    ...setup.options,
  });
}

/** The front of one test, and its clients: `stop()` after each. */
export class FrontFixture {
  front: Front | undefined;
  readonly #clients: RawClient[] = [];

  /** With a plain HTTP listener unless `setup` says otherwise; `port` is that one's. */
  async start(setup: FrontSetup = {}): Promise<{ ingest: BodyRecorder; port: number }> {
    const ingest = new BodyRecorder();
    this.front = await startTestFront(ingest, { http: ["127.0.0.1:0"], ...setup });
    return { ingest, port: portOf(this.front.addresses.http[0]) };
  }

  client(port: number): RawClient {
    const client = new RawClient(port);
    this.#clients.push(client);
    return client;
  }

  async stop(): Promise<void> {
    for (const client of this.#clients.splice(0)) client.close();
    await this.front?.stop(0);
    this.front = undefined;
  }
}

export function portOf(address: string | undefined): number {
  return Number(address?.slice(address.lastIndexOf(":") + 1));
}

/** Bytes over one plain TCP connection, and what came back. */
export class RawClient {
  readonly #socket: ReturnType<typeof connect>;
  readonly #received: Buffer[] = [];
  #onChange: () => void = () => undefined;
  isClosed = false;

  constructor(port: number) {
    this.#socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    this.#socket.on("data", (chunk: Buffer) => {
      this.#received.push(chunk);
      this.#onChange();
    });
    for (const event of ["end", "close", "error"]) {
      this.#socket.on(event, () => {
        this.isClosed = true;
        this.#onChange();
      });
    }
  }

  send(bytes: string | Uint8Array): void {
    this.#socket.write(bytes);
  }

  /** FIN: nothing more will be sent. */
  sendEnd(): void {
    this.#socket.end();
  }

  get text(): string {
    return Buffer.concat(this.#received).toString("latin1");
  }

  /** Waits until the text matches, or the server has closed; at most 5 s. */
  async until(pattern: RegExp): Promise<string> {
    const deadline = Date.now() + 5000;
    while (!pattern.test(this.text) && !this.isClosed && Date.now() < deadline) {
      await this.#change(deadline - Date.now());
    }
    return this.text;
  }

  async untilClosed(): Promise<boolean> {
    const deadline = Date.now() + 5000;
    while (!this.isClosed && Date.now() < deadline) await this.#change(deadline - Date.now());
    return this.isClosed;
  }

  close(): void {
    this.#socket.destroy();
  }

  async #change(timeoutMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onChange = resolve;
    const timer = setTimeout(resolve, timeoutMs);
    await promise;
    clearTimeout(timer);
  }
}

export interface CurlResult {
  status: number;
  body: string;
  exitCode: number;
  stderr: string;
}

/** The real curl; the response's headers are part of `body` when `-i` is given. */
export async function curl(...args: string[]): Promise<CurlResult> {
  const command = ["curl", "-sS", "--noproxy", "*", "-m", "20", "-w", "\n%{http_code}", ...args];
  const run = Bun.spawn(command, { stdout: "pipe", stderr: "pipe" });
  const [output, stderr, exitCode] = await Promise.all([
    new Response(run.stdout).text(),
    new Response(run.stderr).text(),
    run.exited,
  ]);
  const cut = output.lastIndexOf("\n");
  return { status: Number(output.slice(cut + 1)), body: output.slice(0, cut), exitCode, stderr };
}

export const JOURNAL_TYPE = "Content-Type: application/vnd.fdo.journal";
/** A request's head but for its framing and the final empty line. */
export const HEAD = `POST /upload HTTP/1.1\r\nHost: a\r\n${JOURNAL_TYPE}\r\n`;
export const CHUNKED = `${HEAD}Transfer-Encoding: chunked\r\n\r\n`;
/** A whole answer. */
export const ANSWER = /^HTTP\/1\.1 [2-5]\d\d [^\r]*\r\n(?:[^\r]+\r\n)*\r\n[^\n]*\n/;
