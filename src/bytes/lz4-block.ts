/**
 * LZ4 blocks: sequences of literals and a match, without frame or length.
 * https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md
 */

/** How far back a match reaches at most. */
export const LZ4_OFFSET_MAX = 65535;

/** Largest size a block may decode to (LZ4_MAX_INPUT_SIZE). */
export const LZ4_RAW_SIZE_MAX = 0x7e000000;

const MATCH_LENGTH_MIN = 4;
/** A length of this in a token, or 255 in a byte that continues it, is continued in the next byte. */
const TOKEN_LENGTH_MAX = 15;
/** Below this a loop copies faster than the runtime. */
const LOOP_COPY_MAX = 32;

/** Decodes a whole block. Undefined if `source` is not a block of exactly `rawSize` bytes. */
export function decodeLz4Block(source: Uint8Array, rawSize: number): Uint8Array | undefined {
  const output = new Uint8Array(rawSize);
  const block = new Lz4Block(rawSize, output);
  const used = block.decode(source);
  return block.status === "done" && used === source.length ? output : undefined;
}

type Phase =
  | "token"
  | "literal-length"
  | "literals"
  | "offset-low"
  | "offset-high"
  | "match-length"
  | "match";

/** A block that arrives, and is decoded, piece by piece. */
export class Lz4Block {
  /** "open" = needs more input, or room in the output. */
  status: "open" | "done" | "corrupt" = "open";
  /** Index in the output where the next byte goes. */
  position = 0;
  readonly #output: Uint8Array;
  /** Bytes of the block still to come. */
  #left: number;
  #phase: Phase = "token";
  #literalLength = 0;
  #matchLength = 0;
  #offset = 0;
  /** Bytes a match may reach back to. */
  #history = 0;

  /** @param output of `rawSize` bytes, or less: then `slide` makes room when it is full. */
  constructor(rawSize: number, output: Uint8Array) {
    this.#output = output;
    this.#left = rawSize;
  }

  get isFull(): boolean {
    return this.position === this.#output.length;
  }

  /** Keeps what matches may reach back to, and makes room behind it. */
  slide(): void {
    const from = Math.max(0, this.position - LZ4_OFFSET_MAX);
    this.#output.copyWithin(0, from, this.position);
    this.position -= from;
  }

  /** Decodes from the start of `source` and returns how many bytes of it were used. */
  decode(source: Uint8Array): number {
    let at = 0;
    while (this.status === "open") {
      if (this.#phase === "literals") {
        const count = this.#copyLiterals(source, at);
        if (count < 0) return at;
        at += count;
      } else if (this.#phase === "match") {
        if (!this.#copyMatch()) return at;
      } else {
        const byte = source[at];
        if (byte === undefined) return at;
        at++;
        this.#readByte(byte);
      }
    }
    return at;
  }

  /** Takes a byte of a token, length or offset. */
  #readByte(byte: number): void {
    switch (this.#phase) {
      case "token":
        this.#literalLength = byte >> 4;
        this.#matchLength = byte & TOKEN_LENGTH_MAX;
        if (this.#literalLength === TOKEN_LENGTH_MAX) this.#phase = "literal-length";
        else this.#startLiterals();
        break;
      case "literal-length":
        this.#literalLength += byte;
        if (byte !== 255) this.#startLiterals();
        break;
      case "offset-low":
        this.#offset = byte;
        this.#phase = "offset-high";
        break;
      case "offset-high":
        this.#offset |= byte << 8;
        if (this.#offset === 0 || this.#offset > this.#history) this.status = "corrupt";
        if (this.#matchLength === TOKEN_LENGTH_MAX) this.#phase = "match-length";
        else this.#startMatch();
        break;
      default: // "match-length"
        this.#matchLength += byte;
        if (byte !== 255) this.#startMatch();
    }
  }

  #startLiterals(): void {
    this.#phase = "literals";
    if (this.#literalLength > this.#left) this.status = "corrupt";
  }

  #startMatch(): void {
    this.#phase = "match";
    this.#matchLength += MATCH_LENGTH_MIN;
    if (this.#matchLength > this.#left) this.status = "corrupt";
  }

  /** Copies what is there; -1 if nothing could be done for lack of input or room. */
  #copyLiterals(source: Uint8Array, at: number): number {
    const wanted = this.#literalLength;
    const count = Math.min(wanted, source.length - at, this.#output.length - this.position);
    if (count === 0 && wanted > 0) return -1;
    copyForward(this.#output, this.position, source, at, count);
    this.#advance(count);
    this.#literalLength -= count;
    if (this.#literalLength === 0) {
      // A block ends with literals, and is known to end there only by its size.
      if (this.#left === 0) this.status = "done";
      else this.#phase = "offset-low";
    }
    return count;
  }

  /** Copies as far as there is room; false if there was none. */
  #copyMatch(): boolean {
    const count = Math.min(this.#matchLength, this.#output.length - this.position);
    if (count === 0) return false;
    const from = this.position - this.#offset;
    if (count <= this.#offset && count > LOOP_COPY_MAX) {
      this.#output.copyWithin(this.position, from, from + count);
    } else {
      copyForward(this.#output, this.position, this.#output, from, count);
    }
    this.#advance(count);
    this.#matchLength -= count;
    if (this.#matchLength === 0) {
      if (this.#left === 0) this.status = "corrupt";
      this.#phase = "token";
    }
    return true;
  }

  #advance(count: number): void {
    this.position += count;
    this.#left -= count;
    this.#history = Math.min(this.#history + count, LZ4_OFFSET_MAX);
  }
}

/** Copies byte by byte, so that a match may overlap what it makes. */
function copyForward(
  to: Uint8Array,
  toAt: number,
  from: Uint8Array,
  fromAt: number,
  count: number,
): void {
  if (to !== from && count > LOOP_COPY_MAX) {
    to.set(from.subarray(fromAt, fromAt + count), toAt);
    return;
  }
  for (let i = 0; i < count; i++) to[toAt + i] = from[fromAt + i]!;
}
