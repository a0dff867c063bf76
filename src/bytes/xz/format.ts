/**
 * What the xz format fixes for both directions. https://tukaani.org/xz/xz-file-format.txt (section numbers below),
 * https://www.7-zip.org/sdk.html, "LZMA specification"
 */

/** Beginning of a stream header, and end of a stream footer (2.1). */
export const STREAM_MAGIC: readonly number[] = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00];
export const FOOTER_MAGIC: readonly number[] = [0x59, 0x5a];
export const LZMA2_FILTER_ID = 0x21;

/** Control byte of an LZMA2 chunk (5.3.1): end of data, plain bytes, or (from 0x80 on) compressed bytes. */
export const CONTROL_END = 0;
export const CONTROL_PLAIN_RESET_DICTIONARY = 1;
export const CONTROL_PLAIN = 2;
export const CONTROL_LZMA = 0x80;

/** What bits 5 and 6 of a compressed chunk's control byte reset; each includes those before. */
export const RESET_SHIFT = 5;
export const RESET_NOTHING = 0;
export const RESET_STATE = 1;
export const RESET_PROPERTIES = 2;
export const RESET_DICTIONARY = 3;

/** Bits of a probability; they start at one half and move by 1/32 of the distance. */
export const PROBABILITY_BITS = 11;
export const MOVE_BITS = 5;

export const STATE_COUNT = 12;
/** States below this: the last symbol was a literal. */
export const LITERAL_STATE_COUNT = 7;
/** Models of one literal context: 256 plain, 512 for a literal after a match. */
export const LITERAL_MODELS = 0x300;
export const MATCH_LENGTH_MIN = 2;
/** Distances have models of their own for each of these match lengths, and others for the longer. */
export const LENGTH_STATE_COUNT = 4;
export const SLOT_BITS = 6;
/** Slots from here on are coded partly with fixed probabilities, but for the last bits. */
export const MODELLED_SLOT_END = 14;
export const ALIGN_BITS = 4;

/** LZMA2 filter properties (5.3.1): 2 or 3 times a power of 2. Undefined = there is no such code. */
export function dictionarySizeOf(code: number): number | undefined {
  if (code > 40) return undefined;
  if (code === 40) return 2 ** 32 - 1;
  return (2 | (code & 1)) * 2 ** (Math.floor(code / 2) + 11);
}
