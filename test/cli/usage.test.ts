import { expect, test } from "bun:test";
import { formatUsage } from "../../src/cli/usage.ts";

test("formatUsage() groups, aligns and wraps", () => {
  const text = formatUsage({
    program: "agent test",
    words: "[FILE]",
    description: "Test the help text.",
    options: [
      { name: "a", short: "a", takesValue: "never", group: "One", description: "The first" },
      {
        name: "bee",
        takesValue: "optionally",
        valueHint: "BOOL",
        group: "Two",
        description: "The second",
        key: "Bee",
        defaultText: "no",
      },
      {
        name: "an-option-with-a-long-name",
        takesValue: "always",
        repeatable: true,
        group: "One",
        description: "word ".repeat(20).trim(),
      },
    ],
    notes: ["The end."],
  });
  expect(text).toBe(
    [
      "Usage: agent test [OPTION]... [FILE]",
      "",
      "Test the help text.",
      "",
      "One:",
      "  -a, --a                       The first",
      "      --an-option-with-a-long-name=VALUE",
      `                                ${"word ".repeat(13).trim()}`,
      `                                ${"word ".repeat(7).trim()} (repeatable)`,
      "",
      "Two:",
      "      --bee[=BOOL]              The second (key Bee=; default: no)",
      "",
      "The end.",
      "",
    ].join("\n"),
  );
});
