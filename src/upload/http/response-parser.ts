/**
 * The client's half of HTTP/1.1 framing (RFC 9112): answers, one after the other on one connection,
 * resumable at any byte. Of their bodies, which are read for messages only, the beginning is kept.
 */
import { CHUNK_LINE_SIZE_MAX, parseChunkLine, parseField } from "../../http/framing.ts";
import type { UploadAnswer } from "../delivery-types.ts";

export type ResponseEvent =
  /** It will be an answer of this status, whatever follows. */
  | { type: "head"; status: number }
  /** @property isLast no further answer comes on this connection. */
  | { type: "answer"; answer: UploadAnswer; isLast: boolean }
  /** The stream cannot be understood from here on; nothing follows. */
  | { type: "malformed"; text: string };

const HEAD_SIZE_MAX = 64 * 1024;
/** Kept of a body. */
const TEXT_SIZE_MAX = 4096;
/** Of a body with the lines between its chunks. One that is longer is cut here: nobody waits for its end for ever. */
const BODY_SIZE_MAX = 1024 * 1024;
/** Answers that another one follows (100, 102, 103), before one that counts. */
const INTERIM_COUNT_MAX = 100;
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: .*)?$/;
const LF = 10;
const CR = 13;

type State =
  | "status-line"
  | "header-line"
  | "length-data"
  | "chunk-line"
  | "chunk-data"
  | "chunk-data-end"
  | "trailer-line"
  /** The body ends with the connection. */
  | "rest-data"
  | "ended";

export class ResponseParser {
  #state: State = "status-line";
  /** The beginning of a line whose end has not arrived, as latin1. */
  #partial = "";
  /** Bytes of the head or trailer so far. */
  #sectionSize = 0;
  /** Bytes missing of the body, or of the chunk. */
  #remaining = 0;
  #status = 0;
  #minorVersion = 1;
  #headers = new Map<string, string>();
  #text: Uint8Array[] = [];
  #textSize = 0;
  #bodySize = 0;
  #interimCount = 0;

