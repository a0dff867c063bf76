import { expect, test } from "bun:test";
import { isPlainText } from "../../src/export-format/text.ts";

function isPlain(...bytes: number[]): boolean {
  return isPlainText(Uint8Array.of(0, ...bytes, 0x80), 1, 1 + bytes.length);
}

test("isPlainText() accepts exactly the printable code points", () => {
  const wrong: number[] = [];
  for (let code = 0; code <= 0x10ffff; code++) {
    if (code >= 0xd800 && code <= 0xdfff) continue;
    const isControl = (code < 0x20 && code !== 9) || (code >= 0x7f && code < 0xa0);
    const isNoncharacter = (code >= 0xfdd0 && code <= 0xfdef) || (code & 0xfffe) === 0xfffe;
    const bytes = Buffer.from(String.fromCodePoint(code));
    if (isPlainText(bytes, 0, bytes.length) === (isControl || isNoncharacter)) wrong.push(code);
  }
  expect(wrong).toEqual([]);
});

test.each<[string, number[]]>([
  ["a lone continuation byte", [0x80]],
  ["two bytes cut short", [0xc3]],
  ["three bytes cut short", [0xe2, 0x82]],
  ["four bytes cut short", [0xf0, 0x9d, 0x84]],
  ["overlong in two bytes", [0xc1, 0xa1]],
  ["overlong in three bytes", [0xe0, 0x9f, 0xbf]],
  ["overlong in four bytes", [0xf0, 0x8f, 0xbf, 0xbd]],
  ["a surrogate", [0xed, 0xa0, 0x80]],
  ["above U+10FFFF", [0xf4, 0x90, 0x80, 0x80]],
  ["five bytes", [0xf8, 0x88, 0x80, 0x80, 0x80]],
  ["no continuation", [0xe2, 0x41, 0x41]],
])("isPlainText() rejects %s", (_, bytes) => {
  expect(isPlain(0x41, ...bytes)).toBe(false);
  expect(isPlain(...bytes, 0x41)).toBe(false);
});
