import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { formatId128 } from "../../src/bytes/id128.ts";
import {
  parseCursorIdentity,
  parseId,
  parseNumber,
  writeDecimal,
  writeHex,
  writeHex64,
  writeId,
} from "../../src/export-format/values.ts";
import { bytesOf } from "../support/export-stream.ts";

const ID = "0123456789abcdeffedcba9876543210";

function numberOf(text: string): number {
  return parseNumber(bytesOf(`x${text}9`), 1, 1 + text.length);
}

function written(write: (target: Uint8Array) => number): string {
  const target = new Uint8Array(40);
  return Buffer.from(target.subarray(1, write(target))).toString("latin1");
}

describe("parseNumber()", () => {
  test.each([
    ["0", 0],
    ["9007199254740991", Number.MAX_SAFE_INTEGER],
    ["9007199254740992", Number.POSITIVE_INFINITY],
    ["9".repeat(30), Number.POSITIVE_INFINITY],
    ["0x1fffffffffffff", Number.MAX_SAFE_INTEGER],
    ["0x20000000000000", Number.POSITIVE_INFINITY],
    [" \t+0xaB", 171],
    ["010", 10],
  ])("%p", (text, expected) => {
    expect(numberOf(text)).toBe(expected);
  });

  test.each(["", " ", "+", "-1", "++1", "+ 1", "1 ", "1.5", "1e3", "0x", "0xg", "x1", "١"])(
    "%p is no number",
    (text) => {
      expect(numberOf(text)).toBeNaN();
    },
  );
});

describe("parseId()", () => {
  test.each([ID, ID.toUpperCase(), "01234567-89ab-cdef-fedc-ba9876543210"])("%p", (text) => {
    const id = new Uint8Array(16);
    expect(parseId(bytesOf(text), 0, text.length, id)).toBe(true);
    expect(formatId128(id)).toBe(ID);
  });

  test.each([
    "",
    ID.slice(1),
    `${ID}0`,
    `${ID.slice(1)}g`,
    `g${ID.slice(1)}`,
    "0123456-789ab-cdef-fedc-ba9876543210",
    "01234567x89ab-cdef-fedc-ba9876543210",
    "01234567-89ab-cdef-fedc-ba987654321g",
  ])("%p is no id", (text) => {
    expect(parseId(bytesOf(text), 0, text.length, new Uint8Array(16))).toBe(false);
  });
});

test("parseCursorIdentity() reads only its range", () => {
  const bytes = bytesOf(`;i=9;s=${ID};i=5;x`);
  const id = new Uint8Array(16);
  expect(parseCursorIdentity(bytes, 5, bytes.length, id)).toBe(5);
  expect(formatId128(id)).toBe(ID);
  expect(parseCursorIdentity(bytes, 5, 5 + 2 + 32, id)).toBe(0);
});

test("numbers and ids are written as they print", () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), fc.bigInt(0n, 2n ** 64n - 1n), (value, wide) => {
      const [low, high] = [Number(wide & 0xffffffffn), Number(wide >> 32n)];
      expect(written((target) => writeDecimal(target, 1, value))).toBe(String(value));
      expect(written((target) => writeHex(target, 1, value))).toBe(value.toString(16));
      expect(written((target) => writeHex64(target, 1, low | 0, high | 0))).toBe(wide.toString(16));
    }),
    {
      seed: 3,
      examples: [
        [0, 0n],
        [9, 15n],
        [10, 16n],
        [99, 2n ** 32n],
        [Number.MAX_SAFE_INTEGER, 2n ** 64n - 1n],
      ],
    },
  );
  expect(written((target) => writeId(target, 1, Buffer.from(ID, "hex")))).toBe(ID);
});
