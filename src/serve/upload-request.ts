/**
 * The rules of POST /upload: what is asked of a request, in systemd-journal-remote's order and with
 * its statuses and texts (see remote-upload.md 1.5), and how answers look on the wire.
 *
 * Differences from stock, all towards telling the sender more: it gets a status where stock just
 * closes the connection (errors in mid-body, unknown Content-Encoding), and hears what is wrong with
 * its certificate; `//upload`, which stock's own uploader sends for a URL that ends in "/", is
 * accepted; so are a Content-Type in other case and with parameters; and an HTTP/1.0 body without a
 * length is refused, where stock answers 202 and drops it.
 */
import { BATCH_CONTENT_TYPE } from "../batch-format/format.ts";
import { AgentError } from "../errors.ts";
import type { BodyFraming, RequestHead } from "./http1.ts";
import type { EntryFormat, IngestCounts } from "./ingest-types.ts";
import { WIRE_ENCODINGS, type WireEncoding } from "./settings.ts";

export interface Reply {
  status: number;
  /** One line, sent with "\n". */
  text: string;
  /** Further header lines without CRLF. */
  headers?: readonly string[];
  /** Whether the connection ends with this answer. */
  close: boolean;
}

/** A refusal, and the reason under which it is counted. */
export interface Refusal {
  reply: Reply;
  reason: string;
}

/** What a request that passed the checks is. */
export interface UploadRequest {
  framing: BodyFraming;
  format: EntryFormat;
  /** In lower case; undefined = plain, else perhaps one nobody decodes: `checkEncoding()`. */
  encoding: string | undefined;
  expectsContinue: boolean;
  /** The client will use the connection again. */
  keepAlive: boolean;
}

const CONTENT_TYPE = "application/vnd.fdo.journal";
const FORMAT_BY_TYPE: ReadonlyMap<string, EntryFormat> = new Map([
  [CONTENT_TYPE, "export"],
  [BATCH_CONTENT_TYPE, "batch"],
]);
/** Tells our uploader that it may send batches; no other program looks at it. */
const ACCEPT_POST = `Accept-Post: ${[...FORMAT_BY_TYPE.keys()].join(", ")}`;
const RETRY_AFTER = "Retry-After: 30";
/** Values stock's announcement gives its algorithms, evenly spaced; ours have fixed places. */
const ENCODING_WEIGHT: Record<WireEncoding, string> = {
  zstd: "1.0",
  xz: "0.8",
  lz4: "0.6",
  gzip: "0.4",
};

/** The checks that need the head alone; those of the peer's identity come after them. */
export function checkRequest(head: RequestHead, bodySizeMax: number): UploadRequest | Refusal {
  if (head.method !== "POST") return refusal("request-method", 406, "Unsupported method.");
  if (!isUploadPath(head.target)) return refusal("request-path", 404, "Not found.");
  const format = formatOf(head.headers.get("content-type"));
  if (format === undefined) {
    const text = `Content-Type: ${CONTENT_TYPE} is required.`;
    return refusal("request-content-type", 415, text);
  }
  const framing = checkFraming(head, bodySizeMax);
  if ("reply" in framing) return framing;
  const encoding = head.headers.get("content-encoding")?.join(", ").toLowerCase() ?? "";
  const isModern = head.minorVersion > 0;
  return {
    framing,
    format,
    encoding: encoding === "" || encoding === "identity" ? undefined : encoding,
    expectsContinue: expectsContinue(head),
    keepAlive: isModern && !hasToken(head, "connection", "close"),
  };
}

/** The last check: encodings are looked at only for peers who may send at all. */
export function checkEncoding(encoding: string | undefined): Refusal | undefined {
  if (encoding === undefined || WIRE_ENCODINGS.some((known) => known === encoding))
    return undefined;
  const text = `Unsupported Content-Encoding type: ${printable(encoding)}`;
  return refusal("request-content-encoding", 415, text, acceptEncoding(WIRE_ENCODINGS));
}

/** Refusals that a peer's identity leads to; the texts are stock's where it has them. */
export const PEER_REFUSALS = {
  plaintext: refusal("peer-plaintext", 403, "Encrypted connection is required"),
  noCertificate: refusal(
    "peer-no-certificate",
    401,
    "Authorization through certificate is required",
  ),
  nameless: refusal(
    "peer-nameless",
    401,
    "Failed to determine distinguished name from certificate",
  ),
  notAllowed: refusal("peer-not-allowed", 403, "This certificate is not allowed to send here"),
} as const;

