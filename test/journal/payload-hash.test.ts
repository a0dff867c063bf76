import { expect, test } from "bun:test";
import { bucketOf } from "../../src/journal/payload-hash.ts";
import { seededRandom } from "../support/journal-damage.ts";

/** Few, usual ones, those at the limit of the short way, and many. */
const COUNTS = [1, 2, 333, 2047, 233_016, 2 ** 21 - 1, 2 ** 21, 2 ** 21 + 1, 89_478_485];

test("bucketOf() is the hash modulo the count, exactly", () => {
  const random = seededRandom(24);
  const word = (): number => Math.floor(random() * 2 ** 32);
  for (const buckets of COUNTS) {
    for (let i = 0; i < 2000; i++) {
      const low = word();
      const high = word();
      const expected = Number(((BigInt(high) << 32n) | BigInt(low)) % BigInt(buckets));
      expect(bucketOf(low, high, buckets)).toBe(expected);
      // Halves may be signed.
      expect(bucketOf(low | 0, high | 0, buckets)).toBe(expected);
    }
  }
});

test("bucketOf() is exact around multiples of the count, where a quotient is rounded", () => {
  for (const buckets of COUNTS) {
    const top = 2n ** 64n - (2n ** 64n % BigInt(buckets));
    for (let multiple = top; multiple > top - 200n * BigInt(buckets); multiple -= BigInt(buckets)) {
      for (const hash of [multiple - 1n, multiple, multiple + 1n]) {
        if (hash < 0n || hash >= 2n ** 64n) continue;
        const low = Number(hash & 0xffff_ffffn);
        const high = Number(hash >> 32n);
        expect(bucketOf(low, high, buckets)).toBe(Number(hash % BigInt(buckets)));
      }
    }
  }
});
