/**
 * Little-endian 64-bit integers as JS numbers. Offsets, sizes, counts and microsecond times are
 * below 2^53; hashes are not, and stay (low, high) pairs of u32.
 */

const TWO_32 = 2 ** 32;

/** A u64 at `offset`; RangeError past 2^53-1. */
export function readUint64(view: DataView, offset: number): number {
  const high = view.getUint32(offset + 4, true);
  if (high > 0x1fffff) throw new RangeError(`Cannot read u64 at ${offset}: value exceeds 2^53-1`);
  return high * TWO_32 + view.getUint32(offset, true);
}

export function writeUint64(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value >>> 0, true);
  view.setUint32(offset + 4, Math.floor(value / TWO_32), true);
}

/** Rounds up to a multiple of 8, for any safe integer (a mask would break above 2^31). */
export function align8(value: number): number {
  const rest = value % 8;
  return rest === 0 ? value : value + 8 - rest;
}
