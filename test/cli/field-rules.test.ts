import { describe, expect, test } from "bun:test";
import {
  formatRedaction,
  parseAddedField,
  parseFieldPattern,
  parseRedaction,
} from "../../src/cli/field-rules.ts";

test("parseFieldPattern() takes names with * and ?", () => {
  for (const text of ["MESSAGE", "COREDUMP_*", "_?ID", "*", "X1"]) {
    expect(parseFieldPattern(text)).toBe(text);
  }
  for (const text of ["", "message", "A B", "[AB]", "A=1", "A".repeat(65)]) {
    expect(() => parseFieldPattern(text)).toThrow(`Cannot use field name "${text}"`);
  }
});

describe("parseRedaction()", () => {
  test.each<[string, string, string | undefined, string]>([
    ["_CMDLINE", "_CMDLINE", undefined, "***"],
    ["_CMDLINE gone away", "_CMDLINE", undefined, "gone away"],
    ['A ""', "A", undefined, ""],
    ['A "/"', "A", undefined, "/"],
    ["MESSAGE /x/", "MESSAGE", "x", "***"],
    [String.raw`MESSAGE /password=\S+/ "password=***"`, "MESSAGE", "password=\\S+", "password=***"],
    [String.raw`*  /(a|b) c\/d/   $1  `, "*", "(a|b) c\\/d", "$1  "],
    [String.raw`M /"/ "say \"\\\" "`, "M", '"', 'say "\\" '],
    ["M /a/ b/c/", "M", "a", "b/c/"],
  ])("reads %p, and what formatRedaction() makes of it", (text, names, expression, replacement) => {
    const redaction = parseRedaction(text);
    expect(redaction).toEqual({ names, expression, replacement });
    expect(parseRedaction(formatRedaction(redaction))).toEqual(redaction);
  });

  test.each([
    ["", "Cannot use field name"],
    ["message /x/", "Cannot use field name"],
    ["M /x", 'Cannot read "M /x": "/" does not enclose it'],
    ["M //", "does not enclose it"],
    ["M /x/i", "does not enclose it"],
    ["M /(/", "Cannot use the expression"],
    ['M /x/ "y', "the quote is not closed"],
    ['M "y" z', "the quote is not closed"],
  ])("refuses %p", (text, reason) => {
    expect(() => parseRedaction(text)).toThrow(reason);
  });
});

test("parseAddedField() takes names that users may use", () => {
  expect(parseAddedField("SITE=Berlin = B")).toEqual({ name: "SITE", value: "Berlin = B" });
  expect(parseAddedField("X_1=")).toEqual({ name: "X_1", value: "" });
  for (const [text, reason] of [
    ["_HOSTNAME=x", 'Cannot add field "_HOSTNAME": names that begin with an underscore'],
    ["__CURSOR=x", "begin with an underscore"],
    ["site=x", "need NAME=value"],
    ["SITE", "need NAME=value"],
    ["=x", "need NAME=value"],
    ["1A=x", "need NAME=value"],
    ["A B=x", "need NAME=value"],
    [`${"A".repeat(65)}=x`, "need NAME=value"],
  ] as const) {
    expect(() => parseAddedField(text)).toThrow(reason);
  }
});
