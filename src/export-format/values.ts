/**
 * Values of the `__` fields and `_BOOT_ID`, read and written as bytes: decimal and hex numbers,
 * 128-bit ids, cursors. HOT: guarded by scripts/bench/parse.ts.
 */
import { ID128_SIZE, isNullId128 } from "../bytes/id128.ts";

const TAB = 0x09;
const CR = 0x0d;
const SPACE = 0x20;
const PLUS = 0x2b;
const DIGIT_0 = 0x30;
const SEMICOLON = 0x3b;
const EQUALS = 0x3d;
const LETTER_I = 0x69;
const LETTER_S = 0x73;
const LETTER_X = 0x78;

const NOT_HEX = 0x80;
/** 0..15 for a hex digit of either case, NOT_HEX for any other byte. */
const HEX_VALUES = makeHexValues();
const HEX_DIGITS = new TextEncoder().encode("0123456789abcdef");

/**
 * The number in bytes[start .. end), as safe_atou64() reads it: blanks and one "+" may come first,
 * "0x" makes it hex. (A leading 0 does not make it octal here; nobody writes octal times.)
 * NaN when it is no number, Infinity when it is above 2^53-1.
 */
export function parseNumber(bytes: Uint8Array, start: number, end: number): number {
  let i = start;
  while (i < end && (bytes[i] === SPACE || bytes[i] === TAB || bytes[i] === CR)) i++;
  if (i < end && bytes[i] === PLUS) i++;
  if (i + 1 < end && bytes[i] === DIGIT_0 && (bytes[i + 1]! | 0x20) === LETTER_X) {
    return parseHex(bytes, i + 2, end);
  }
  if (i >= end) return Number.NaN;
  let value = 0;
  for (; i < end; i++) {
    const digit = bytes[i]! - DIGIT_0;
    if (digit < 0 || digit > 9) return Number.NaN;
    value = value * 10 + digit;
  }
  return value <= Number.MAX_SAFE_INTEGER ? value : Number.POSITIVE_INFINITY;
}

/** The hex digits bytes[start .. end) as a number; NaN and Infinity as {@link parseNumber}. */
function parseHex(bytes: Uint8Array, start: number, end: number): number {
  if (start >= end) return Number.NaN;
  let value = 0;
  for (let i = start; i < end; i++) {
    const digit = HEX_VALUES[bytes[i]!]!;
    if (digit === NOT_HEX) return Number.NaN;
    value = value * 16 + digit;
  }
  return value <= Number.MAX_SAFE_INTEGER ? value : Number.POSITIVE_INFINITY;
}

/**
 * Reads 32 hex digits, or a UUID with its dashes, into `id`.
 * False when bytes[start .. end) is anything else; `id` is then in an undefined state.
 */
export function parseId(bytes: Uint8Array, start: number, end: number, id: Uint8Array): boolean {
  const isDashed = end - start === 36;
  if (end - start !== 32 && !isDashed) return false;
  let index = start;
  let invalid = 0;
  for (let i = 0; i < ID128_SIZE; i++) {
    if (isDashed && (i === 4 || i === 6 || i === 8 || i === 10)) {
      if (bytes[index++] !== 0x2d) return false;
    }
    const high = HEX_VALUES[bytes[index]!]!;
    const low = HEX_VALUES[bytes[index + 1]!]!;
    invalid |= high | low;
    id[i] = (high << 4) | low;
    index += 2;
  }
  return (invalid & NOT_HEX) === 0;
}

/**
 * The identity inside a cursor, `s=<seqnum id>;i=<seqnum, hex>;…` in any order: puts the id into
 * `seqnumId` and returns the number, or 0 when the cursor carries no usable identity.
 */
