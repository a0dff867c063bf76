import { describe, expect, test } from "bun:test";
import { type Option, parseCommandLine } from "../../src/cli/options.ts";
import { AgentError } from "../../src/errors.ts";

function option(name: string, more: Partial<Option> = {}): Option {
  return { name, takesValue: "always", group: "All", description: "", ...more };
}

const OPTIONS = [
  option("output", { short: "o" }),
  option("url", { repeatable: true }),
  option("listen-raw"),
  option("listen-http"),
  option("listen-https"),
  option("seal", { takesValue: "optionally" }),
  option("check", { short: "c", takesValue: "never" }),
];

function parse(argv: string[], lenient = false) {
  const line = parseCommandLine(argv, OPTIONS, { lenient });
  return { uses: line.uses.map((use) => [use.option.name, use.value]), words: line.words };
}

describe("parseCommandLine()", () => {
  test.each([
    [["--output=x"], [["output", "x"]], []],
    [["--output", "x"], [["output", "x"]], []],
    [["--output=a=b"], [["output", "a=b"]], []],
    [["-o", "x"], [["output", "x"]], []],
    [["-ox"], [["output", "x"]], []],
    [["--listen-https", "-3"], [["listen-https", "-3"]], []],
    [["--output", "-"], [["output", "-"]], []],
    [["--seal"], [["seal", undefined]], []],
    [["--seal=no"], [["seal", "no"]], []],
    [["--seal", "word"], [["seal", undefined]], ["word"]],
    [
      ["-c", "a", "--url=1", "-", "--url=2"],
      [
        ["check", undefined],
        ["url", "1"],
        ["url", "2"],
      ],
      ["a", "-"],
    ],
    [["a", "--", "--output=x", "-"], [], ["a", "--output=x", "-"]],
  ] as const)("reads %p", (argv, uses, words) => {
    expect(parse([...argv])).toEqual({ uses: uses.map((use) => [...use]), words: [...words] });
  });

  test.each([
    [["--outptu=x"], 'Cannot use "--outptu": no such option'],
    [["--no-seal"], "no such option"],
    [["--out=x"], "no such option"],
    [["-x"], 'Cannot use "-x": no such option'],
    [["--output"], 'Cannot use "--output": it needs a value'],
    [["--output="], "it needs a value"],
    [["--output", ""], "it needs a value"],
    [["--output", "--url=x"], "it needs a value"],
    [["-o"], 'Cannot use "-o": it needs a value'],
    [["--seal="], "it needs a value"],
    [["--check=yes"], "it takes no value"],
    [["-cx"], '"-c" takes no value'],
    [["--output=a", "-ob"], 'Cannot use "--output": it is given twice'],
  ])("refuses %p", (argv, message) => {
    expect(() => parse(argv)).toThrow(message);
  });

  test("hints at the option that was meant", () => {
    const hintOf = (argv: string[]): string | undefined => {
      try {
        parse(argv);
      } catch (error) {
        if (error instanceof AgentError) return error.hint;
      }
      return "nothing thrown";
    };
    expect(hintOf(["--outptu=x"])).toBe('Did you mean "--output"?');
    expect(hintOf(["--out=x"])).toBe('Did you mean "--output"?');
    expect(hintOf(["--frobnicate"])).toBeUndefined();
  });

  test("as getopt: takes a unique beginning, refuses an ambiguous one", () => {
    expect(parse(["--out=x", "--ur", "y"], true).uses).toEqual([
      ["output", "x"],
      ["url", "y"],
    ]);
    expect(parse(["--listen-http=1"], true).uses).toEqual([["listen-http", "1"]]);
    expect(() => parse(["--listen=0"], true)).toThrow(
      'it could be "--listen-raw", "--listen-http", "--listen-https"',
    );
    expect(() => parse(["--zzz"], true)).toThrow("no such option");
  });

  test("as getopt: keeps all uses of an option", () => {
    expect(parse(["-oa", "-ob"], true).uses).toEqual([
      ["output", "a"],
      ["output", "b"],
    ]);
  });
});
