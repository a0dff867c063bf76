/**
 * LZMA, encoding: literals, matches and repeated distances, chosen greedily with one byte of
 * foresight. For receivers that take nothing better; an optimal parser would gain some percent.
 * https://www.7-zip.org/sdk.html, "LZMA specification"
 */
import {
  ALIGN_BITS,
  LENGTH_STATE_COUNT,
  LITERAL_MODELS,
  LITERAL_STATE_COUNT,
  MATCH_LENGTH_MIN,
  MODELLED_SLOT_END,
  SLOT_BITS,
  STATE_COUNT,
} from "./format.ts";
import { commonLength, FOUND_LENGTH_MIN, MATCH_LENGTH_MAX, MatchFinder } from "./match-finder.ts";
import { makeProbabilities, RangeEncoder } from "./range-encoder.ts";

const LITERAL_CONTEXT_BITS = 3;
const POSITION_BITS = 2;
/** The byte that tells a decoder lc, lp = 0 and pb. */
export const LZMA_PROPERTIES = POSITION_BITS * 5 * 9 + LITERAL_CONTEXT_BITS;

const POSITIONS = 1 << POSITION_BITS;
/** Slots below this are distances. */
const SLOT_FOOTER_START = 4;
/** A match of a repeated distance is cheaper by about so many bytes. */
const REPEAT_BONUS = 2;

export class LzmaEncoder {
  readonly #source: Uint8Array;
  readonly #finder: MatchFinder;
  readonly #range: RangeEncoder;
  #models = makeModels();
  #state = 0;
  /** The last four distances, the latest first. */
  readonly #repeats = [1, 1, 1, 1];

  /** @param sizeMax bytes that a call of `encode()` may yield. */
  constructor(source: Uint8Array, depthMax: number, distanceMax: number, sizeMax: number) {
    this.#source = source;
    this.#finder = new MatchFinder(source, depthMax, distanceMax);
    this.#range = new RangeEncoder(sizeMax);
  }

  /** Forgets probabilities and distances, as a decoder is told to. */
  resetState(): void {
    this.#models = makeModels();
    this.#state = 0;
    this.#repeats.fill(1);
  }

  /**
   * Encodes a part of the source; parts must follow one another.
   * @returns its bytes, valid until the next call; undefined if they are more than `sizeMax`.
   */
  encode(start: number, end: number): Uint8Array | undefined {
    this.#range.reset();
    let index = start;
    while (index < end) index += this.#encodeNext(index, end);
    const bytes = this.#range.finish();
    return this.#range.size > this.#range.output.length ? undefined : bytes;
  }