  /** What these bytes complete, in order. */
  push(chunk: Uint8Array): ResponseEvent[] {
    const events: ResponseEvent[] = [];
    let index = 0;
    while (index < chunk.length && this.#state !== "ended") {
      index += isData(this.#state)
        ? this.#takeData(chunk, index, events)
        : this.#takeLine(chunk, index, events);
    }
    return events;
  }

  /** The peer sends no more: the answer that this completes, or leaves cut when its status is known. */
  end(): ResponseEvent | undefined {
    const hasHead = this.#state !== "status-line" && this.#state !== "header-line";
    if (!hasHead || this.#state === "ended") return undefined;
    return this.#cutAnswer();
  }

  /** Returns how many bytes were taken. */
  #takeData(chunk: Uint8Array, index: number, events: ResponseEvent[]): number {
    const isRest = this.#state === "rest-data";
    const count = isRest ? chunk.length - index : Math.min(this.#remaining, chunk.length - index);
    if (this.#isBodyTooLarge(count)) {
      events.push(this.#cutAnswer());
      return chunk.length - index;
    }
    const kept = Math.min(count, TEXT_SIZE_MAX - this.#textSize);
    if (kept > 0) {
      this.#text.push(chunk.slice(index, index + kept));
      this.#textSize += kept;
    }
    if (isRest) return count;
    this.#remaining -= count;
    if (this.#remaining > 0) return count;
    if (this.#state === "chunk-data") this.#state = "chunk-data-end";
    else events.push(this.#completeAnswer());
    return count;
  }

  #isBodyTooLarge(addedSize: number): boolean {
    this.#bodySize += addedSize;
    return this.#bodySize > BODY_SIZE_MAX;
  }

  /** Returns how many bytes were taken. */
  #takeLine(chunk: Uint8Array, index: number, events: ResponseEvent[]): number {
    const lf = chunk.indexOf(LF, index);
    const end = lf === -1 ? chunk.length : lf + 1;
    this.#sectionSize += end - index;
    const isChunkLine = this.#state === "chunk-line" || this.#state === "chunk-data-end";
    if (this.#sectionSize > (isChunkLine ? CHUNK_LINE_SIZE_MAX : HEAD_SIZE_MAX)) {
      events.push(this.#malformed("its header is too large"));
      return chunk.length - index;
    }
    if (isChunkLine && this.#isBodyTooLarge(end - index)) {
      events.push(this.#cutAnswer());
      return chunk.length - index;
    }
    this.#partial += Buffer.from(chunk.buffer, chunk.byteOffset + index, end - index).toString(
      "latin1",
    );
    if (lf === -1) return end - index;
    const isCrLf = this.#partial.charCodeAt(this.#partial.length - 2) === CR;
    const line = this.#partial.slice(0, isCrLf ? -2 : -1);
    this.#partial = "";
    if (isChunkLine) this.#sectionSize = 0;
    const event = this.#acceptLine(line);
    if (event !== undefined) events.push(event);
    return end - index;
  }

  #acceptLine(line: string): ResponseEvent | undefined {
    switch (this.#state) {
      case "status-line":
        return this.#acceptStatusLine(line);
      case "header-line":
        return line === "" ? this.#endHead() : this.#acceptHeaderLine(line);
      case "chunk-line":
        return this.#acceptChunkLine(line);
      case "chunk-data-end":
        if (line !== "") return this.#malformed("a chunk of it is longer than announced");
        this.#state = "chunk-line";
        return undefined;
      case "trailer-line":
        return line === "" ? this.#completeAnswer() : undefined;
      default:
        throw new Error(`No line is expected in state ${this.#state}`);
    }
  }

  #acceptStatusLine(line: string): ResponseEvent | undefined {
    const match = STATUS_LINE.exec(line);
    if (match === null) return this.#malformed("it does not begin with a status of HTTP/1");
    this.#minorVersion = Number(match[1]);
    this.#status = Number(match[2]);
    this.#state = "header-line";
    return undefined;
  }

  #acceptHeaderLine(line: string): ResponseEvent | undefined {
    const field = parseField(line);
    if (field === undefined) return this.#malformed("one of its header lines is broken");
    const before = this.#headers.get(field.name);
    this.#headers.set(field.name, before === undefined ? field.value : `${before}, ${field.value}`);
    return undefined;
  }

  #endHead(): ResponseEvent | undefined {
    this.#sectionSize = 0;
    const status = this.#status;
    if (status === 101) return this.#malformed("it changes the protocol");
    if (status < 200) {
      if (++this.#interimCount > INTERIM_COUNT_MAX) return this.#malformed("it never comes");
      this.#startOver();
      return undefined;
    }
    const encoding = this.#headers.get("transfer-encoding")?.toLowerCase();
    const length = this.#headers.get("content-length");
    if (status === 204 || status === 304) return this.#completeAnswer();
    if (encoding !== undefined) {
      this.#state = encoding.endsWith("chunked") ? "chunk-line" : "rest-data";
    } else if (length === undefined) {
      this.#state = "rest-data";
    } else {
      // The same length twice is one length (RFC 9112 6.3).
      const lengths = new Set(length.split(/, */));
      if (lengths.size !== 1 || !/^\d{1,15}(?:,|$)/.test(length)) {
        return this.#malformed("its Content-Length is no number");
      }
      this.#remaining = Number.parseInt(length, 10);
      if (this.#remaining === 0) return this.#completeAnswer();
      this.#state = "length-data";
    }
    return { type: "head", status };
  }

  #acceptChunkLine(line: string): ResponseEvent | undefined {
    const size = parseChunkLine(line);
    if (size === undefined) return this.#malformed("a chunk of it has no size");
    this.#remaining = size;
    this.#state = size === 0 ? "trailer-line" : "chunk-data";
    return undefined;
  }

  #completeAnswer(): ResponseEvent & { type: "answer" } {
    const answer: UploadAnswer = {
      kind: "answer",
      status: this.#status,
      headers: this.#headers,
      text: Buffer.concat(this.#text).toString("utf8"),
    };
    const isLast = this.#state === "rest-data" || !this.#keepsAlive();
    this.#interimCount = 0;
    this.#startOver();
    if (isLast) this.#state = "ended";
    return { type: "answer", answer, isLast };
  }

  #cutAnswer(): ResponseEvent & { type: "answer" } {
    const event = this.#completeAnswer();
    this.#state = "ended";
    return { ...event, isLast: true };
  }

  #keepsAlive(): boolean {
    const options = (this.#headers.get("connection") ?? "").toLowerCase().split(/[ \t]*,[ \t]*/);
    if (options.includes("close")) return false;
    return this.#minorVersion > 0 || options.includes("keep-alive");
  }

  #startOver(): void {
    this.#state = "status-line";
    this.#sectionSize = 0;
    this.#headers = new Map();
    this.#text = [];
    this.#textSize = 0;
    this.#bodySize = 0;
  }

  #malformed(text: string): ResponseEvent {
    this.#state = "ended";
    return { type: "malformed", text };
  }
}

function isData(state: State): boolean {
  return state === "length-data" || state === "chunk-data" || state === "rest-data";
}
