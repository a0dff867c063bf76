/**
 * The list of certificates that were issued, as `openssl ca` keeps it and Netdata's script with it: a line each, six
 * fields with tabs between them.
 *
 *   V  YYMMDDHHMMSSZ  (empty)                         serial  unknown  /CN=web1      valid, or expired since
 *   R  YYMMDDHHMMSSZ  YYMMDDHHMMSSZ[,keyCompromise]   serial  unknown  /CN=web1      revoked
 *   E  …                                                                             expired, marked by openssl
 *
 * Dates from 2050 on have four digits for the year.
 */
import { AgentError } from "../errors.ts";
import { isRevocationReason, type RevocationReason } from "./reasons.ts";

export interface IndexEntry {
  status: "V" | "R" | "E";
  expiresMs: number;
  /** Of a revoked one. */
  revokedMs?: number;
  reason?: RevocationReason;
  /** Upper-case hexadecimal digits. */
  serial: string;
  /** Common name of the subject; "" when there is none. */
  name: string;
}

/** @param file for the messages. @throws AgentError E_CERT with the number of a line that is none. */
export function parseIndex(text: string, file: string): IndexEntry[] {
  const entries: IndexEntry[] = [];
  let lineNumber = 0;
  for (const line of text.split("\n")) {
    lineNumber++;
    if (line === "" || line.startsWith("#")) continue;
    const entry = parseLine(line);
    if (entry === undefined) {
      const problem = `line ${lineNumber} is not one of openssl's, need six fields with tabs between`;
      throw new AgentError("E_CERT", `Cannot read index "${file}": ${problem}`);
    }
    entries.push(entry);
  }
  return entries;
}

/** With its line feed. */
export function formatIndexEntry(entry: IndexEntry): string {
  const { status, expiresMs, revokedMs, reason, serial, name } = entry;
  const why = reason === undefined || reason === "unspecified" ? "" : `,${reason}`;
  const revoked = revokedMs === undefined ? "" : `${formatDate(revokedMs)}${why}`;
  return [status, formatDate(expiresMs), revoked, serial, "unknown", `/CN=${name}\n`].join("\t");
}

/** The text with these lines marked as revoked and every other byte as it was. */
export function markRevoked(
  text: string,
  serials: ReadonlySet<string>,
  revocation: { revokedMs: number; reason: RevocationReason },
): string {
  const why = revocation.reason === "unspecified" ? "" : `,${revocation.reason}`;
  const revoked = `${formatDate(revocation.revokedMs)}${why}`;
  return text
    .split("\n")
    .map((line) => {
      const [status, expires, , serial = "", ...others] = line.split("\t");
      if (status !== "V" || !serials.has(serial.toUpperCase())) return line;
      return ["R", expires, revoked, serial, ...others].join("\t");
    })
    .join("\n");
}

/** Whether a line of the index has this serial, and what it says: without reading the others. */
export function findEntry(index: Buffer, serial: string): IndexEntry | undefined {
  const at = index.indexOf(`\t${serial}\t`, 0, "latin1");
  if (at < 0) return undefined;
  const end = index.indexOf(10, at);
  const start = index.lastIndexOf(10, at) + 1;
  const entry = parseLine(index.toString("latin1", start, end < 0 ? index.length : end));
  return entry?.serial === serial ? entry : undefined;
}

/** Of 20 bytes at most, RFC 5280 4.1.2.2. */
const SERIAL = /^[0-9A-Fa-f]{1,40}$/;
const UTC_DATE = /^\d{12}Z$/;
const LONG_DATE = /^\d{14}Z$/;

/** Hot: there are tens of thousands of lines. scripts/bench/certs.ts */
function parseLine(line: string): IndexEntry | undefined {
  const [status = "", expires = "", revoked = "", serial = "", file, ...subject] = line.split("\t");
  const expiresMs = parseDate(expires);
  if ((status !== "V" && status !== "R" && status !== "E") || Number.isNaN(expiresMs)) {
    return undefined;
  }
  if (!SERIAL.test(serial) || file === undefined || subject.length === 0) return undefined;
  const name = commonNameOf(subject.join("\t"));
  const entry: IndexEntry = { status, expiresMs, serial: serial.toUpperCase(), name };
  if (status !== "R") return revoked === "" ? entry : undefined;
  const comma = revoked.indexOf(",");
  const revokedMs = parseDate(comma < 0 ? revoked : revoked.slice(0, comma));
  if (Number.isNaN(revokedMs)) return undefined;
  entry.revokedMs = revokedMs;
  entry.reason = comma < 0 ? "unspecified" : knownReason(revoked.slice(comma + 1).split(",", 1)[0]);
  return entry;
}

/** @param subject "/C=DE/CN=web1" */
function commonNameOf(subject: string): string {
  const start = subject.indexOf("/CN=");
  if (start < 0) return "";
  const end = subject.indexOf("/", start + 1);
  return subject.slice(start + "/CN=".length, end < 0 ? undefined : end);
}

/** openssl has further ones with dates of their own ("keyTime,2026…"): what they mean is that the key is lost. */
function knownReason(text = ""): RevocationReason {
  if (isRevocationReason(text)) return text;
  return text === "CAkeyTime" ? "CACompromise" : "keyCompromise";
}

/** NaN for what is no date. Two digits of a year are as in RFC 5280 4.1.2.5.1. */
function parseDate(text: string): number {
  const isShort = UTC_DATE.test(text);
  if (!isShort && !LONG_DATE.test(text)) return Number.NaN;
  const at = isShort ? 2 : 4;
  const digits = (start: number): number => Number(text.slice(start, start + 2));
  const century = digits(0) < 50 ? 2000 : 1900;
  const year = isShort ? century + digits(0) : Number(text.slice(0, 4));
  const day = Date.UTC(year, digits(at) - 1, digits(at + 2));
  return day + (digits(at + 4) * 3600 + digits(at + 6) * 60 + digits(at + 8)) * 1000;
}

function formatDate(timeMs: number): string {
  const digits = new Date(timeMs).toISOString().replace(/\.\d+/, "").replace(/[-:T]/g, "");
  return timeMs < Date.UTC(2050, 0, 1) ? digits.slice(2) : digits;
}
