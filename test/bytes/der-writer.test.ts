import { describe, expect, test } from "bun:test";
import { DerTag, readElement, readTime } from "../../src/bytes/der.ts";
import {
  encodeElement,
  encodeInteger,
  encodeNumber,
  encodeObjectId,
  encodeOctets,
  encodeSequence,
  encodeTime,
} from "../../src/bytes/der-writer.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

describe("encodeElement()", () => {
  test.each([
    [0, "0400"],
    [127, "047f"],
    [128, "048180"],
    [255, "0481ff"],
    [256, "04820100"],
    [65_536, "0483010000"],
  ])("has the length of %d bytes in as few as possible", (length, head) => {
    const bytes = encodeOctets(Buffer.alloc(length));
    expect(hex(bytes.subarray(0, bytes.length - length))).toBe(head);
    const element = readElement(bytes, 0, bytes.length);
    expect(element.end - element.contentStart).toBe(length);
  });

  test("joins its contents", () => {
    expect(hex(encodeSequence(encodeNumber(1), encodeNumber(2)))).toBe("3006020101020102");
    expect(hex(encodeElement(DerTag.context0))).toBe("a000");
  });
});

describe("encodeInteger()", () => {
  test.each([
    ["", "020100"],
    ["00", "020100"],
    ["0001", "020101"],
    ["7f", "02017f"],
    ["80", "02020080"],
    ["00ff", "020200ff"],
  ])("of %p is shortest and positive", (bytes, expected) => {
    expect(hex(encodeInteger(Buffer.from(bytes, "hex")))).toBe(expected);
  });

  test("encodeNumber() takes whole numbers up to 2^53", () => {
    expect(hex(encodeNumber(600_000))).toBe("02030927c0");
    expect(hex(encodeNumber(Number.MAX_SAFE_INTEGER))).toBe("02071fffffffffffff");
  });
});

test("encodeObjectId() writes seven bits a byte", () => {
  expect(hex(encodeObjectId("1.2.840.113549.1.1.11"))).toBe("06092a864886f70d01010b");
  expect(hex(encodeObjectId("2.5.29.20"))).toBe("0603551d14");
});

test("encodeTime() writes the form RFC 5280 asks for, and readTime() reads it", () => {
  for (const [text, tag] of [
    ["1970-01-01T00:00:00Z", DerTag.utcTime],
    ["2026-11-22T05:06:07Z", DerTag.utcTime],
    ["2049-12-31T23:59:59Z", DerTag.utcTime],
    ["2050-01-01T00:00:00Z", DerTag.generalizedTime],
  ] as const) {
    const bytes = encodeTime(Date.parse(text) + 999);
    const element = readElement(bytes, 0, bytes.length);
    expect<number>(element.tag).toBe(tag);
    expect(readTime(bytes, element)).toBe(Date.parse(text));
  }
});
