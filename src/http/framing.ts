/** What requests and responses of HTTP/1.1 have in common (RFC 9112): field lines and chunk lines. */

export interface Field {
  /** In lower case. */
  name: string;
  /** Without surrounding blanks. */
  value: string;
}

const FIELD_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
/** Of a line with a chunk's size and its extensions. */
export const CHUNK_LINE_SIZE_MAX = 4096;

/** 13 hexadecimal digits stay below 2^53. Nobody uses the extensions. */
const CHUNK_LINE = /^([0-9A-Fa-f]{1,13})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?$/;

/** @param line latin1, without its CRLF. Undefined if it is no field line. */
export function parseField(line: string): Field | undefined {
  const colon = line.indexOf(":");
  if (colon === -1) return undefined;
  const name = line.slice(0, colon);
  const value = line.slice(colon + 1);
  if (!(FIELD_NAME.test(name) && FIELD_VALUE.test(value))) return undefined;
  return { name: name.toLowerCase(), value: trimBlanks(value) };
}

/** The size of a chunk; undefined if the line does not begin one. */
export function parseChunkLine(line: string): number | undefined {
  const size = CHUNK_LINE.exec(line)?.[1];
  return size === undefined ? undefined : Number.parseInt(size, 16);
}

/** By hand: a pattern for this takes quadratic time on a long run of blanks. */
function trimBlanks(value: string): string {
  let start = 0;
  let end = value.length;
  while (start < end && isBlank(value.charCodeAt(start))) start++;
  while (end > start && isBlank(value.charCodeAt(end - 1))) end--;
  return value.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}
