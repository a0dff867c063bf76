import { describe, expect, test } from "bun:test";
import { LzmaDecoder } from "../../../src/bytes/xz/lzma.ts";

function start(source: number[]): LzmaDecoder {
  const lzma = new LzmaDecoder(4096);
  lzma.resetDictionary();
  expect(lzma.setProperties(0)).toBe(true);
  lzma.resetState();
  expect(lzma.startChunk(Uint8Array.from(source))).toBe(true);
  return lzma;
}

describe("chunks that are refused", () => {
  test("a match before any byte", () => {
    // A code above the middle of the range: the first symbol is a match.
    expect(start([0, 0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 0, 0]).decode(10)).toBeUndefined();
  });

  test("one that ends too early", () => {
    expect(start([0, 0, 0, 0, 0]).decode(4096)).toBeUndefined();
  });

  test("one that does not begin like a chunk", () => {
    const lzma = new LzmaDecoder(4096);
    expect(lzma.startChunk(Uint8Array.of(0, 0, 0, 0))).toBe(false);
    expect(lzma.startChunk(Uint8Array.of(1, 0, 0, 0, 0))).toBe(false);
  });

  test("properties that do not exist, or not in LZMA2", () => {
    const lzma = new LzmaDecoder(4096);
    const properties = (lc: number, lp: number, pb: number) => (pb * 5 + lp) * 9 + lc;
    expect(lzma.setProperties(properties(0, 4, 4))).toBe(true);
    expect(lzma.setProperties(properties(4, 0, 0))).toBe(true);
    expect(lzma.setProperties(properties(3, 2, 0))).toBe(false);
    expect(lzma.setProperties(properties(8, 4, 0))).toBe(false);
    expect(lzma.setProperties(225)).toBe(false);
  });
});

test("the dictionary grows with the data", () => {
  const lzma = new LzmaDecoder(1024 * 1024);
  const before = lzma.heldBytes;
  expect(before).toBeLessThan(128 * 1024);
  for (let copied = 0; copied < 3_000_000; ) copied += lzma.copy(new Uint8Array(50_000)).length;
  expect(lzma.heldBytes - before).toBe(1024 * 1024 - 64 * 1024);
});
