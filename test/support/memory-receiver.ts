/** A receiver behind an UploadClient, without a network: what it answers is up to the test. */

import { gunzipSync } from "node:zlib";
import { decodeBatch } from "../../src/batch-format/decoder.ts";
import { BATCH_CONTENT_TYPE } from "../../src/batch-format/format.ts";
import { AgentError } from "../../src/errors.ts";
import { ExportParser } from "../../src/export-format/parser.ts";
import type { Entry } from "../../src/journal/entry.ts";
import { spellOutFields } from "../../src/journal/field-dictionary.ts";
import type {
  UploadAnswer,
  UploadClient,
  UploadFailure,
  UploadRequest,
} from "../../src/upload/delivery-types.ts";

export type Result = UploadAnswer | UploadFailure;

/** Decides about a request, given the MESSAGEs in it; undefined = take it. */
export type Decide = (
  messages: readonly string[],
  request: UploadRequest,
) => Result | undefined | Promise<Result | undefined>;

export class MemoryReceiver implements UploadClient {
  /** MESSAGEs of the requests that were taken, in their order. */
  readonly stored: string[] = [];
  /** Of all requests. */
  readonly requests: { messages: string[]; request: UploadRequest; sizeBytes: number }[] = [];
  inFlight = 0;
  inFlightMax = 0;
  isClosed = false;
  decide: Decide;
  /** Of its 2xx answers. */
  readonly headers = new Map<string, string>();
  readonly #closed = Promise.withResolvers<void>();
  #last: Promise<unknown> = Promise.resolve();

  constructor(decide: Decide = () => undefined, headers: Record<string, string> = {}) {
    this.decide = decide;
    for (const [name, value] of Object.entries(headers)) this.headers.set(name, value);
  }

  async send(request: UploadRequest): Promise<Result> {
    this.inFlight++;
    this.inFlightMax = Math.max(this.inFlightMax, this.inFlight);
    // Answers come in the order of the requests.
    const result = this.#last.then(() => this.#answer(request));
    this.#last = result;
    const cut = this.#closed.promise.then(() => failure("request", "closed"));
    const answer = await Promise.race([result, cut]);
    this.inFlight--;
    return answer;
  }

  close(): void {
    this.isClosed = true;
    this.#closed.resolve();
  }

  async #answer(request: UploadRequest): Promise<Result> {
    const messages = messagesOf(request);
    const sizeBytes = request.pieces.reduce((sum, piece) => sum + piece.length, 0);
    this.requests.push({ messages, request, sizeBytes });
    const decided = await this.decide(messages, request);
    if (decided !== undefined) return decided;
    this.stored.push(...messages);
    return answer(202, "OK.", this.headers);
  }
}

export const OURS = {
  "accept-post": `application/vnd.fdo.journal, ${BATCH_CONTENT_TYPE}`,
  "accept-encoding": "zstd;q=1.0,gzip;q=0.4",
};

export function answer(
  status: number,
  text = "",
  headers: Record<string, string> | ReadonlyMap<string, string> = {},
): UploadAnswer {
  const map = headers instanceof Map ? headers : new Map(Object.entries(headers));
  return { kind: "answer", status, headers: map, text };
}

export function failure(phase: UploadFailure["phase"], what: string, bytesSent = 0): UploadFailure {
  const error = new AgentError("E_PEER", `Cannot upload to "http://192.0.2.1/": ${what}`);
  return { kind: "failure", phase, bytesSent, error };
}

/** The connection ends in the middle of the request. */
export function cut(): UploadFailure {
  return failure("request", "connection reset", 1000);
}

/** MESSAGE of each entry of a body. */
function messagesOf({ contentType, contentEncoding, pieces }: UploadRequest): string[] {
  const found: string[] = [];
  const onEntry = (entry: Entry): void => {
    spellOutFields(entry);
    for (let i = 0; i < entry.fieldCount; i++) {
      const field = entry.bytes.subarray(entry.fieldStart[i], entry.fieldEnd[i]);
      const text = Buffer.from(field).toString();
      if (text.startsWith("MESSAGE=")) found.push(text.slice("MESSAGE=".length));
    }
  };
  const body = decompress(Buffer.concat(pieces), contentEncoding);
  if (contentType === BATCH_CONTENT_TYPE) {
    decodeBatch(body, onEntry);
    return found;
  }
  const parser = new ExportParser({
    onEntry,
    onRefused(reason, offset, detail) {
      // What nobody stores may be sent.
      if (reason === "no-fields") return;
      throw new Error(`entry at ${offset} refused: ${reason}, ${detail}`);
    },
  });
  parser.push(body);
  if (parser.end() !== 0) throw new Error("body ends inside an entry");
  return found;
}

function decompress(bytes: Uint8Array, encoding: string | undefined): Uint8Array {
  // It may only be called compressed.
  if (encoding === undefined || bytes.length === 1) return bytes;
  if (encoding === "zstd") return Bun.zstdDecompressSync(bytes);
  if (encoding === "gzip") return gunzipSync(bytes);
  throw new Error(`Cannot decode "${encoding}"`);
}
