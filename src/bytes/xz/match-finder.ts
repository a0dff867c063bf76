/** Where the bytes that come next occurred before: chains of places with the same hash. */
import { viewOf } from "../view.ts";

/** What an LZMA match can be at most. */
export const MATCH_LENGTH_MAX = 273;
/** Of what the chains find: shorter ones are left to repeated distances. */
export const FOUND_LENGTH_MIN = 4;

const HASH_BITS = 16;

export class MatchFinder {
  /** Of the last search; 0 = nothing found. */
  length = 0;
  distance = 0;
  readonly #source: Uint8Array;
  readonly #view: DataView;
  readonly #depthMax: number;
  readonly #distanceMax: number;
  /** Index + 1 of the last place with a hash. */
  readonly #heads = new Int32Array(1 << HASH_BITS);
  /** Index + 1 of the place before, with the same hash. */
  readonly #previous: Int32Array;
  /** Places below this are in the chains. */
  #insertedEnd = 0;

  /** @param depthMax places looked at in each search. */
  constructor(source: Uint8Array, depthMax: number, distanceMax: number) {
    this.#source = source;
    this.#view = viewOf(source);
    this.#depthMax = depthMax;
    this.#distanceMax = distanceMax;
    this.#previous = new Int32Array(source.length);
  }

  /** The longest match for what begins at `index` and ends before `end`. Indexes must not go down. */
  find(index: number, end: number): void {
    this.length = 0;
    this.#insertUpTo(index);
    const lengthMax = Math.min(MATCH_LENGTH_MAX, end - index);
    if (lengthMax < FOUND_LENGTH_MIN) return;
    const source = this.#source;
    let best = FOUND_LENGTH_MIN - 1;
    let candidate = (this.#heads[this.#hash(index)] ?? 0) - 1;
    for (let depth = 0; depth < this.#depthMax && candidate >= 0; depth++) {
      if (index - candidate > this.#distanceMax) break;
      if (source[candidate + best] === source[index + best]) {
        const length = commonLength(source, candidate, index, lengthMax);
        if (length > best) {
          best = length;
          this.length = length;
          this.distance = index - candidate;
          if (length === lengthMax) break;
        }
      }
      candidate = (this.#previous[candidate] ?? 0) - 1;
    }
  }

  #insertUpTo(index: number): void {
    const end = Math.min(index, this.#source.length - FOUND_LENGTH_MIN + 1);
    for (; this.#insertedEnd < end; this.#insertedEnd++) {
      const hash = this.#hash(this.#insertedEnd);
      this.#previous[this.#insertedEnd] = this.#heads[hash] ?? 0;
      this.#heads[hash] = this.#insertedEnd + 1;
    }
  }

  #hash(index: number): number {
    return Math.imul(this.#view.getInt32(index, true), 0x9e3779b1) >>> (32 - HASH_BITS);
  }
}

/** Bytes that are the same from both places on. */
export function commonLength(
  source: Uint8Array,
  candidate: number,
  index: number,
  lengthMax: number,
): number {
  let length = 0;
  while (length < lengthMax && source[candidate + length] === source[index + length]) length++;
  return length;
}
