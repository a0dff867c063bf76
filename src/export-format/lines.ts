/** Scanning a stream's lines. HOT: guarded by scripts/bench/parse.ts. */
import { NAME_BYTES, NameByte } from "../journal/field-name.ts";

const LF = 0x0a;
/** LF in each byte of a word, and masks of all bits but the top one of each byte. */
const LF_WORD = 0x0a0a0a0a;
const LOW_BITS = 0x7f7f7f7f;
/** Lines longer than this many words are left to indexOf(): it starts slower and runs faster. */
const WORDS_MAX = 16;

/**
 * Offset of the first LF in bytes[from ..], which must hold one; four bytes at a time.
 * @param words the same memory as `bytes`, little endian.
 */
export function findLineEnd(bytes: Uint8Array, words: Int32Array, from: number): number {
  let index = from >>> 2;
  const last = index + WORDS_MAX;
  // The bytes of the first word that stand before `from` do not count.
  let found = lineEndsIn(words[index]!) & (-1 << ((from & 3) << 3));
  while (found === 0) {
    if (++index === last) return bytes.indexOf(LF, index * 4);
    found = lineEndsIn(words[index]!);
  }
  return index * 4 + ((31 - Math.clz32(found & -found)) >> 3);
}

/** Offset of the first byte from `start` on that cannot stand in a field name; there must be one. */
export function findNameEnd(bytes: Uint8Array, start: number): number {
  let index = start;
  while (NAME_BYTES[bytes[index]!] !== NameByte.none) index++;
  return index;
}

/** The top bit of each byte that is LF. No carry passes from byte to byte, so it is exact. */
function lineEndsIn(word: number): number {
  const rest = word ^ LF_WORD;
  return ~(((rest & LOW_BITS) + LOW_BITS) | rest | LOW_BITS);
}
