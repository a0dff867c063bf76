import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { compileExpression } from "../../src/upload/expressions.ts";

/** For 64 KiB. They take 1 and 40; other work on the machine takes its time, too. */
const SEARCH_MS_MAX = 50;
const REPLACE_MS_MAX = 500;

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
  ["(?:ab)+?c", ["ababc"], ["c"]],
  ["a(?#comment)b", ["ab"], ["a"]],
  ["\\h+\\S", ["a \tb"], ["a\nb"]],
  ["a\\Rb", ["a\r\nb", "a\nb"], ["ab"]],
  ["a\\Nb", ["axb"], ["a\nb"]],
  ["\\p{Lu}\\PL", ["É1"], ["é1"]],
  ["\\bword\\b", ["a word."], ["swords"]],
  ["ü?ö", ["ö", "üö"], ["o"]],
  ["^.$", ["ü", "😀"], ["ab"]],
  ["a|b|", ["", "x"], []],
  ["failed|denied", ["was denied"], ["fail", "Denied"]],
  ["[[:^digit:]]x", ["ax"], ["1x"]],
  ["(?<n>a)(?P<m>b)(c)", ["abc"], ["ac"]],
  ["\\v[\\v\\h]", ["\n\u00a0", "\u2028\t"], ["\n", "\na"]],
  ["\\a\\e[\\a\\e]", ["\u0007\u001b\u0007"], ["ae"]],
  ["[[:blank:]][[:cntrl:]]", [" \u0000"], [" a"]],
];

function isFound(source: string, text: string | Buffer, smartCase = false): boolean {
  const bytes = Buffer.from(text);
  // Not all of a buffer, as in a journal.
  const around = Buffer.concat([Buffer.from("(-"), bytes, Buffer.from("-)")]);
  return compileExpression(source, { smartCase }).isIn(around, 2, 2 + bytes.length);
}

describe("compileExpression()", () => {
  for (const [source, found, notFound] of CASES) {
    test(`${source}`, () => {
      expect(found.filter((text) => !isFound(source, text))).toEqual([]);
      expect(notFound.filter((text) => isFound(source, text))).toEqual([]);
    });
  }

  test("ignores case, if told to be smart, where there is no capital letter", () => {
    expect(isFound("failed", "FAILED", true)).toBe(true);
    expect(isFound("Failed", "FAILED", true)).toBe(false);
    expect(isFound("fail.d", "FAILED", true)).toBe(true);
    expect(isFound("Fail.d", "FAILED", true)).toBe(false);
    expect(isFound("failed\\S", "FAILED!", true)).toBe(false);
  });

  test("takes bytes that are no text for others than any letter", () => {
    const bytes = Buffer.from([0xff, 0x61, 0xc3, 0x00, 0xed, 0xa0, 0x80, 0x62]);
    expect(isFound("a", bytes)).toBe(true);
    expect(isFound("^.a.+b$", bytes)).toBe(true);
    expect(isFound("[[:alpha:]]{2}", bytes)).toBe(false);
  });

  test("finds what JavaScript finds", () => {
    const atom = fc.constantFrom(..."abcé.^".split(""), "[ab]", "[^a]", "\\d", "\\b", "\\W", "\n");
    const { expression } = fc.letrec<{ expression: string }>((tie) => ({
      expression: fc.oneof(
        { maxDepth: 4 },
        atom,
        fc.tuple(tie("expression"), tie("expression")).map(([a, b]) => `${a}${b}`),
        fc.tuple(tie("expression"), tie("expression")).map(([a, b]) => `(?:${a}|${b})`),
        fc
          .tuple(tie("expression"), fc.constantFrom("*", "+?", "?", "{2}", "{1,3}"))
          .map(([a, repetition]) => `(${a})${repetition}`),
      ),
    }));
    const text = fc.string({ unit: fc.constantFrom(..."aAbcé1 \n"), maxLength: 12 });
    fc.assert(
      fc.property(expression, text, (source, value) => {
        const other = new RegExp(source, "u");
        expect([source, value, isFound(source, value)]).toEqual([source, value, other.test(value)]);
      }),
      { numRuns: 3000, seed: 1 },
    );
  });

  const refused = ["(", "[a", "a\\", "a**", "(?x)a", "a(?i)b", "(*UTF)a", "\\Ka", "\\Ga", "\\X"];
  for (const source of [...refused, "*", "[[:what:]]", "(?<n>a", "[\\b]", "a{1001}", "(?'n'a)"]) {
    test(`refuses ${source}`, () => {
      expect(() => compileExpression(source)).toThrow(
        expect.objectContaining({
          code: "E_CONFIG",
          message: expect.stringContaining(`Cannot use the expression "${source}": `),
        }),
      );
    });
  }

  const named: [source: string, what: string][] = [
    ["foo(?!bar)", 'look-ahead "(?!"'],
    ["foo(?=bar)", 'look-ahead "(?="'],
    ["(?<=x)y", 'look-behind "(?<="'],
    ["(?<!x)y", 'look-behind "(?<!"'],
    ["(a)\\1", 'back-reference "\\1"'],
    ["(a)\\g{-1}", 'back-reference "\\g{-1}"'],
    ["(?<n>a)\\k<n>", 'back-reference "\\k<n>"'],
    ["(?P<n>a)(?P=n)", 'back-reference "(?P=n)"'],
    ["(?>a)", 'atomic group "(?>"'],
    ["a++", 'possessive repetition "+"'],
    ["(a(?1)?)", 'recursion "(?1)"'],
    ["(a)?(?(1)b)", 'condition "(?("'],
  ];
  for (const [source, what] of named) {
    test(`refuses ${source} by name`, () => {
      expect(() => compileExpression(source)).toThrow(
        `Cannot use the expression "${source}": the ${what} is not supported`,
      );
    });
  }
});

