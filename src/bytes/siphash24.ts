/**
 * SipHash-2-4 on pairs of u32: the keyed journal hash, key = the file id.
 * https://www.aumasson.jp/siphash/siphash.pdf. With bigint it would cost a hundred times as much.
 * HOT: guarded by scripts/bench/writer.ts.
 */

/** Result of the last call: low and high 32 bits. */
export const siphash = { low: 0, high: 0 };

/**
 * Hashes the bytes [start .. end) of `view` under the 16-byte `key` into {@link siphash}.
 *
 * One function, so that the state (four u64 as pairs a, b, c, d of halves) stays in registers. The carry of two halves
 * is computed from signs: a comparison of unsigned sums would make them doubles, at three times the cost.
 */
export function hashSiphash24(key: Uint8Array, view: DataView, start: number, end: number): void {
  const k0l = word(key, 0);
  const k0h = word(key, 4);
  const k1l = word(key, 8);
  const k1h = word(key, 12);
  let al = k0l ^ 0x70736575;
  let ah = k0h ^ 0x736f6d65;
  let bl = k1l ^ 0x6e646f6d;
  let bh = k1h ^ 0x646f7261;
  let cl = k0l ^ 0x6e657261;
  let ch = k0h ^ 0x6c796765;
  let dl = k1l ^ 0x79746573;
  let dh = k1h ^ 0x74656462;
  const length = end - start;
  const wholeBlocks = length >>> 3;
  let i = start;
  // The whole blocks, the last one with the length, and the finalization.
  for (let block = 0; block <= wholeBlocks + 1; block++) {
    let low = 0;
    let high = 0;
    let rounds = 2;
    if (block < wholeBlocks) {
      low = view.getInt32(i, true);
      high = view.getInt32(i + 4, true);
      i += 8;
    } else if (block === wholeBlocks) {
      high = (length & 0xff) << 24;
      for (let shift = 0; i < end; i++, shift += 8) {
        if (shift < 32) low |= view.getUint8(i) << shift;
        else high |= view.getUint8(i) << (shift - 32);
      }
    } else {
      cl ^= 0xff;
      rounds = 4;
    }
    dl ^= low;
    dh ^= high;
    for (; rounds > 0; rounds--) {
      // v0 += v1; v1 = rotl(v1, 13) ^ v0; v0 = rotl(v0, 32)
      let sum = (al + bl) | 0;
      ah = (ah + bh + (((al & bl) | ((al | bl) & ~sum)) >>> 31)) | 0;
      al = sum;
      let swap = bl;
      bl = ((bl << 13) | (bh >>> 19)) ^ al;
      bh = ((bh << 13) | (swap >>> 19)) ^ ah;
      swap = al;
      al = ah;
      ah = swap;
      // v2 += v3; v3 = rotl(v3, 16) ^ v2
      sum = (cl + dl) | 0;
      ch = (ch + dh + (((cl & dl) | ((cl | dl) & ~sum)) >>> 31)) | 0;
      cl = sum;
      swap = dl;
      dl = ((dl << 16) | (dh >>> 16)) ^ cl;
      dh = ((dh << 16) | (swap >>> 16)) ^ ch;
      // v0 += v3; v3 = rotl(v3, 21) ^ v0
      sum = (al + dl) | 0;
      ah = (ah + dh + (((al & dl) | ((al | dl) & ~sum)) >>> 31)) | 0;
      al = sum;
      swap = dl;
      dl = ((dl << 21) | (dh >>> 11)) ^ al;
      dh = ((dh << 21) | (swap >>> 11)) ^ ah;
      // v2 += v1; v1 = rotl(v1, 17) ^ v2; v2 = rotl(v2, 32)
      sum = (cl + bl) | 0;
      ch = (ch + bh + (((cl & bl) | ((cl | bl) & ~sum)) >>> 31)) | 0;
      cl = sum;
      swap = bl;
      bl = ((bl << 17) | (bh >>> 15)) ^ cl;
      bh = ((bh << 17) | (swap >>> 15)) ^ ch;
      swap = cl;
      cl = ch;
      ch = swap;
    }
    al ^= low;
    ah ^= high;
  }
  siphash.low = al ^ bl ^ cl ^ dl;
  siphash.high = ah ^ bh ^ ch ^ dh;
}

function word(bytes: Uint8Array, i: number): number {
  return bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
}
