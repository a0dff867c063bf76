/** Which values may be written as a line of text. */

const TAB = 0x09;

/**
 * Whether bytes[start .. end) are UTF-8 without control characters other than TAB: what systemd
 * writes as text, all else being binary. Code points that Unicode calls noncharacters do not count
 * as valid (utf8.c: unichar_is_valid()).
 */
export function isPlainText(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; ) {
    const byte = bytes[i]!;
    if (byte < 0x80) {
      if ((byte < 0x20 && byte !== TAB) || byte === 0x7f) return false;
      i++;
    } else {
      const size = sequenceSize(bytes, i, end);
      if (size === 0) return false;
      i += size;
    }
  }
  return true;
}

/** Bytes of the multi-byte character at `index`; 0 when it is malformed or not printable. */
function sequenceSize(bytes: Uint8Array, index: number, end: number): number {
  const first = bytes[index]!;
  const size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || index + size > end) return 0;
  let code = first & (0x7f >> size);
  for (let i = index + 1; i < index + size; i++) {
    const byte = bytes[i]!;
    if ((byte & 0xc0) !== 0x80) return 0;
    code = (code << 6) | (byte & 0x3f);
  }
  if (size === 2) return code >= 0xa0 ? size : 0;
  if (size === 3) return code >= 0x800 && isCharacter(code) ? size : 0;
  return code >= 0x10000 && code <= 0x10ffff && isCharacter(code) ? size : 0;
}

/** Neither a surrogate nor a noncharacter. */
function isCharacter(code: number): boolean {
  const isSurrogate = code >= 0xd800 && code <= 0xdfff;
  const isNoncharacter = (code >= 0xfdd0 && code <= 0xfdef) || (code & 0xfffe) === 0xfffe;
  return !isSurrogate && !isNoncharacter;
}
