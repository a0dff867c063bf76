/** Texts for refused entries. They show what the sender wrote, so everything is escaped and cut. */
import { FIELD_NAME_SIZE_MAX } from "../journal/field-name.ts";

/** Bytes of a bad value that are shown. */
const SHOWN_BYTES_MAX = 64;

/** The beginning of bytes[start .. end) as a JSON string in ASCII. */
export function quoteBytes(bytes: Uint8Array, start: number, end: number): string {
  let text = "";
  for (let i = start; i < end && i < start + SHOWN_BYTES_MAX; i++) {
    const byte = bytes[i]!;
    const isPlain = byte >= 0x20 && byte < 0x7f;
    if (byte === 0x22 || byte === 0x5c) text += `\\${String.fromCharCode(byte)}`;
    else text += isPlain ? String.fromCharCode(byte) : `\\u00${hexByte(byte)}`;
  }
  return end - start > SHOWN_BYTES_MAX ? `"${text}…"` : `"${text}"`;
}

export function describeByte(byte: number): string {
  return `byte 0x${hexByte(byte)}`;
}

/** @param nameEnd offset of the byte that ended the name. */
export function describeBadName(bytes: Uint8Array, start: number, nameEnd: number): string {
  if (nameEnd - start > FIELD_NAME_SIZE_MAX) {
    const shown = quoteBytes(bytes, start, start + FIELD_NAME_SIZE_MAX);
    return `field name goes on after ${shown}, need at most ${FIELD_NAME_SIZE_MAX} bytes`;
  }
  const shown = quoteBytes(bytes, start, nameEnd);
  const found = `${describeByte(bytes[nameEnd]!)} after ${shown}`;
  return `field name has ${found}, need only A-Z, 0-9 and "_", and no digit first`;
}

function hexByte(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}