export function parseCursorIdentity(
  bytes: Uint8Array,
  start: number,
  end: number,
  seqnumId: Uint8Array,
): number {
  let seqnum = 0;
  let hasId = false;
  let index = start;
  while (index < end && !(hasId && seqnum > 0)) {
    let partEnd = index;
    while (partEnd < end && bytes[partEnd] !== SEMICOLON) partEnd++;
    if (partEnd - index > 2 && bytes[index + 1] === EQUALS) {
      const key = bytes[index];
      if (key === LETTER_S) hasId = parseId(bytes, index + 2, partEnd, seqnumId);
      else if (key === LETTER_I) seqnum = parseHex(bytes, index + 2, partEnd);
    }
    index = partEnd + 1;
  }
  return isSeqnum(seqnum) && hasId && !isNullId128(seqnumId) ? seqnum : 0;
}

/** Result of the last {@link parseCursorXorHash}: low and high 32 bits. */
export const cursorXorHash = { low: 0, high: 0 };

/** The hash at the end of a cursor, `…;x=<hex>`, into {@link cursorXorHash}; false when there is none. */
export function parseCursorXorHash(bytes: Uint8Array, start: number, end: number): boolean {
  let low = 0;
  let high = 0;
  let digits = 0;
  let index = end - 1;
  for (; index >= start; index--, digits++) {
    const digit = HEX_VALUES[bytes[index]!]!;
    if ((digit & NOT_HEX) !== 0) break;
    if (digits < 8) low |= digit << (digits * 4);
    else high |= digit << ((digits - 8) * 4);
  }
  const isNamed = index > start && bytes[index] === EQUALS && bytes[index - 1] === LETTER_X;
  if (!isNamed || digits === 0 || digits > 16) return false;
  cursorXorHash.low = low;
  cursorXorHash.high = high;
  return true;
}

/** Whether a parsed number can be a sequence number: 1 .. 2^53-1. */
export function isSeqnum(value: number): boolean {
  return value >= 1 && value <= Number.MAX_SAFE_INTEGER;
}

/** Writes a safe integer in decimal; returns the offset after it. */
export function writeDecimal(target: Uint8Array, offset: number, value: number): number {
  let size = 1;
  for (let limit = 10; value >= limit; limit *= 10) size++;
  let rest = value;
  for (let i = offset + size - 1; i >= offset; i--) {
    const quotient = Math.floor(rest / 10);
    target[i] = DIGIT_0 + (rest - quotient * 10);
    rest = quotient;
  }
  return offset + size;
}

/** Writes a safe integer in lower-case hex; returns the offset after it. */
export function writeHex(target: Uint8Array, offset: number, value: number): number {
  return writeHex64(target, offset, value >>> 0, Math.floor(value / 2 ** 32));
}

/** Writes the 64-bit number of two u32 halves in lower-case hex; returns the offset after it. */
export function writeHex64(target: Uint8Array, offset: number, low: number, high: number): number {
  let index = offset;
  for (let shift = 60; shift >= 0; shift -= 4) {
    const digit = ((shift >= 32 ? high >>> (shift - 32) : low >>> shift) & 0xf) >>> 0;
    if (digit !== 0 || index > offset || shift === 0) target[index++] = HEX_DIGITS[digit]!;
  }
  return index;
}

/** Writes the 32 hex digits of an id; returns the offset after them. */
export function writeId(target: Uint8Array, offset: number, id: Uint8Array): number {
  for (let i = 0; i < ID128_SIZE; i++) {
    target[offset + 2 * i] = HEX_DIGITS[id[i]! >> 4]!;
    target[offset + 2 * i + 1] = HEX_DIGITS[id[i]! & 0xf]!;
  }
  return offset + 2 * ID128_SIZE;
}

function makeHexValues(): Uint8Array {
  const table = new Uint8Array(256).fill(NOT_HEX);
  for (let i = 0; i < 10; i++) table[DIGIT_0 + i] = i;
  for (let i = 0; i < 6; i++) {
    table[0x41 + i] = 10 + i;
    table[0x61 + i] = 10 + i;
  }
  return table;
}
