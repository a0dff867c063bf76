/**
 * The LZMA decoder inside LZMA2: range coder, models and dictionary, after the description in
 * https://tukaani.org/xz/xz-file-format.txt 5.3.1 and Igor Pavlov's LZMA specification.
 * Hot: one call of `#bit` for each bit decoded.
 */
import {
  ALIGN_BITS,
  LENGTH_STATE_COUNT,
  LITERAL_MODELS,
  LITERAL_STATE_COUNT,
  MATCH_LENGTH_MIN,
  MODELLED_SLOT_END,
  MOVE_BITS,
  PROBABILITY_BITS,
  SLOT_BITS,
  STATE_COUNT,
} from "./format.ts";

const PROBABILITY_ONE = 1 << PROBABILITY_BITS;
/** Flips the order of signed numbers into that of unsigned ones; 32-bit signed is what is fast. */
const SIGN = 0x80000000 | 0;

const POSITION_STATES_MAX = 16;
/** lc + lp of LZMA2 is at most 4. */
const LITERAL_CONTEXTS_MAX = 16;

/** A length model: two choices, 8 low and 8 middle ones by position, 256 high ones. */
const LENGTH = {
  choice: 0,
  choice2: 1,
  low: 2,
  middle: 2 + POSITION_STATES_MAX * 8,
  high: 2 + 2 * POSITION_STATES_MAX * 8,
  size: 2 + 2 * POSITION_STATES_MAX * 8 + 256,
} as const;

/** Where each model lies in the one table of probabilities. */
const IS_MATCH = 0;
const IS_REP = IS_MATCH + STATE_COUNT * POSITION_STATES_MAX;
const IS_REP0 = IS_REP + STATE_COUNT;
const IS_REP1 = IS_REP0 + STATE_COUNT;
const IS_REP2 = IS_REP1 + STATE_COUNT;
const IS_REP0_LONG = IS_REP2 + STATE_COUNT;
const SLOT = IS_REP0_LONG + STATE_COUNT * POSITION_STATES_MAX;
const SPECIAL = SLOT + LENGTH_STATE_COUNT * (1 << SLOT_BITS);
const ALIGN = SPECIAL + 128;
const MATCH_LENGTH = ALIGN + (1 << ALIGN_BITS);
const REP_LENGTH = MATCH_LENGTH + LENGTH.size;
const LITERAL = REP_LENGTH + LENGTH.size;
const MODEL_COUNT = LITERAL + LITERAL_CONTEXTS_MAX * LITERAL_MODELS;

const DICTIONARY_CAPACITY_MIN = 64 * 1024;
const RANGE_CODER_INIT_SIZE = 5;

/** Bytes used by the models. */
const LZMA_MODEL_BYTES = 2 * MODEL_COUNT;

export class LzmaDecoder {
  // Dictionary: a ring, once it has grown to its full size.
  readonly #dictionarySize: number;
  #dictionary: Uint8Array;
  #position = 0;
  /** Bytes a match may reach back to. */
  #history = 0;
  /** Bytes decoded since the dictionary was reset, modulo 2^32. */
  #total = 0;

  // Range coder.
  #source: Uint8Array = new Uint8Array(0);
  #at = 0;
  #range = 0;
  #code = 0;

  // Models.
  readonly #models = new Uint16Array(MODEL_COUNT);
  #state = 0;
  #rep0 = 0;
  #rep1 = 0;
  #rep2 = 0;
  #rep3 = 0;
  #literalContextBits = 0;
  #literalPositionMask = 0;
  #positionMask = 0;
  /** Bytes of the last match still to be copied. */
  #matchLeft = 0;

  constructor(dictionarySize: number) {
    this.#dictionarySize = dictionarySize;
    this.#dictionary = new Uint8Array(Math.min(dictionarySize, DICTIONARY_CAPACITY_MIN));
  }

  /** Bytes of memory in use. */
  get heldBytes(): number {
    return this.#dictionary.length + LZMA_MODEL_BYTES;
  }

  resetDictionary(): void {
    this.#position = 0;
    this.#history = 0;
    this.#total = 0;
  }

  /** @param properties (pb * 5 + lp) * 9 + lc. Returns false if they are not valid. */
  setProperties(properties: number): boolean {
    const literalContextBits = properties % 9;
    const literalPositionBits = Math.floor(properties / 9) % 5;
    const positionBits = Math.floor(properties / 45);
    if (positionBits > 4 || literalContextBits + literalPositionBits > 4) return false;
    this.#literalContextBits = literalContextBits;
    this.#literalPositionMask = (1 << literalPositionBits) - 1;
    this.#positionMask = (1 << positionBits) - 1;
    return true;
  }

  resetState(): void {
    this.#models.fill(PROBABILITY_ONE >> 1);
    this.#state = 0;
    this.#rep0 = 0;
    this.#rep1 = 0;
    this.#rep2 = 0;
    this.#rep3 = 0;
  }

