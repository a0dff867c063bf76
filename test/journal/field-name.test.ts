import { expect, test } from "bun:test";
import { isFieldName } from "../../src/journal/field-name.ts";

function isName(text: string): boolean {
  const bytes = Buffer.from(`A${text}A`);
  return isFieldName(bytes, 1, bytes.length - 1);
}

test.each(["A", "_", "__X", "A1", "_UID", "N".repeat(64)])("isFieldName() accepts %p", (text) => {
  expect(isName(text)).toBe(true);
});

test.each(["", "1A", "a", "A-B", "A B", "A=", "A\n", "Ä", "N".repeat(65)])(
  "isFieldName() rejects %p",
  (text) => {
    expect(isName(text)).toBe(false);
  },
);

test("isFieldName() accepts exactly A-Z, 0-9 and _ after the first byte", () => {
  for (let byte = 0; byte < 256; byte++) {
    const expected = /^[A-Z0-9_]$/.test(String.fromCharCode(byte));
    expect(isFieldName(Uint8Array.of(0x41, byte), 0, 2)).toBe(expected);
  }
});
