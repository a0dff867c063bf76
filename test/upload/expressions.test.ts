import { describe, expect, test } from "bun:test";
import { compileExpression } from "../../src/upload/expressions.ts";

/** Expression, where it is found, where it is not. As PCRE2 (pcre2test) answers. */
const CASES: [string, string[], string[]][] = [
  ["failed", ["it failed"], ["it Failed", "fail"]],
  ["a.c", ["abc", "a\rc"], ["a\nc"]],
  ["(?s)a.c", ["a\nc"], []],
  ["^b", ["b"], ["a\nb"]],
  ["(?m)^b$", ["a\nb\nc"], ["ab"]],
  ["a$", ["a", "ba\n"], ["a\n\n", "ab"]],
  ["\\Aab\\z", ["ab"], ["ab\n", "xab"]],
  ["ab\\Z", ["ab", "ab\n"], ["ab\n\n"]],
  ["(?i)error", ["ERROR", "error"], ["err"]],
  ["[[:upper:]][[:digit:]]+", ["A12"], ["a12", ":1"]],
  ["[^[:space:]]x", ["ax"], [" x"]],
  ["[]x]y", ["]y", "xy"], ["y"]],
  ["[a\\-z]", ["-", "a", "z"], ["b"]],
  ["[[.]", ["[", "."], ["]"]],
  ["\\d{2,}", ["x12"], ["1"]],
  ["a{,2}", ["a{,2}"], ["aa"]],
  ["func() {", ["func {"], ["func() {"]],
  ["x{", ["x{"], ["x"]],
  ["a}b]", ["a}b]"], ["ab"]],
  ['\\-\\_\\@\\ \\/\\"', ['-_@ /"'], ["-"]],
  ["\\Qa.b(\\E+c", ["a.b(c", "a.b((c"], ["axb(c"]],
  ["\\x41\\x{e9}\\011", ["Aé\t"], ["x41"]],
  ["(a)(b)\\2\\1", ["abba"], ["abab"]],
  ["(a)\\g{1}1", ["aa1"], ["a11"]],
  ["(?<n>a)\\k<n>(?P<m>b)(?P=m)\\k{n}", ["aabba"], ["ab"]],
  ["(?:ab)+?c", ["ababc"], ["c"]],
  ["a(?#comment)b", ["ab"], ["a"]],
  ["foo(?!bar)", ["foobaz"], ["foobar"]],
  ["(?<=x)y", ["xy"], ["y"]],
  ["\\h+\\S", ["a \tb"], ["a\nb"]],
  ["a\\Rb", ["a\r\nb", "a\nb"], ["ab"]],
  ["a\\Nb", ["axb"], ["a\nb"]],
  ["\\p{Lu}\\PL", ["É1"], ["é1"]],
  ["\\bword\\b", ["a word."], ["swords"]],
  ["ü?ö", ["ö", "üö"], ["o"]],
  ["^.$", ["ü", "😀"], ["ab"]],
  ["a|b|", ["", "x"], []],
];

describe("compileExpression()", () => {
  for (const [source, found, notFound] of CASES) {
    test(`${source}`, () => {
      const search = compileExpression(source);
      expect(found.filter((text) => !search.test(text))).toEqual([]);
      expect(notFound.filter((text) => search.test(text))).toEqual([]);
    });
  }

  test("ignores case, if told to be smart, where there is no capital letter", () => {
    expect(compileExpression("failed", { smartCase: true }).test("FAILED")).toBe(true);
    expect(compileExpression("Failed", { smartCase: true }).test("FAILED")).toBe(false);
    expect(compileExpression("failed\\S", { smartCase: true }).test("FAILED!")).toBe(false);
  });

  const refused = [
    "(",
    "[a",
    "a\\",
    "a++",
    "(?>a)",
    "(?x)a",
    "a(?i)b",
    "(*UTF)a",
    "\\Ka",
    "\\Ga",
    "\\X",
  ];
  for (const source of [...refused, "*", "[[:^digit:]]", "[[:what:]]", "\\8", "(?<n>a", "\\k<n>"]) {
    test(`refuses ${source}`, () => {
      expect(() => compileExpression(source)).toThrow(
        expect.objectContaining({
          code: "E_CONFIG",
          message: expect.stringContaining(`Cannot use the expression "${source}": `),
        }),
      );
    });
  }
});