/** By code of the TLS library. Stock has one text for all, which sends the operator of a revoked host the wrong way. */
const CERTIFICATE_TROUBLE: Partial<Record<string, string>> = {
  CERT_REVOKED: "Client certificate is revoked",
  CERT_HAS_EXPIRED: "Client certificate has expired",
  CERT_NOT_YET_VALID: "Client certificate is not valid yet",
  INVALID_PURPOSE: "Client certificate is not meant for clients",
  UNABLE_TO_GET_CRL: "Receiver has no revocation list of the client certificate's authority",
  CRL_NOT_YET_VALID: "Receiver's revocation list is not valid yet",
  CRL_HAS_EXPIRED: "Receiver's revocation list is out of date",
};

/** @param code of the TLS library: "CERT_HAS_EXPIRED", "CERT_REVOKED". */
export function untrustedCertificate(code: string): Refusal {
  const reason = `peer-certificate-${code.toLowerCase().replaceAll("_", "-")}`;
  const text = CERTIFICATE_TROUBLE[code] ?? "Client certificate not signed by recognized authority";
  return refusal(reason, 401, text);
}

/** Too many connections: of everybody (503), or of this sender (429). */
export function overloaded(scope: "all" | "peer"): Refusal {
  if (scope === "all") return refusal("connections-max", 503, "Too many connections.", RETRY_AFTER);
  const text = "Too many connections from this sender.";
  return refusal("connections-per-peer-max", 429, text, RETRY_AFTER);
}

export function shuttingDown(): Refusal {
  return refusal("shutting-down", 503, "Shutting down.", RETRY_AFTER);
}

/**
 * The answer to a body that could not be stored. What the disk says stays in our log: a sender
 * learns whether to come again, not what our paths are.
 */
export function storageRefusal(error: unknown): Refusal {
  const code = error instanceof AgentError ? error.code : undefined;
  switch (code) {
    case "E_NO_SPACE":
      return refusal("store-no-space", 503, "No space left on device.", RETRY_AFTER);
    case "E_BUSY":
      return refusal("in-flight-max", 503, "Too many bytes in flight.", RETRY_AFTER);
    case "E_LIMIT":
      return refusal("store-limit", 413, "Payload too large.");
    case "E_EXPORT_SYNTAX":
      return refusal("body-encoding", 400, "Decompression of received blob failed.");
    case "E_IO":
      return refusal("store-io", 500, "Input/output error.");
    default:
      return refusal("internal-error", 500, "Internal error.");
  }
}

/**
 * Everything of the request is on disk. Of how many entries it holds for new is said too: whoever sends an entry once more
 * hears whether it is stored.
 */
export function accepted(
  request: Pick<UploadRequest, "keepAlive">,
  { stored, duplicates }: Pick<IngestCounts, "stored" | "duplicates">,
  announcement: string | undefined,
): Reply {
  const headers = [ACCEPT_POST, `Journal-Entries: stored=${stored}, duplicates=${duplicates}`];
  if (announcement !== undefined) headers.push(announcement);
  return { status: 202, text: "OK.", headers, close: !request.keepAlive };
}

/** The body ended inside an entry; whole entries are stored. */
export function prematureEnd(
  request: Pick<UploadRequest, "keepAlive">,
  trailingBytes: number,
): Reply {
  const text = `Premature EOF. ${trailingBytes} bytes of trailing data not processed.`;
  return { status: 417, text, close: !request.keepAlive };
}

/**
 * The Accept-Encoding line a 202 to this client carries, if any.
 *
 * systemd-journal-upload 258 to 262 compresses as soon as it sees one, and dies in a loop on the
 * first field that does not shrink: the compressed block has to fit the buffer of the raw one
 * ("Failed to compress ... No buffer space available"; remote-upload.md 2.8, P2). Later versions
 * have not been seen to be cured. So that program is told of no encoding whatever the settings
 * announce; it still may compress on its own (`ForceCompression=`), and is understood.
 */
export function announcementFor(
  head: RequestHead,
  encodings: readonly WireEncoding[],
): string | undefined {
  const agent = head.headers.get("user-agent")?.[0] ?? "";
  if (encodings.length === 0 || /^systemd-journal-upload\b/i.test(agent)) return undefined;
  return acceptEncoding(encodings);
}

