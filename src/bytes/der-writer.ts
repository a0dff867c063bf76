/** Encoding DER (ITU-T X.690), as far as revocation lists and encrypted keys (PKCS #8) take it. */
import { DerTag } from "./der.ts";

/** RFC 5280 4.1.2.5: UTCTime has two digits for the year, up to 2049. */
const UTC_TIME_END_MS = Date.UTC(2050, 0, 1);

/** One element of definite length around these contents. */
export function encodeElement(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const length = contents.reduce((sum, content) => sum + content.length, 0);
  return Buffer.concat([Buffer.from([tag, ...lengthBytes(length)]), ...contents]);
}

export function encodeSequence(...contents: readonly Uint8Array[]): Buffer {
  return encodeElement(DerTag.sequence, ...contents);
}

/** @param bytes of an unsigned number, most significant first, however many leading zeros it has. */
export function encodeInteger(bytes: Uint8Array): Buffer {
  const first = bytes.findIndex((byte) => byte !== 0);
  const digits = first < 0 ? new Uint8Array(1) : bytes.subarray(first);
  const isNegativeLooking = (digits[0] ?? 0) >= 0x80;
  return encodeElement(DerTag.integer, isNegativeLooking ? Buffer.from([0]) : EMPTY, digits);
}

/** @param value an unsigned whole number */
export function encodeNumber(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return encodeInteger(bytes);
}

export function encodeOctets(...contents: readonly Uint8Array[]): Buffer {
  return encodeElement(DerTag.octetString, ...contents);
}

/** @param text "1.2.840.10045.4.3.2" */
export function encodeObjectId(text: string): Buffer {
  const [first = 0, second = 0, ...others] = text.split(".").map(Number);
  const bytes = [first * 40 + second, ...others].flatMap((arc) => base128(arc));
  return encodeElement(DerTag.objectId, Buffer.from(bytes));
}

/** Whole seconds, in the form that RFC 5280 asks for at that date. */
export function encodeTime(timeMs: number): Buffer {
  const digits = new Date(timeMs).toISOString().replace(/\.\d+|[-:T]/g, "");
  return timeMs < UTC_TIME_END_MS
    ? encodeElement(DerTag.utcTime, Buffer.from(digits.slice(2)))
    : encodeElement(DerTag.generalizedTime, Buffer.from(digits));
}

const EMPTY = new Uint8Array(0);

function lengthBytes(length: number): number[] {
  if (length < 0x80) return [length];
  const bytes: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return [0x80 | bytes.length, ...bytes];
}

/** Seven bits a byte, the last one without the top bit. */
function base128(arc: number): number[] {
  const bytes = [arc % 128];
  for (let rest = Math.floor(arc / 128); rest > 0; rest = Math.floor(rest / 128)) {
    bytes.unshift(0x80 | (rest % 128));
  }
  return bytes;
}
