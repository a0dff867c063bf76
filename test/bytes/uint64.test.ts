import { describe, expect, test } from "bun:test";
import { align8, readUint64, writeUint64 } from "../../src/bytes/uint64.ts";

const VALUES = [0, 1, 255, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 40 + 3, Number.MAX_SAFE_INTEGER];

describe("readUint64() and writeUint64()", () => {
  test("store the little-endian bytes of any safe integer", () => {
    const view = new DataView(new ArrayBuffer(16));
    for (const value of VALUES) {
      writeUint64(view, 3, value);
      expect(view.getBigUint64(3, true)).toBe(BigInt(value));
      expect(readUint64(view, 3)).toBe(value);
    }
  });

  test("readUint64() rejects what is not a safe integer", () => {
    const view = new DataView(new ArrayBuffer(8));
    for (const value of [2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]) {
      view.setBigUint64(0, value, true);
      expect(() => readUint64(view, 0)).toThrow(RangeError);
    }
  });
});

describe("align8()", () => {
  test("rounds up to the next multiple of 8, above 2^31 too", () => {
    expect([0, 1, 7, 8, 9].map(align8)).toEqual([0, 8, 8, 8, 16]);
    expect(align8(2 ** 31 + 1)).toBe(2 ** 31 + 8);
    expect(align8(2 ** 40 + 7)).toBe(2 ** 40 + 8);
  });
});
