import { expect, test } from "bun:test";
import { printable } from "../../src/bytes/printable.ts";

test.each([
  ["Grüße, 世界 ~", "Grüße, 世界 ~"],
  ["a\x1b[2J\x07b\x7f", "a?[2J?b?"],
  ["a\nerror: forged\r\t", "a?error: forged??"],
  ["\u009b31m\u0085", "?31m?"],
  ["a\u202eb\u2066c\u200bd\u2028e\u2029", "a?b?c?d?e?"],
  ["", ""],
])("%j is shown as %j", (text, shown) => {
  expect(printable(text)).toBe(shown);
});
