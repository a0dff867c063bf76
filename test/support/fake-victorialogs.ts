/**
 * What VictoriaLogs makes of uploads, by its source of 2026: it decompresses and parses a body as a stream, keeps what
 * it has read when something is wrong further on, and answers 200 or 400.
 */
import { FakeReceiver } from "./fake-receiver.ts";
import { type ExportedEntry, parseExport } from "./stored-journals.ts";

const LINE_SIZE_MAX = 256 * 1024;

export class FakeVictoriaLogs implements Disposable {
  /** Everything it stored, what came twice included. */
  readonly stored: ExportedEntry[] = [];
  readonly #receiver: FakeReceiver;

  private constructor(receiver: FakeReceiver) {
    this.#receiver = receiver;
  }

  static async open(): Promise<FakeVictoriaLogs> {
    const logs: FakeVictoriaLogs = new FakeVictoriaLogs(
      await FakeReceiver.open({
        onRequest: ({ target, headers, body }, socket) => {
          const encoding = headers.get("content-encoding")?.[0];
          const status = logs.#take(target, encoding, body);
          const accept = status === 200 ? "Accept-Encoding: zstd\r\n" : "";
          socket.write(`HTTP/1.1 ${status} Status\r\n${accept}Content-Length: 0\r\n\r\n`);
        },
      }),
    );
    return logs;
  }

  /** As its documentation says to give it to systemd-journal-upload. */
  get url(): string {
    return `${this.#receiver.url}/insert/journald`;
  }

  /** Bytes of bodies, by encoding; undefined = plain. */
  received(encoding: string | undefined): number {
    const bodies = this.#receiver.requests.filter(
      ({ headers }) => headers.get("content-encoding")?.[0] === encoding,
    );
    return bodies.reduce((sum, { body }) => sum + body.length, 0);
  }

  [Symbol.dispose](): void {
    this.#receiver[Symbol.dispose]();
  }

  #take(target: string, encoding: string | undefined, body: Buffer): number {
    if (target !== "/insert/journald/upload") return 404;
    // What it does not know it takes for read.
    if (encoding !== undefined && encoding !== "zstd") return 200;
    const stream = encoding === undefined ? body : Buffer.from(decompress(body));
    for (let start = 0; start < stream.length; ) {
      const end = endOfEntry(stream, start);
      const entries = parseExport(stream.subarray(start, end));
      if (entries.some(hasLongLine)) return 400;
      this.stored.push(...entries);
      start = end;
    }
    return 200;
  }
}

/** Throws for what is no zstd. */
function decompress(body: Buffer): Uint8Array {
  return body.length === 0 ? body : Bun.zstdDecompressSync(body);
}

/** Our entries begin with their cursor, and no value here holds such a line. */
function endOfEntry(stream: Buffer, start: number): number {
  const next = stream.indexOf("\n\n__CURSOR=", start);
  return next < 0 ? stream.length : next + 2;
}

function hasLongLine({ fields }: ExportedEntry): boolean {
  return fields.some((field) => field.split("\n").some(({ length }) => length > LINE_SIZE_MAX));
}
