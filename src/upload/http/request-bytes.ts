/** A request as the bytes that go to the network, in slices. Hot: every byte that is uploaded passes here. */
import type { UploadRequest } from "../delivery-types.ts";

export interface Slice {
  bytes: Uint8Array;
  /** How many of them are the body's. */
  bodySize: number;
}

export interface HeadOptions {
  /** Path and query, or the whole URL for a proxy. */
  target: string;
  /** "host", or "host:port". */
  host: string;
  userAgent: string;
  authorization: string | undefined;
  proxyAuthorization: string | undefined;
  /** Those of the user; they replace ours of the same name. */
  headers: readonly { name: string; value: string }[];
}

/** So that one write says what progress there is, even on a slow line. */
const SLICE_SIZE_MAX = 64 * 1024;
const NO_BYTES = new Uint8Array(0);

/** What all requests on a connection begin with: request line and fields. */
export function formatHeadStart(options: HeadOptions): string {
  const fields: [name: string, value: string | undefined][] = [
    ["Host", options.host],
    ["User-Agent", options.userAgent],
    ["Accept", "text/plain"],
    ["Authorization", options.authorization],
    ["Proxy-Authorization", options.proxyAuthorization],
  ];
  const replaced = new Set(options.headers.map(({ name }) => name.toLowerCase()));
  let head = `POST ${options.target} HTTP/1.1\r\n`;
  for (const [name, value] of fields) {
    if (value !== undefined && !replaced.has(name.toLowerCase())) head += `${name}: ${value}\r\n`;
  }
  for (const { name, value } of options.headers) head += `${name}: ${value}\r\n`;
  return head;
}

/**
 * Slices of a plain body point into its pieces; a chunk is a slice of its own, so that receivers
 * that look at what one read gave them find whole frames there.
 */
export function* requestSlices(headStart: string, request: UploadRequest): Generator<Slice> {
  const { contentType, contentEncoding, pieces, isChunked } = request;
  const size = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const encoding = contentEncoding === undefined ? "" : `Content-Encoding: ${contentEncoding}\r\n`;
  const framing = isChunked ? "Transfer-Encoding: chunked" : `Content-Length: ${size}`;
  const head = `${headStart}Content-Type: ${contentType}\r\n${encoding}${framing}\r\n\r\n`;
  const headBytes = Buffer.from(head, "latin1");
  if (isChunked) yield* chunkSlices(headBytes, pieces);
  else yield* plainSlices(headBytes, pieces);
}

function* plainSlices(head: Uint8Array, pieces: readonly Uint8Array[]): Generator<Slice> {
  let before = head;
  for (const piece of pieces) {
    for (let start = 0; start < piece.length; start += SLICE_SIZE_MAX) {
      const part = piece.subarray(start, start + SLICE_SIZE_MAX);
      // One copy, so that a small request is one packet.
      const bytes = before.length === 0 ? part : Buffer.concat([before, part]);
      yield { bytes, bodySize: part.length };
      before = NO_BYTES;
    }
  }
  if (before.length > 0) yield { bytes: before, bodySize: 0 };
}

function* chunkSlices(head: Uint8Array, pieces: readonly Uint8Array[]): Generator<Slice> {
  yield { bytes: head, bodySize: 0 };
  for (const piece of pieces) {
    // A chunk without bytes would end the body.
    if (piece.length === 0) continue;
    const size = Buffer.from(`${piece.length.toString(16)}\r\n`, "latin1");
    yield { bytes: Buffer.concat([size, piece, CRLF]), bodySize: piece.length };
  }
  yield { bytes: LAST_CHUNK, bodySize: 0 };
}

const CRLF = Buffer.from("\r\n", "latin1");
const LAST_CHUNK = Buffer.from("0\r\n\r\n", "latin1");
