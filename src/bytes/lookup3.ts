/**
 * Bob Jenkins' lookup3 hashlittle2(), both seeds 0: the unkeyed journal hash, and the part of every
 * entry's xor-hash. The 64-bit result has the first word as its HIGH half (sd-journal/lookup3.h:
 * jenkins_hash64()). HOT: guarded by scripts/bench/writer.ts.
 */

/** Result of the last call: low and high 32 bits, as signed or unsigned 32-bit integers. */
export const jenkins = { low: 0, high: 0 };

/** Hashes the bytes [start .. end) of `view` into {@link jenkins}. */
export function hashJenkins(view: DataView, start: number, end: number): void {
  let length = end - start;
  let a = (0xdeadbeef + length) | 0;
  let b = a;
  let c = a;
  let i = start;
  while (length > 12) {
    a = (a + view.getInt32(i, true)) | 0;
    b = (b + view.getInt32(i + 4, true)) | 0;
    c = (c + view.getInt32(i + 8, true)) | 0;
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
    if (length > 8) c = (c + tail(view, i + 8, length - 8)) | 0;
    if (length > 4) b = (b + tail(view, i + 4, length - 4)) | 0;
    a = (a + tail(view, i, length)) | 0;
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

/** Up to four little-endian bytes; `length` may be larger. */
function tail(view: DataView, i: number, length: number): number {
  if (length >= 4) return view.getInt32(i, true);
  let value = view.getUint8(i);
  if (length > 1) value |= view.getUint8(i + 1) << 8;
  if (length > 2) value |= view.getUint8(i + 2) << 16;
  return value;
}