/** The bytes of an answer; HEAD gets no body. */
export function formatReply(reply: Reply, isHead: boolean, nowMs: number): Buffer {
  const body = `${reply.text}\n`;
  const lines = [
    `HTTP/1.1 ${reply.status} ${REASON_PHRASE[reply.status] ?? "Status"}`,
    `Date: ${new Date(nowMs).toUTCString()}`,
    "Content-Type: text/plain",
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...(reply.headers ?? []),
    ...(reply.close ? ["Connection: close"] : []),
  ];
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n${isHead ? "" : body}`);
}

export const CONTINUE = Buffer.from("HTTP/1.1 100 Continue\r\n\r\n");

const REASON_PHRASE: Record<number, string> = {
  200: "OK",
  202: "Accepted",
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  406: "Not Acceptable",
  408: "Request Timeout",
  411: "Length Required",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  417: "Expectation Failed",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  503: "Service Unavailable",
  505: "HTTP Version Not Supported",
};

export function refusal(
  reason: string,
  status: number,
  text: string,
  ...headers: readonly string[]
): Refusal {
  return { reason, reply: { status, text, headers, close: true } };
}

function isUploadPath(target: string): boolean {
  const path = target.split("?", 1)[0] ?? "";
  try {
    return /^\/+upload$/.test(decodeURIComponent(path));
  } catch {
    return false; // "%" without two hexadecimal digits
  }
}

/** Undefined for anything that is not one type of those taken here. */
function formatOf(values: readonly string[] | undefined): EntryFormat | undefined {
  if (values?.length !== 1) return undefined;
  const type = values[0]?.split(";", 1)[0] ?? "";
  return FORMAT_BY_TYPE.get(type.trimEnd().toLowerCase());
}

/** The client waits for a 100 before it sends the body. */
export function expectsContinue(head: RequestHead): boolean {
  return head.minorVersion > 0 && hasToken(head, "expect", "100-continue");
}

/** Whether a body follows. */
export function hasBody({ framing }: { framing: BodyFraming }): boolean {
  return framing.kind === "chunked" || framing.length > 0;
}

/** How the body is to be read, of no more than so many bytes if its head says how many. */
export function checkFraming(head: RequestHead, bodySizeMax: number): BodyFraming | Refusal {
  const encoding = head.headers.get("transfer-encoding")?.join(", ");
  const length = head.headers.get("content-length")?.[0];
  if (encoding !== undefined) {
    // RFC 9112 6.1: HTTP/1.0 knows no Transfer-Encoding; something between us rewrote the message.
    if (encoding.toLowerCase() !== "chunked" || head.minorVersion === 0) {
      const text = `Unsupported Transfer-Encoding type: ${printable(encoding)}`;
      return refusal("request-transfer-encoding", 400, text);
    }
    if (length === undefined) return { kind: "chunked" };
    const text = "Content-Length not allowed when Transfer-Encoding type is 'chunked'";
    return refusal("request-two-lengths", 400, text);
  }
  if (length === undefined) {
    // RFC 9112 6.3: without either, a 1.1 request has no body; a 1.0 one may have one until EOF.
    if (head.minorVersion > 0) return { kind: "length", length: 0 };
    return refusal("request-length", 411, "Content-Length is required.");
  }
  const value = /^\d+$/.test(length) ? Number(length) : Number.NaN;
  if (!Number.isSafeInteger(value)) {
    const problem = Number.isNaN(value) ? "Invalid argument" : "Numerical result out of range";
    const text = `Content-Length: ${printable(length)} cannot be parsed: ${problem}`;
    return refusal("request-length", 411, text);
  }
  if (value > bodySizeMax) {
    const text = `Payload larger than maximum size of ${bodySizeMax} bytes`;
    return refusal("request-size", 413, text);
  }
  return { kind: "length", length: value };
}

/** No blanks anywhere: stock clients split at "," and do not trim. */
function acceptEncoding(encodings: readonly WireEncoding[]): string {
  const weighted = encodings.map((encoding) => `${encoding};q=${ENCODING_WEIGHT[encoding]}`);
  return `Accept-Encoding: ${weighted.join(",")}`;
}

function hasToken(head: RequestHead, header: string, token: string): boolean {
  const values = head.headers.get(header)?.join(",").toLowerCase().split(",") ?? [];
  return values.some((value) => value.trim() === token);
}

/** A header's value, short and in ASCII, for an answer of one line. */
function printable(value: string): string {
  return value.slice(0, 80).replace(/[^\x20-\x7e]/g, "?");
}
