import { describe, expect, test } from "bun:test";
import { addHeader, parseHeader } from "../../src/cli/header.ts";

describe("parseHeader()", () => {
  test.each([
    ["X-Scope-OrgID: tenant", "X-Scope-OrgID", "tenant"],
    ["a_1 :b:c ", "a_1", "b:c"],
    ["A:", "A", ""],
    [String.raw`A: x\x3ay\054z\u0021\"\\\s.`, "A", String.raw`x:y,z!"\ .`],
    [`${"n".repeat(40)}: ${"v".repeat(8000)}`, "n".repeat(40), "v".repeat(8000)],
  ])("reads %p", (text, name, value) => {
    expect(parseHeader(text)).toEqual({ name, value });
  });

  test.each([
    ["A", 'need "Name: value"'],
    [": x", "the name may hold"],
    ["A B: x", "the name may hold"],
    ["Ä: x", "the name may hold"],
    [`${"n".repeat(41)}: x`, "the name has 41 characters, at most 40"],
    [`A: ${"v".repeat(8001)}`, "the value has 8001 characters, at most 8000"],
    ["A: ä", "printable ASCII"],
    [String.raw`A: x\r\nB: y`, "printable ASCII"],
    [String.raw`A: \q`, String.raw`"\q" is not an escape of C`],
    ["A: x\\", "is not an escape of C"],
    ["content-length: 1", '"content-length" is set by the program itself'],
    ["Transfer-Encoding: gzip", "is set by the program itself"],
    ["Host: example.net", "is set by the program itself"],
  ])("refuses %p", (text, reason) => {
    expect(() => parseHeader(text)).toThrow(reason);
  });
});

test("addHeader() joins values of one name, each once", () => {
  const texts = ["A: 1", "B: 1", "a: 2", "A: 1", "A: 2", "B: 1, 2"];
  expect(texts.map(parseHeader).reduce(addHeader, [] as ReturnType<typeof addHeader>)).toEqual([
    { name: "A", value: "1, 2" },
    { name: "B", value: "1, 1, 2" },
  ]);
});
