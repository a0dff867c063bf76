/**
 * LZMA's range encoder: bits with adaptive probabilities, and bits without.
 * https://www.7-zip.org/sdk.html, "LZMA specification"
 */
import { MOVE_BITS, PROBABILITY_BITS } from "./format.ts";

const PROBABILITY_START = 1 << (PROBABILITY_BITS - 1);
/** Below this, eight more bits of the range are needed. */
const RANGE_MIN = 2 ** 24;

/** Of bits that are as likely 0 as 1 so far. */
export function makeProbabilities(count: number): Uint16Array {
  return new Uint16Array(count).fill(PROBABILITY_START);
}

export class RangeEncoder {
  /** What was written; `size` bytes of it count. */
  readonly output: Uint8Array;
  size = 0;
  /** Of 33 bits: the highest one is a carry. */
  #low = 0;
  #range = 0xffffffff;
  /** The last byte that was made and those 0xff behind it, which a carry may still change. */
  #cache = 0;
  #cacheSize = 1;

  /** @param sizeMax what is written past it is lost, which `size` tells. */
  constructor(sizeMax: number) {
    this.output = new Uint8Array(sizeMax);
  }

  reset(): void {
    this.size = 0;
    this.#low = 0;
    this.#range = 0xffffffff;
    this.#cache = 0;
    this.#cacheSize = 1;
  }

  bit(probabilities: Uint16Array, index: number, bit: number): void {
    const probability = probabilities[index] ?? 0;
    const bound = (this.#range >>> PROBABILITY_BITS) * probability;
    if (bit === 0) {
      this.#range = bound;
      const rest = (1 << PROBABILITY_BITS) - probability;
      probabilities[index] = probability + (rest >> MOVE_BITS);
    } else {
      this.#low += bound;
      this.#range -= bound;
      probabilities[index] = probability - (probability >> MOVE_BITS);
    }
    this.#normalize();
  }

  /** The lowest `count` bits of `value`, the highest of them first. */
  directBits(value: number, count: number): void {
    for (let shift = count - 1; shift >= 0; shift--) {
      this.#range >>>= 1;
      if (((value >>> shift) & 1) === 1) this.#low += this.#range;
      this.#normalize();
    }
  }

  /** A tree of probabilities that begins at `base`: highest bit first. */
  tree(probabilities: Uint16Array, base: number, bits: number, value: number): void {
    let node = 1;
    for (let shift = bits - 1; shift >= 0; shift--) {
      const bit = (value >>> shift) & 1;
      this.bit(probabilities, base + node, bit);
      node = (node << 1) | bit;
    }
  }

  /** Lowest bit first. */
  reverseTree(probabilities: Uint16Array, base: number, bits: number, value: number): void {
    let node = 1;
    for (let shift = 0; shift < bits; shift++) {
      const bit = (value >>> shift) & 1;
      this.bit(probabilities, base + node, bit);
      node = (node << 1) | bit;
    }
  }

  /** Writes out what is pending: the decoder needs nothing after it. */
  finish(): Uint8Array {
    for (let i = 0; i < 5; i++) this.#shiftLow();
    return this.output.subarray(0, this.size);
  }

  #normalize(): void {
    while (this.#range < RANGE_MIN) {
      this.#range = (this.#range << 8) >>> 0;
      this.#shiftLow();
    }
  }

  #shiftLow(): void {
    if (this.#low < 0xff000000 || this.#low >= 2 ** 32) {
      const carry = this.#low >= 2 ** 32 ? 1 : 0;
      this.#put(this.#cache + carry);
      for (; this.#cacheSize > 1; this.#cacheSize--) this.#put(0xff + carry);
      this.#cacheSize = 0;
      this.#cache = Math.floor(this.#low / RANGE_MIN) & 0xff;
    }
    this.#cacheSize++;
    this.#low = (this.#low % RANGE_MIN) * 256;
  }

  /** The first byte is always 0, and part of the format. */
  #put(byte: number): void {
    this.output[this.size++] = byte & 0xff;
  }
}
