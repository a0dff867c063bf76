/**
 * The server's half of HTTP/1.1 framing (RFC 9112): request heads and request bodies, resumable at
 * any byte. The runtime's own HTTP servers either hide the client's certificate or read on without
 * back-pressure, hence this one. Hot: every uploaded byte passes `next()`, as subarrays of what the
 * socket delivered. Guarded by scripts/bench.
 *
 * Strict where leniency lets two programs see two different requests in one stream: no bare LF, no
 * folded lines, no blank before a colon, one Content-Length, plain hexadecimal chunk sizes.
 */
import { CHUNK_LINE_SIZE_MAX, parseChunkLine, parseField } from "../http/framing.ts";

export interface RequestHead {
  method: string;
  target: string;
  /** The x of HTTP/1.x. */
  minorVersion: number;
  /** Names in lower case; values without surrounding blanks, in the order they came. */
  headers: ReadonlyMap<string, readonly string[]>;
}

export type BodyFraming = { kind: "length"; length: number } | { kind: "chunked" };

export type HttpEvent =
  | { type: "head"; head: RequestHead }
  /** Valid until the next `feed()`'s chunk is reused by whoever fed it. */
  | { type: "body"; bytes: Uint8Array }
  /** End of the body. */
  | { type: "end" }
  /** The stream cannot be understood from here on; nothing follows. */
  | { type: "malformed"; status: 400 | 431 | 505; text: string };

/** What the peer has begun and not completed. */
export type Unfinished = "nothing" | "head" | "body";

const REQUEST_LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) HTTP\/(\d)\.(\d)$/;
const LF = 10;
const CR = 13;
const NO_BYTES = new Uint8Array(0);

type State =
  | "request-line"
  | "header-line"
  /** The head is out; `startBody()` has to be called. */
  | "head-done"
  | "length-data"
  | "chunk-line"
  | "chunk-data"
  | "chunk-data-end"
  | "trailer-line"
  | "malformed";

/**
 * `feed()` a chunk, then call `next()` until it returns undefined, which means: more bytes needed.
 * After a "head" event, `startBody()` says how the body is framed.
 */
export class RequestParser {
  readonly #headSizeMax: number;
  #state: State = "request-line";
  #chunk: Uint8Array = NO_BYTES;
  #index = 0;
  /** The beginning of a line whose end has not arrived; its first `#partialSize` bytes. */
  #partial: Uint8Array = NO_BYTES;
  #partialSize = 0;
  /** Bytes of the head, or of the trailer, so far. */
  #sectionSize = 0;
  /** Bytes missing of the body, or of the chunk. */
  #remaining = 0;
  #method = "";
  #target = "";
  #minorVersion = 1;
  #headers = new Map<string, string[]>();

  constructor(headSizeMax: number) {
    this.#headSizeMax = headSizeMax;
  }

  /** Takes the next bytes; all earlier ones must have been consumed. */
  feed(chunk: Uint8Array): void {
    this.#chunk = chunk;
    this.#index = 0;
  }

  startBody(framing: BodyFraming): void {
    if (framing.kind === "chunked") {
      this.#state = "chunk-line";
    } else {
      this.#state = "length-data";
      this.#remaining = framing.length;
    }
  }

  /** What the peer owes us, once `next()` has returned undefined. */
  get unfinished(): Unfinished {
    switch (this.#state) {
      case "request-line":
        return this.#partialSize > 0 ? "head" : "nothing";
      case "header-line":
      case "head-done":
        return "head";
      case "chunk-line":
        // Between two chunks a live sender may be quiet for as long as it likes.
        return this.#partialSize > 0 ? "body" : "nothing";
      case "malformed":
        return "nothing";
      default:
        return "body";
    }
  }

  /** The next event, or undefined when more bytes are needed. */
  next(): HttpEvent | undefined {
    const event = this.#advance();
    // An idle connection must not keep half a megabyte of its last chunk alive.
    if (event === undefined) this.feed(NO_BYTES);
    return event;
  }

  #advance(): HttpEvent | undefined {
    switch (this.#state) {
      case "length-data":
        return this.#remaining === 0 ? this.#endBody() : this.#takeBody();
      case "chunk-data":
        if (this.#remaining > 0) return this.#takeBody();
        this.#state = "chunk-data-end";
        return this.#nextLine();
      case "head-done":
      case "malformed":
        return undefined;
      default:
        return this.#nextLine();
    }
  }

  #takeBody(): HttpEvent | undefined {
    const available = this.#chunk.length - this.#index;
    if (available === 0) return undefined;
    const start = this.#index;
    this.#index += Math.min(available, this.#remaining);
    this.#remaining -= this.#index - start;
    return { type: "body", bytes: this.#chunk.subarray(start, this.#index) };
  }