  /** Returns how many bytes were encoded. */
  #encodeNext(index: number, end: number): number {
    const repeat = this.#bestRepeat(index, end);
    this.#finder.find(index, end);
    const { length, distance } = this.#finder;
    if (repeat.length >= MATCH_LENGTH_MIN && repeat.length + REPEAT_BONUS >= length) {
      this.#repeatedMatch(index, repeat.slot, repeat.length);
      return repeat.length;
    }
    if (length < FOUND_LENGTH_MIN || this.#isNextBetter(index, end, length)) {
      this.#literal(index);
      return 1;
    }
    this.#match(index, distance, length);
    return length;
  }

  /** A literal now may make a longer match possible. */
  #isNextBetter(index: number, end: number, length: number): boolean {
    if (length >= MATCH_LENGTH_MAX || index + 1 >= end) return false;
    this.#finder.find(index + 1, end);
    return this.#finder.length > length;
  }

  #bestRepeat(index: number, end: number): { slot: number; length: number } {
    const best = { slot: 0, length: 0 };
    const lengthMax = Math.min(MATCH_LENGTH_MAX, end - index);
    for (let slot = 0; slot < 4; slot++) {
      const candidate = index - (this.#repeats[slot] ?? 1);
      if (candidate < 0) continue;
      const length = commonLength(this.#source, candidate, index, lengthMax);
      if (length > best.length) {
        best.slot = slot;
        best.length = length;
      }
    }
    return best;
  }

  #literal(index: number): void {
    const { isMatch, literal } = this.#models;
    const state = this.#state;
    this.#range.bit(isMatch, state * POSITIONS + (index & (POSITIONS - 1)), 0);
    const before = index === 0 ? 0 : (this.#source[index - 1] ?? 0);
    const base = LITERAL_MODELS * (before >> (8 - LITERAL_CONTEXT_BITS));
    const byte = this.#source[index] ?? 0;
    if (state < LITERAL_STATE_COUNT) {
      this.#range.tree(literal, base, 8, byte);
    } else {
      this.#literalAfterMatch(base, byte, this.#source[index - (this.#repeats[0] ?? 1)] ?? 0);
    }
    this.#state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
  }

  /** The byte that the last distance points to is not the one: probabilities depend on its bits up to the first difference. */
  #literalAfterMatch(base: number, byte: number, matchByte: number): void {
    let offset = 0x100;
    let node = 1;
    let expected = matchByte;
    for (let shift = 7; shift >= 0; shift--) {
      expected <<= 1;
      const expectedBit = expected & offset;
      const bit = (byte >>> shift) & 1;
      this.#range.bit(this.#models.literal, base + offset + expectedBit + node, bit);
      node = (node << 1) | bit;
      offset &= bit === 1 ? expectedBit : ~expectedBit;
    }
  }

  #match(index: number, distance: number, length: number): void {
    const { isMatch, isRepeat, matchLength } = this.#models;
    const position = index & (POSITIONS - 1);
    this.#range.bit(isMatch, this.#state * POSITIONS + position, 1);
    this.#range.bit(isRepeat, this.#state, 0);
    this.#length(matchLength, position, length);
    this.#distance(distance - 1, length);
    this.#repeats.unshift(distance);
    this.#repeats.length = 4;
    this.#state = this.#state < LITERAL_STATE_COUNT ? 7 : 10;
  }

  #repeatedMatch(index: number, slot: number, length: number): void {
    const { isMatch, isRepeat, isRepeat0, isRepeat1, isRepeat2, isRepeat0Long } = this.#models;
    const position = index & (POSITIONS - 1);
    const state = this.#state;
    this.#range.bit(isMatch, state * POSITIONS + position, 1);
    this.#range.bit(isRepeat, state, 1);
    this.#range.bit(isRepeat0, state, slot === 0 ? 0 : 1);
    if (slot === 0) {
      this.#range.bit(isRepeat0Long, state * POSITIONS + position, 1);
    } else {
      this.#range.bit(isRepeat1, state, slot === 1 ? 0 : 1);
      if (slot > 1) this.#range.bit(isRepeat2, state, slot - 2);
      const [distance = 1] = this.#repeats.splice(slot, 1);
      this.#repeats.unshift(distance);
    }
    this.#length(this.#models.repeatLength, position, length);
    this.#state = state < LITERAL_STATE_COUNT ? 8 : 11;
  }

  /** 8 lengths in three bits, 8 more in three, the other 256 in eight. */
  #length(model: LengthModel, position: number, length: number): void {
    const value = length - MATCH_LENGTH_MIN;
    this.#range.bit(model.choice, 0, value < 8 ? 0 : 1);
    if (value < 8) {
      this.#range.tree(model.low, position * 8, 3, value);
      return;
    }
    this.#range.bit(model.choice, 1, value < 16 ? 0 : 1);
    if (value < 16) this.#range.tree(model.middle, position * 8, 3, value - 8);
    else this.#range.tree(model.high, 0, 8, value - 16);
  }

  /** A slot says how many bits there are and the two highest; the rest follows. */
  #distance(distance: number, length: number): void {
    const { slots, footers, align } = this.#models;
    const lengthState = Math.min(length - MATCH_LENGTH_MIN, LENGTH_STATE_COUNT - 1);
    const highest = 31 - Math.clz32(distance);
    const slot = distance < 4 ? distance : 2 * highest + ((distance >>> (highest - 1)) & 1);
    this.#range.tree(slots, lengthState << SLOT_BITS, SLOT_BITS, slot);
    if (slot < SLOT_FOOTER_START) return;
    const bits = (slot >> 1) - 1;
    const rest = distance - ((2 | (slot & 1)) << bits);
    if (slot < MODELLED_SLOT_END) {
      this.#range.reverseTree(footers, slot * 64, bits, rest);
      return;
    }
    this.#range.directBits(rest >>> ALIGN_BITS, bits - ALIGN_BITS);
    this.#range.reverseTree(align, 0, ALIGN_BITS, rest & ((1 << ALIGN_BITS) - 1));
  }
}

interface LengthModel {
  choice: Uint16Array;
  low: Uint16Array;
  middle: Uint16Array;
  high: Uint16Array;
}

interface Models {
  isMatch: Uint16Array;
  isRepeat: Uint16Array;
  isRepeat0: Uint16Array;
  isRepeat1: Uint16Array;
  isRepeat2: Uint16Array;
  isRepeat0Long: Uint16Array;
  literal: Uint16Array;
  matchLength: LengthModel;
  repeatLength: LengthModel;
  slots: Uint16Array;
  footers: Uint16Array;
  align: Uint16Array;
}

/** Tables are wider than they need to be, so that an index is a product. */
function makeModels(): Models {
  return {
    isMatch: makeProbabilities(STATE_COUNT * POSITIONS),
    isRepeat: makeProbabilities(STATE_COUNT),
    isRepeat0: makeProbabilities(STATE_COUNT),
    isRepeat1: makeProbabilities(STATE_COUNT),
    isRepeat2: makeProbabilities(STATE_COUNT),
    isRepeat0Long: makeProbabilities(STATE_COUNT * POSITIONS),
    literal: makeProbabilities(LITERAL_MODELS << LITERAL_CONTEXT_BITS),
    matchLength: makeLengthModel(),
    repeatLength: makeLengthModel(),
    slots: makeProbabilities(LENGTH_STATE_COUNT << SLOT_BITS),
    footers: makeProbabilities(MODELLED_SLOT_END * 64),
    align: makeProbabilities(1 << ALIGN_BITS),
  };
}

function makeLengthModel(): LengthModel {
  return {
    choice: makeProbabilities(2),
    low: makeProbabilities(POSITIONS * 8),
    middle: makeProbabilities(POSITIONS * 8),
    high: makeProbabilities(256),
  };
}