  /** Appends plain bytes to the dictionary, as many as there is room for, and returns them. */
  copy(source: Uint8Array): Uint8Array {
    const start = this.#makeRoom();
    const bytes = source.subarray(0, this.#dictionary.length - start);
    this.#dictionary.set(bytes, start);
    this.#advance(bytes.length);
    return this.#dictionary.subarray(start, this.#position);
  }

  /** Begins a chunk of compressed bytes. Returns false if it cannot be one. */
  startChunk(source: Uint8Array): boolean {
    if (source.length < RANGE_CODER_INIT_SIZE || source[0] !== 0) return false;
    this.#source = source;
    this.#code = new DataView(source.buffer, source.byteOffset).getInt32(1);
    this.#range = -1;
    this.#at = RANGE_CODER_INIT_SIZE;
    this.#matchLeft = 0;
    return true;
  }

  /**
   * Decodes up to `count` bytes, as many as there is room for, and returns them: valid until the next
   * call. Undefined if the chunk is corrupt.
   */
  decode(count: number): Uint8Array | undefined {
    const start = this.#makeRoom();
    const end = Math.min(start + count, this.#dictionary.length);
    this.#copyMatch(end);
    while (this.#position < end) {
      const positionState = this.#total & this.#positionMask;
      if (this.#bit(IS_MATCH + this.#state * POSITION_STATES_MAX + positionState) === 0) {
        this.#decodeLiteral();
        continue;
      }
      this.#matchLeft = this.#decodeMatch(positionState);
      // Distances are unsigned.
      if (this.#rep0 >>> 0 >= this.#history) return undefined;
      this.#copyMatch(end);
    }
    return this.#at > this.#source.length ? undefined : this.#dictionary.subarray(start, end);
  }

  /** Ends the chunk. Returns false unless it is used up exactly. */
  endChunk(): boolean {
    this.#normalize();
    return this.#at === this.#source.length && this.#code === 0 && this.#matchLeft === 0;
  }

  /** Wraps around or grows the dictionary when it is full. Returns the position. */
  #makeRoom(): number {
    if (this.#position === this.#dictionary.length) {
      if (this.#position < this.#dictionarySize) {
        const grown = new Uint8Array(Math.min(2 * this.#position, this.#dictionarySize));
        grown.set(this.#dictionary);
        this.#dictionary = grown;
      } else {
        this.#position = 0;
      }
    }
    return this.#position;
  }

  #advance(count: number): void {
    this.#position += count;
    this.#total = (this.#total + count) | 0;
    this.#history = Math.min(this.#history + count, this.#dictionarySize);
  }

  /** The byte `distance` + 1 bytes back. */
  #byteAt(distance: number): number {
    let at = this.#position - distance - 1;
    if (at < 0) at += this.#dictionary.length;
    return this.#dictionary[at] ?? 0;
  }

  #decodeLiteral(): void {
    const previous = this.#history === 0 ? 0 : this.#byteAt(0);
    const context =
      ((this.#total & this.#literalPositionMask) << this.#literalContextBits) |
      (previous >> (8 - this.#literalContextBits));
    const models = LITERAL + LITERAL_MODELS * context;
    let symbol = 1;
    if (this.#state >= LITERAL_STATE_COUNT) {
      // After a match the byte that would have continued it is the one it is not.
      let matched = this.#byteAt(this.#rep0) << 1;
      let offset = 0x100;
      while (symbol < 0x100) {
        const matchedBit = matched & offset;
        matched <<= 1;
        const bit = this.#bit(models + offset + matchedBit + symbol);
        symbol = (symbol << 1) | bit;
        offset &= bit === 0 ? ~matchedBit : matchedBit;
      }
    } else {
      while (symbol < 0x100) symbol = (symbol << 1) | this.#bit(models + symbol);
    }
    this.#dictionary[this.#position] = symbol;
    this.#advance(1);
    if (this.#state < 4) this.#state = 0;
    else this.#state -= this.#state < 10 ? 3 : 6;
  }

  /** Decodes the distance, into #rep0, and the length of a match. */
  #decodeMatch(positionState: number): number {
    const state = this.#state;
    const afterLiteral = state < LITERAL_STATE_COUNT;
    if (this.#bit(IS_REP + state) === 0) {
      this.#rep3 = this.#rep2;
      this.#rep2 = this.#rep1;
      this.#rep1 = this.#rep0;
      this.#state = afterLiteral ? 7 : 10;
      const length = this.#decodeLength(MATCH_LENGTH, positionState);
      this.#rep0 = this.#decodeDistance(length);
      return length;
    }
    if (this.#bit(IS_REP0 + state) === 0) {
      if (this.#bit(IS_REP0_LONG + state * POSITION_STATES_MAX + positionState) === 0) {
        this.#state = afterLiteral ? 9 : 11;
        return 1;
      }
    } else {
      this.#selectOlderDistance();
    }
    this.#state = afterLiteral ? 8 : 11;
    return this.#decodeLength(REP_LENGTH, positionState);
  }

  /** Moves the second, third or fourth last distance to the front. */
  #selectOlderDistance(): void {
    const state = this.#state;
    let distance = this.#rep1;
    if (this.#bit(IS_REP1 + state) === 1) {
      distance = this.#rep2;
      if (this.#bit(IS_REP2 + state) === 1) {
        distance = this.#rep3;
        this.#rep3 = this.#rep2;
      }
      this.#rep2 = this.#rep1;
    }
    this.#rep1 = this.#rep0;
    this.#rep0 = distance;
  }

  #decodeLength(models: number, positionState: number): number {
    if (this.#bit(models + LENGTH.choice) === 0) {
      return MATCH_LENGTH_MIN + this.#tree(models + LENGTH.low + positionState * 8, 3);
    }
    if (this.#bit(models + LENGTH.choice2) === 0) {
      return MATCH_LENGTH_MIN + 8 + this.#tree(models + LENGTH.middle + positionState * 8, 3);
    }
    return MATCH_LENGTH_MIN + 16 + this.#tree(models + LENGTH.high, 8);
  }

  /** A distance less one, as a 32-bit integer. */
  #decodeDistance(length: number): number {
    const lengthState = Math.min(length - MATCH_LENGTH_MIN, LENGTH_STATE_COUNT - 1);
    const slot = this.#tree(SLOT + (lengthState << SLOT_BITS), SLOT_BITS);
    if (slot < 4) return slot;
    const lowBits = (slot >> 1) - 1;
    const high = (2 | (slot & 1)) << lowBits;
    if (slot < MODELLED_SLOT_END) {
      return high + this.#reverseTree(SPECIAL + high - slot - 1, lowBits);
    }
    const middle = this.#directBits(lowBits - ALIGN_BITS) << ALIGN_BITS;
    return (high + middle + this.#reverseTree(ALIGN, ALIGN_BITS)) | 0;
  }

  /** Copies the match from #rep0 until it, or the room up to `end`, is used up. */
  #copyMatch(end: number): void {
    const count = Math.min(this.#matchLeft, end - this.#position);
    const dictionary = this.#dictionary;
    let from = this.#position - this.#rep0 - 1;
    if (from < 0) from += dictionary.length;
    let to = this.#position;
    for (let i = 0; i < count; i++) {
      dictionary[to++] = dictionary[from++] ?? 0;
      if (from === dictionary.length) from = 0;
    }
    this.#matchLeft -= count;
    this.#advance(count);
  }

  /** `bits` bits, highest first, each with a model that depends on those before. */
  #tree(models: number, bits: number): number {
    let symbol = 1;
    for (let i = 0; i < bits; i++) symbol = (symbol << 1) | this.#bit(models + symbol);
    return symbol - (1 << bits);
  }

  /** The same, lowest bit first. */
  #reverseTree(models: number, bits: number): number {
    let node = 1;
    let symbol = 0;
    for (let i = 0; i < bits; i++) {
      const bit = this.#bit(models + node);
      node = (node << 1) | bit;
      symbol |= bit << i;
    }
    return symbol;
  }

  /** `bits` bits of probability one half. */
  #directBits(bits: number): number {
    let value = 0;
    for (let i = 0; i < bits; i++) {
      this.#normalize();
      this.#range >>>= 1;
      this.#code = (this.#code - this.#range) | 0;
      const isZero = this.#code < 0;
      if (isZero) this.#code = (this.#code + this.#range) | 0;
      value = (value << 1) | (isZero ? 0 : 1);
    }
    return value;
  }

  /** One bit by the model at `index`, which learns from it. */
  #bit(index: number): number {
    this.#normalize();
    const probability = this.#models[index] ?? 0;
    const bound = Math.imul(this.#range >>> PROBABILITY_BITS, probability);
    if ((this.#code ^ SIGN) < (bound ^ SIGN)) {
      this.#range = bound;
      this.#models[index] = probability + ((PROBABILITY_ONE - probability) >> MOVE_BITS);
      return 0;
    }
    this.#range = (this.#range - bound) | 0;
    this.#code = (this.#code - bound) | 0;
    this.#models[index] = probability - (probability >> MOVE_BITS);
    return 1;
  }

  /** Reads a byte when the range has become small. Past the end it reads 0, which #at tells. */
  #normalize(): void {
    if ((this.#range & 0xff000000) !== 0) return;
    this.#range <<= 8;
    this.#code = (this.#code << 8) | (this.#source[this.#at++] ?? 0);
  }
}
