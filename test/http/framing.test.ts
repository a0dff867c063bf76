import { expect, test } from "bun:test";
import { parseChunkLine, parseField } from "../../src/http/framing.ts";

test.each<[string, string | undefined]>([
  ["Name: value", "name=value"],
  ["NAME:\t a b \t", "name=a b"],
  ["a:", "a="],
  ["a: b: c", "a=b: c"],
  ["a: \xe4", "a=\xe4"],
  ["no colon", undefined],
  [": value", undefined],
  ["name : value", undefined],
  ["na me: value", undefined],
  ["name: a\rb", undefined],
  ["name: a\0b", undefined],
])("parseField(%p)", (line, expected) => {
  const field = parseField(line);
  expect(field && `${field.name}=${field.value}`).toBe(expected);
});

test.each<[string, number | undefined]>([
  ["0", 0],
  ["1a", 26],
  ["00000000FF", 255],
  ["a ;name=value", 10],
  ["fffffffffffff", 2 ** 52 - 1],
  ["10000000000000", undefined],
  ["", undefined],
  ["0x10", undefined],
  ["-1", undefined],
  ["1 1", undefined],
])("parseChunkLine(%p) is %p", (line, expected) => {
  expect(parseChunkLine(line)).toBe(expected);
});
