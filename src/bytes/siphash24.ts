/**
 * SipHash-2-4 on pairs of u32: the keyed journal hash, key = the file id.
 * https://www.aumasson.jp/siphash/siphash.pdf. With bigint it would cost a hundred times as much.
 * HOT: guarded by scripts/bench/writer.ts.
 */

/** Result of the last call: low and high 32 bits. */
export const siphash = { low: 0, high: 0 };

let v0l = 0;
let v0h = 0;
let v1l = 0;
let v1h = 0;
let v2l = 0;
let v2h = 0;
let v3l = 0;
let v3h = 0;

/** Hashes bytes[start .. end) under the 16-byte `key` into {@link siphash}. */
export function hashSiphash24(
  key: Uint8Array,
  bytes: Uint8Array,
  start: number,
  end: number,
): void {
  const k0l = word(key, 0);
  const k0h = word(key, 4);
  const k1l = word(key, 8);
  const k1h = word(key, 12);
  v0l = k0l ^ 0x70736575;
  v0h = k0h ^ 0x736f6d65;
  v1l = k1l ^ 0x6e646f6d;
  v1h = k1h ^ 0x646f7261;
  v2l = k0l ^ 0x6e657261;
  v2h = k0h ^ 0x6c796765;
  v3l = k1l ^ 0x79746573;
  v3h = k1h ^ 0x74656462;
  const length = end - start;
  const wholeEnd = start + (length - (length % 8));
  let i = start;
  for (; i < wholeEnd; i += 8) compress(word(bytes, i), word(bytes, i + 4));
  let low = 0;
  let high = (length & 0xff) << 24;
  for (let shift = 0; i < end; i++, shift += 8) {
    if (shift < 32) low |= bytes[i]! << shift;
    else high |= bytes[i]! << (shift - 32);
  }
  compress(low, high);
  v2l ^= 0xff;
  rounds(4);
  siphash.low = v0l ^ v1l ^ v2l ^ v3l;
  siphash.high = v0h ^ v1h ^ v2h ^ v3h;
}

function compress(low: number, high: number): void {
  v3l ^= low;
  v3h ^= high;
  rounds(2);
  v0l ^= low;
  v0h ^= high;
}

function rounds(count: number): void {
  let al = v0l;
  let ah = v0h;
  let bl = v1l;
  let bh = v1h;
  let cl = v2l;
  let ch = v2h;
  let dl = v3l;
  let dh = v3h;
  let t = 0;
  for (let i = 0; i < count; i++) {
    // v0 += v1; v1 = rotl(v1, 13); v1 ^= v0; v0 = rotl(v0, 32)
    t = (al >>> 0) + (bl >>> 0);
    ah = (ah + bh + (t > 0xffffffff ? 1 : 0)) | 0;
    al = t | 0;
    t = bl;
    bl = ((bl << 13) | (bh >>> 19)) ^ al;
    bh = ((bh << 13) | (t >>> 19)) ^ ah;
    t = al;
    al = ah;
    ah = t;
    // v2 += v3; v3 = rotl(v3, 16); v3 ^= v2
    t = (cl >>> 0) + (dl >>> 0);
    ch = (ch + dh + (t > 0xffffffff ? 1 : 0)) | 0;
    cl = t | 0;
    t = dl;
    dl = ((dl << 16) | (dh >>> 16)) ^ cl;
    dh = ((dh << 16) | (t >>> 16)) ^ ch;
    // v0 += v3; v3 = rotl(v3, 21); v3 ^= v0
    t = (al >>> 0) + (dl >>> 0);
    ah = (ah + dh + (t > 0xffffffff ? 1 : 0)) | 0;
    al = t | 0;
    t = dl;
    dl = ((dl << 21) | (dh >>> 11)) ^ al;
    dh = ((dh << 21) | (t >>> 11)) ^ ah;
    // v2 += v1; v1 = rotl(v1, 17); v1 ^= v2; v2 = rotl(v2, 32)
    t = (cl >>> 0) + (bl >>> 0);
    ch = (ch + bh + (t > 0xffffffff ? 1 : 0)) | 0;
    cl = t | 0;
    t = bl;
    bl = ((bl << 17) | (bh >>> 15)) ^ cl;
    bh = ((bh << 17) | (t >>> 15)) ^ ch;
    t = cl;
    cl = ch;
    ch = t;
  }
  v0l = al;
  v0h = ah;
  v1l = bl;
  v1h = bh;
  v2l = cl;
  v2h = ch;
  v3l = dl;
  v3h = dh;
}

function word(bytes: Uint8Array, i: number): number {
  return bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
}
