/**
 * Encodes LZ4 blocks: the fast, greedy way with one hash table.
 * https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md
 */
import { LZ4_OFFSET_MAX } from "./lz4-block.ts";
import { viewOf } from "./view.ts";

const MATCH_LENGTH_MIN = 4;
/** A block's last bytes are literals, and its last match begins this far before its end. */
const LAST_LITERALS = 5;
const LAST_MATCH_DISTANCE = 12;
const HASH_BITS = 14;
/** After so many misses (1 << this) the search takes longer steps: poorly compressible data is left fast. */
const SKIP_SHIFT = 6;

/** Index + 1 of the last place with a hash; made anew for each block by `fill(0)`. */
const scratchTable = new Int32Array(1 << HASH_BITS);

/** Never fails; what does not compress grows by less than one percent. */
export function encodeLz4Block(source: Uint8Array): Uint8Array {
  const output = new Uint8Array(source.length + Math.ceil(source.length / 255) + 16);
  const table = scratchTable.fill(0);
  const view = viewOf(source);
  const lastMatch = source.length - LAST_MATCH_DISTANCE;
  const matchEndMax = source.length - LAST_LITERALS;
  let size = 0;
  let anchor = 0;
  let index = 0;
  let misses = 1 << SKIP_SHIFT;
  while (index <= lastMatch) {
    const word = view.getInt32(index, true);
    const hash = Math.imul(word, 0x9e3779b1) >>> (32 - HASH_BITS);
    const candidate = table[hash]! - 1;
    table[hash] = index + 1;
    const isMatch =
      candidate >= 0 &&
      index - candidate <= LZ4_OFFSET_MAX &&
      view.getInt32(candidate, true) === word;
    if (!isMatch) {
      index += misses++ >> SKIP_SHIFT;
      continue;
    }
    const end = matchEnd(source, candidate + MATCH_LENGTH_MIN, index, matchEndMax);
    size = writeSequence(output, size, source, anchor, index, index - candidate, end - index);
    index = end;
    anchor = end;
    misses = 1 << SKIP_SHIFT;
  }
  size = writeSequence(output, size, source, anchor, source.length, 0, 0);
  return output.subarray(0, size);
}

function matchEnd(source: Uint8Array, from: number, start: number, endMax: number): number {
  let candidate = from;
  let end = start + MATCH_LENGTH_MIN;
  while (end < endMax && source[end] === source[candidate]) {
    end++;
    candidate++;
  }
  return end;
}

/** Literals and the match behind them; `offset` 0 = the end of the block, which has no match. Returns the new size. */
function writeSequence(
  output: Uint8Array,
  at: number,
  source: Uint8Array,
  literalStart: number,
  literalEnd: number,
  offset: number,
  matchLength: number,
): number {
  const literals = literalEnd - literalStart;
  const extraMatch = matchLength - MATCH_LENGTH_MIN;
  let size = at + 1;
  output[at] = (Math.min(literals, 15) << 4) | (offset === 0 ? 0 : Math.min(extraMatch, 15));
  if (literals >= 15) size = writeLength(output, size, literals - 15);
  output.set(source.subarray(literalStart, literalEnd), size);
  size += literals;
  if (offset === 0) return size;
  output[size++] = offset & 0xff;
  output[size++] = offset >> 8;
  return extraMatch >= 15 ? writeLength(output, size, extraMatch - 15) : size;
}

function writeLength(output: Uint8Array, at: number, length: number): number {
  let size = at;
  let left = length;
  for (; left >= 255; left -= 255) output[size++] = 255;
  output[size++] = left;
  return size;
}
