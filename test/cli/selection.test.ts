import { describe, expect, test } from "bun:test";
import {
  formatFacilities,
  formatMatches,
  formatPriorities,
  formatPriorityRange,
  isMatch,
  parseExcludedPriorities,
  parseExpression,
  parseFacilities,
  parseMatches,
  parsePriorities,
} from "../../src/cli/selection.ts";
import { splitWords } from "../../src/cli/words.ts";

describe("parsePriorities()", () => {
  test.each<[string, number[]]>([
    ["warning", [0, 1, 2, 3, 4]],
    ["EMERG", [0]],
    ["3", [0, 1, 2, 3]],
    ["7", [0, 1, 2, 3, 4, 5, 6, 7]],
    ["err..info", [3, 4, 5, 6]],
    ["info..err", [3, 4, 5, 6]],
    ["5..5", [5]],
  ])("%p is %p", (text, priorities) => {
    expect(parsePriorities(text)).toEqual(priorities);
    expect(parsePriorities(formatPriorityRange(priorities))).toEqual(priorities);
  });

  test.each(["", "8", "-1", "loud", "err..", "..err", "err,info", "err..info..debug", "07"])(
    "refuses %p",
    (text) => {
      expect(() => parsePriorities(text)).toThrow(`Cannot use priority "`);
    },
  );
});

test("parseExcludedPriorities() takes one level as that alone", () => {
  expect(parseExcludedPriorities("debug")).toEqual([7]);
  expect(parseExcludedPriorities("info..debug, emerg 7")).toEqual([0, 6, 7]);
  expect(formatPriorities([0, 6, 7])).toBe("emerg,info,debug");
  expect(() => parseExcludedPriorities("debug,")).toThrow('Cannot use priority ""');
});

test("parseFacilities() takes names and numbers", () => {
  expect(parseFacilities("kern")).toEqual([0]);
  expect(parseFacilities("local7,ftp Authpriv 13,11")).toEqual([10, 11, 13, 23]);
  expect(parseFacilities("local0")).toEqual([16]);
  expect(formatFacilities([10, 13, 23])).toBe("authpriv,13,local7");
  for (const text of ["local8", "24", "", "kern,", "-1"]) {
    expect(() => parseFacilities(text)).toThrow("Cannot use facility");
  }
});

describe("parseMatches()", () => {
  test("splits at +, and is formatted back", () => {
    const words = ["_COMM=sudo", "MESSAGE=two words", "PRIORITY=", "+", "_EXE=/usr/bin/x=y"];
    const alternatives = parseMatches(words);
    expect(alternatives).toEqual([words.slice(0, 3), words.slice(4)]);
    expect(formatMatches(alternatives)).toBe(
      '_COMM=sudo "MESSAGE=two words" PRIORITY= + _EXE=/usr/bin/x=y',
    );
    expect(parseMatches(splitWords(formatMatches(alternatives)))).toEqual(alternatives);
  });

  test.each<[string[], string]>([
    [["sudo"], 'Cannot use match "sudo": it is not of the form FIELD=value'],
    [["=x"], "FIELD=value"],
    [["comm=x"], "FIELD=value"],
    [["1A=x"], "FIELD=value"],
    [[`${"A".repeat(65)}=x`], "FIELD=value"],
    [["__CURSOR=x"], "two underscores"],
    [["+"], 'Cannot use "+"'],
    [["A=1", "+"], 'Cannot use "+"'],
    [["A=1", "+", "+", "B=2"], 'Cannot use "+"'],
    [[], 'Cannot use "+"'],
  ])("refuses %p", (words, reason) => {
    expect(() => parseMatches(words)).toThrow(reason);
  });
});

test("isMatch() tells fields from files", () => {
  const words = ["A=1", "_EXE=/bin/x", "A=", "-", "x.export", "./A=1", "a=1", "=", "dir/A=1"];
  expect(words.map(isMatch)).toEqual([true, true, true, ...Array(6).fill(false)]);
});

test("parseExpression() refuses what is none", () => {
  expect(parseExpression("pass(word|wd)?=\\S+")).toBe("pass(word|wd)?=\\S+");
  for (const text of ["(", "[a", "*a", "a{2,1}", "(?(1)a)"]) {
    expect(() => parseExpression(text)).toThrow(`Cannot use the expression "${text}": `);
  }
});
