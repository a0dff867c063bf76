import { expect, test } from "bun:test";
import { findLineEnd, findNameEnd } from "../../src/export-format/lines.ts";

test("findLineEnd() finds the first LF from every offset, whatever stands around it", () => {
  // 0x0b and 0x8a differ from LF by one bit; 0x09 and 0x00 are its neighbours in a subtraction.
  for (const filler of [0x0b, 0x09, 0x00, 0x8a, 0xff]) {
    const buffer = new ArrayBuffer(160);
    const bytes = new Uint8Array(buffer);
    const words = new Int32Array(buffer);
    for (let at = 0; at < 150; at++) {
      bytes.fill(filler);
      bytes[at] = 0x0a;
      bytes[159] = 0x0a;
      for (let from = 0; from <= at; from++) expect(findLineEnd(bytes, words, from)).toBe(at);
      expect(findLineEnd(bytes, words, at + 1)).toBe(159);
    }
  }
});

test("findNameEnd() stops at the first byte that cannot be in a name", () => {
  const bytes = Buffer.from("AZ09_=A\n");
  expect(findNameEnd(bytes, 0)).toBe(5);
  expect(findNameEnd(bytes, 5)).toBe(5);
  expect(findNameEnd(bytes, 6)).toBe(7);
});
