/** Damages export streams, the same way for the same seed, and knows what of them stays whole. */
import { concat } from "./export-stream.ts";

/** Numbers 0 .. below-1. */
export type Random = (below: number) => number;

export interface DamagedStream {
  bytes: Uint8Array;
  /** Entries that end before the first byte that was touched. */
  intactEntries: number;
}

/** Changes made to one stream. */
const CHANGES_MAX = 4;
const CHANGED_BYTES_MAX = 40;
/** Bytes that mean something in the format, so that changes hit it more often. */
const TOKENS = [
  "\n",
  "\n\n",
  "\r\n",
  "=",
  "_",
  "__",
  "\0",
  "9",
  "-",
  "A=",
  "A\n",
  "A\n\0\0\0\0\0\0\0\0\n",
  "A\n\x10\0\0\0\0\0\0\0",
  "A\n\xff\xff\xff\xff\xff\xff\xff\xff",
  "_BOOT_ID=0\n",
  "__REALTIME_TIMESTAMP=1\n",
  "__REALTIME_TIMESTAMP=9007199254740991\n",
  "__MONOTONIC_TIMESTAMP=9007199254740991\n",
];

/** mulberry32 */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** The stream cut after `length` bytes. */
export function truncate(entries: readonly Uint8Array[], length: number): DamagedStream {
  return {
    bytes: concat(...entries).subarray(0, length),
    intactEntries: countIntact(entries, length),
  };
}

export function mutate(entries: readonly Uint8Array[], random: Random): DamagedStream {
  let bytes = concat(...entries);
  let firstTouched = bytes.length;
  for (let left = 1 + random(CHANGES_MAX); left > 0; left--) {
    const at = random(bytes.length + 1);
    firstTouched = Math.min(firstTouched, at);
    bytes = change(bytes, at, random);
  }
  return { bytes, intactEntries: countIntact(entries, firstTouched) };
}

/** The bytes in pieces of random size, most of them small or of the size sockets give. */
export function* pieces(bytes: Uint8Array, random: Random): Generator<Uint8Array> {
  for (let offset = 0; offset < bytes.length; ) {
    const size = 1 + random([1, 16, 256, 65_536][random(4)] ?? 1);
    yield bytes.subarray(offset, offset + size);
    offset += size;
  }
}

function countIntact(entries: readonly Uint8Array[], length: number): number {
  let end = 0;
  return entries.filter((entry) => {
    end += entry.length;
    return end <= length;
  }).length;
}

/** Touches nothing before `at`. */
function change(bytes: Uint8Array, at: number, random: Random): Uint8Array {
  const end = Math.min(bytes.length, at + 1 + random(CHANGED_BYTES_MAX));
  const [before, cut, after] = [
    bytes.subarray(0, at),
    bytes.subarray(at, end),
    bytes.subarray(end),
  ];
  switch (random(8)) {
    case 0: // one bit
      return concat(
        before,
        cut.map((byte, i) => (i === 0 ? byte ^ (1 << random(8)) : byte)),
        after,
      );
    case 1: // one byte of any value
      return concat(before, Uint8Array.of(random(256)), cut.subarray(1), after);
    case 2: // all bytes of any value
      return concat(
        before,
        cut.map(() => random(256)),
        after,
      );
    case 3: // left out
      return concat(before, after);
    case 4: // doubled
      return concat(before, cut, cut, after);
    case 5: // cut off
      return before;
    case 6: // a digit where one was: numbers and ids that are wrong but well formed
      return concat(
        before,
        cut.map((byte) => (isDigit(byte) ? 0x30 + random(10) : byte)),
        after,
      );
    default:
      return concat(before, Buffer.from(TOKENS[random(TOKENS.length)] ?? "", "latin1"), cut, after);
  }
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}
