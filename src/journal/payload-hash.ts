/** Hashes of payloads and field names, and the buckets of hash tables (journal-file.c: journal_file_hash_data()). */
import { hashJenkins, jenkins } from "../bytes/lookup3.ts";
import { hashSiphash24, siphash } from "../bytes/siphash24.ts";

/** With more buckets than these a hash is divided 16 bits at a time, to stay below 2^53. */
const BUCKETS_AT_ONCE_MAX = 2 ** 21;

/** Result of the last {@link hashPayload}: low and high 32 bits, unsigned. */
export const payloadHash = { low: 0, high: 0 };

/** @param key the file id where the file is keyed */
export function hashPayload(
  key: Uint8Array | undefined,
  view: DataView,
  start: number,
  end: number,
): void {
  if (key === undefined) {
    hashJenkins(view, start, end);
    payloadHash.low = jenkins.low >>> 0;
    payloadHash.high = jenkins.high >>> 0;
  } else {
    hashSiphash24(key, view, start, end);
    payloadHash.low = siphash.low >>> 0;
    payloadHash.high = siphash.high >>> 0;
  }
}

/** hash % buckets for a hash of two 32-bit halves; exact for any count below 2^37. */
export function bucketOf(low: number, high: number, buckets: number): number {
  const upper = remainder(high >>> 0, buckets);
  if (buckets <= BUCKETS_AT_ONCE_MAX) return remainder(upper * 2 ** 32 + (low >>> 0), buckets) | 0;
  return remainder(
    remainder(upper * 65536 + (low >>> 16), buckets) * 65536 + (low & 0xffff),
    buckets,
  );
}

/** value % divisor for integers from 0 to 2^53-1: on numbers so large the operator is many times slower. */
function remainder(value: number, divisor: number): number {
  // The quotient may have been rounded up to the next integer, never down.
  const rest = value - Math.floor(value / divisor) * divisor;
  return rest < 0 ? rest + divisor : rest;
}
