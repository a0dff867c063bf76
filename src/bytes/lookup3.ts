/**
 * Bob Jenkins' lookup3 hashlittle2(), both seeds 0: the unkeyed journal hash, and the part of every
 * entry's xor-hash. The 64-bit result has the first word as its HIGH half (sd-journal/lookup3.h:
 * jenkins_hash64()). HOT: guarded by scripts/bench/writer.ts.
 */

/** Result of the last call: low and high 32 bits, as signed or unsigned 32-bit integers. */
export const jenkins = { low: 0, high: 0 };

/** Hashes bytes[start .. end) into {@link jenkins}. */
export function hashJenkins(bytes: Uint8Array, start: number, end: number): void {
  let length = end - start;
  let a = (0xdeadbeef + length) | 0;
  let b = a;
  let c = a;
  let i = start;
  while (length > 12) {
    a = (a + word(bytes, i)) | 0;
    b = (b + word(bytes, i + 4)) | 0;
    c = (c + word(bytes, i + 8)) | 0;
    a = ((a - c) ^ ((c << 4) | (c >>> 28))) | 0;
    c = (c + b) | 0;
    b = ((b - a) ^ ((a << 6) | (a >>> 26))) | 0;
    a = (a + c) | 0;
    c = ((c - b) ^ ((b << 8) | (b >>> 24))) | 0;
    b = (b + a) | 0;
    a = ((a - c) ^ ((c << 16) | (c >>> 16))) | 0;
    c = (c + b) | 0;
    b = ((b - a) ^ ((a << 19) | (a >>> 13))) | 0;
    a = (a + c) | 0;
    c = ((c - b) ^ ((b << 4) | (b >>> 28))) | 0;
    b = (b + a) | 0;
    length -= 12;
    i += 12;
  }
  if (length > 0) {
    if (length > 8) c = (c + tail(bytes, i + 8, length - 8)) | 0;
    if (length > 4) b = (b + tail(bytes, i + 4, length - 4)) | 0;
    a = (a + tail(bytes, i, length)) | 0;
    c = ((c ^ b) - ((b << 14) | (b >>> 18))) | 0;
    a = ((a ^ c) - ((c << 11) | (c >>> 21))) | 0;
    b = ((b ^ a) - ((a << 25) | (a >>> 7))) | 0;
    c = ((c ^ b) - ((b << 16) | (b >>> 16))) | 0;
    a = ((a ^ c) - ((c << 4) | (c >>> 28))) | 0;
    b = ((b ^ a) - ((a << 14) | (a >>> 18))) | 0;
    c = ((c ^ b) - ((b << 24) | (b >>> 8))) | 0;
  }
  jenkins.low = b;
  jenkins.high = c;
}

function word(bytes: Uint8Array, i: number): number {
  return bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
}

/** Up to four little-endian bytes; `length` may be larger. */
function tail(bytes: Uint8Array, i: number, length: number): number {
  let value = bytes[i]!;
  if (length > 1) value |= bytes[i + 1]! << 8;
  if (length > 2) value |= bytes[i + 2]! << 16;
  if (length > 3) value |= bytes[i + 3]! << 24;
  return value;
}
