import { describe, expect, test } from "bun:test";
import { quoteWord, splitWords } from "../../src/cli/words.ts";

describe("splitWords()", () => {
  test.each<[string, string[]]>([
    ["", []],
    ["  ", []],
    ["A=1", ["A=1"]],
    [" A=1\t B=2  + C=3 ", ["A=1", "B=2", "+", "C=3"]],
    ['"A=two words" B=2', ["A=two words", "B=2"]],
    [`A="two words"'and "more"'s B=`, [`A=two wordsand "more"s`, "B="]],
    ["\"\" A=''", ["", "A="]],
    [String.raw`"say \"it\" \\ \d"`, [String.raw`say "it" \ \d`]],
    [String.raw`U=dev-disk\x2dby.device '\"'`, [String.raw`U=dev-disk\x2dby.device`, '\\"']],
    ["M='line\nnext'", ["M=line\nnext"]],
  ])("%p is %p", (text, words) => {
    expect(splitWords(text)).toEqual(words);
  });

  test.each(['A="b', "it's", '"a\\"', "'"])("refuses %p", (text) => {
    expect(() => splitWords(text)).toThrow("is not closed");
  });
});

test("quoteWord() is read back as one word", () => {
  for (const word of ["a", "", "two words", `it's "quoted"`, "\\", '\\"', "a\nb", "x=\\ y"]) {
    expect(splitWords(quoteWord(word))).toEqual([word]);
  }
  expect(quoteWord("A=1\\2")).toBe("A=1\\2");
});