  #endBody(): HttpEvent {
    this.#state = "request-line";
    this.#sectionSize = 0;
    this.#headers = new Map();
    return { type: "end" };
  }

  /** Goes on line by line until there is an event or the bytes run out. */
  #nextLine(): HttpEvent | undefined {
    for (;;) {
      const line = this.#takeLine();
      if (typeof line !== "string") return line;
      const event = this.#acceptLine(line);
      if (event !== undefined) return event;
      if (this.#state === "chunk-data") return this.#takeBody();
    }
  }

  /** The next whole line without its CRLF, as latin1. */
  #takeLine(): string | HttpEvent | undefined {
    const chunk = this.#chunk;
    const start = this.#index;
    // A TLS hello sent to a plain port may hold no LF: it is answered now, not when time is up.
    if (this.#state === "request-line" && this.#partialSize === 0 && isBinary(chunk[start])) {
      return this.#malformed(400, "Bad request line.");
    }
    const lf = chunk.indexOf(LF, start);
    const end = lf === -1 ? chunk.length : lf + 1;
    const isChunkLine = this.#state === "chunk-line" || this.#state === "chunk-data-end";
    const sizeMax = isChunkLine ? CHUNK_LINE_SIZE_MAX : this.#headSizeMax - this.#sectionSize;
    if (this.#partialSize + end - start > sizeMax) {
      if (isChunkLine) return this.#malformed(400, "Chunk header too long.");
      return this.#malformed(431, `Request header larger than ${this.#headSizeMax} bytes.`);
    }
    this.#index = end;
    let line = chunk.subarray(start, end);
    if (lf === -1) {
      this.#keepPartial(line);
      return undefined;
    }
    if (this.#partialSize > 0) {
      this.#keepPartial(line);
      line = this.#partial.subarray(0, this.#partialSize);
      this.#dropPartial();
    }
    if (!isChunkLine) this.#sectionSize += line.length;
    if (line[line.length - 2] !== CR) return this.#malformed(400, "Line not ended by CR LF.");
    return Buffer.from(line.buffer, line.byteOffset, line.length - 2).toString("latin1");
  }

  #keepPartial(bytes: Uint8Array): void {
    const size = this.#partialSize + bytes.length;
    if (size > this.#partial.length) {
      const grown = new Uint8Array(Math.max(256, 2 * size));
      grown.set(this.#partial.subarray(0, this.#partialSize));
      this.#partial = grown;
    }
    this.#partial.set(bytes, this.#partialSize);
    this.#partialSize = size;
  }

  #dropPartial(): void {
    this.#partial = NO_BYTES;
    this.#partialSize = 0;
  }

  #acceptLine(line: string): HttpEvent | undefined {
    switch (this.#state) {
      case "request-line":
        return this.#acceptRequestLine(line);
      case "header-line":
        return line === "" ? this.#endHead() : this.#acceptHeaderLine(line);
      case "chunk-line":
        return this.#acceptChunkLine(line);
      case "chunk-data-end":
        if (line !== "") return this.#malformed(400, "Chunk longer than announced.");
        this.#state = "chunk-line";
        return undefined;
      case "trailer-line":
        if (line === "") return this.#endBody();
        return parseField(line) === undefined ? this.#malformed(400, "Bad trailer.") : undefined;
      default:
        throw new Error(`No line is expected in state ${this.#state}`);
    }
  }

  #acceptRequestLine(line: string): HttpEvent | undefined {
    // RFC 9112 2.2: an empty line before the request is to be ignored.
    if (line === "") return undefined;
    const match = REQUEST_LINE.exec(line);
    if (match === null) return this.#malformed(400, "Bad request line.");
    if (match[3] !== "1") return this.#malformed(505, "HTTP version not supported.");
    this.#method = match[1] ?? "";
    this.#target = match[2] ?? "";
    this.#minorVersion = Number(match[4]);
    this.#state = "header-line";
    return undefined;
  }

  #acceptHeaderLine(line: string): HttpEvent | undefined {
    if (line.startsWith(" ") || line.startsWith("\t")) {
      return this.#malformed(400, "Folded header line.");
    }
    const field = parseField(line);
    if (field === undefined) return this.#malformed(400, "Bad header line.");
    const values = this.#headers.get(field.name);
    if (values === undefined) this.#headers.set(field.name, [field.value]);
    else values.push(field.value);
    return undefined;
  }

  #endHead(): HttpEvent {
    const lengths = this.#headers.get("content-length") ?? [];
    if (lengths.length > 1 || lengths[0]?.includes(",")) {
      return this.#malformed(400, "More than one Content-Length.");
    }
    const hosts = this.#headers.get("host")?.length ?? 0;
    if (hosts > 1) return this.#malformed(400, "More than one Host.");
    if (hosts === 0 && this.#minorVersion > 0) return this.#malformed(400, "Host is required.");
    this.#state = "head-done";
    return {
      type: "head",
      head: {
        method: this.#method,
        target: this.#target,
        minorVersion: this.#minorVersion,
        headers: this.#headers,
      },
    };
  }

  #acceptChunkLine(line: string): HttpEvent | undefined {
    const size = parseChunkLine(line);
    if (size === undefined) return this.#malformed(400, "Bad chunk size.");
    this.#remaining = size;
    if (this.#remaining > 0) {
      this.#state = "chunk-data";
    } else {
      this.#state = "trailer-line";
      this.#sectionSize = 0;
    }
    return undefined;
  }

  #malformed(status: 400 | 431 | 505, text: string): HttpEvent {
    this.#state = "malformed";
    this.#dropPartial();
    return { type: "malformed", status, text };
  }
}

/** No request line begins like this; undefined = nothing there yet. */
function isBinary(byte: number | undefined): boolean {
  return byte !== undefined && byte !== CR && (byte <= 0x20 || byte >= 0x7f);
}