describe("replaceAll()", () => {
  test("puts groups and what was found where the replacement names them", () => {
    const { replaceAll } = compileExpression("(?<name>user|key)=(\\w+)");
    expect(replaceAll("user=a, key=b", "$1=*")).toBe("user=*, key=*");
    expect(replaceAll("user=a", "<$&|$<name>|$2|$$|$3>")).toBe("<user=a|user|a|$|$3>");
    expect(replaceAll("nothing", "$1")).toBe("nothing");
  });

  test("gives up a long text with many places, and no short one", () => {
    const { replaceAll } = compileExpression("key");
    const long = (places: number): string => `${"key ".repeat(places)}${"x".repeat(60_000)}`;
    expect(replaceAll(long(16), "*")).toBe(long(16).replaceAll("key", "*"));
    expect(replaceAll(long(18), "*")).toBeUndefined();
    expect(replaceAll("key".repeat(341), "*")).toBe("*".repeat(341));
  });
});

describe("hostile text takes its size only:", () => {
  const SIZE = 64 * 1024;
  /** The expressions, the text before those that repeat, and these. Backtracking takes minutes for each. */
  const hostile: [source: string, before: string, repeated: string][] = [
    ["a.*b.*c", "c", "aaaabbbb"],
    ["a.*a.*a.*a.*c", "c", "a"],
    ["(a+)+$", "", "a"],
    ["(x+x+)+y", "y", "x"],
    ["(a|a|aa)*c$", "c", "a"],
    ["^(([a-z])+.)+[A-Z]([a-z])+$", "A", "a"],
    ["\\S+@\\S+\\.com", ".com", "a@"],
    ["(\\w+\\s?)+:$", ":", "word "],
    ["(.*)(.*)(.*)(.*)=\\d{3}$", "=", "1=é"],
    ["password.*=.*;.*end", "end;", "password="],
  ];
  for (const [source, before, repeated] of hostile) {
    test(source, () => {
      const text = `${before}${repeated.repeat(Math.floor(SIZE / repeated.length))}!`.slice(
        0,
        SIZE,
      );
      const bytes = Buffer.from(text);
      const { isIn, replaceAll } = compileExpression(source);
      // Once for the compiler.
      isIn(bytes, 0, bytes.length);
      expect(milliseconds(() => isIn(bytes, 0, bytes.length))).toBeLessThan(SEARCH_MS_MAX);
      expect(milliseconds(() => replaceAll(text, ""))).toBeLessThan(REPLACE_MS_MAX);
    });
  }

  test("also where each place is searched for to the end of the text", () => {
    const { replaceAll } = compileExpression("a.*b|a");
    const text = "a".repeat(SIZE);
    replaceAll(text, "");
    expect(milliseconds(() => replaceAll(text, ""))).toBeLessThan(REPLACE_MS_MAX);
  });
});

function milliseconds(work: () => unknown): number {
  const startMs = performance.now();
  work();
  return performance.now() - startMs;
}
