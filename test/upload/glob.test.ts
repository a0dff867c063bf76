import { expect, test } from "bun:test";
import { compileGlob, isGlob } from "../../src/upload/glob.ts";

/** Pattern, what it takes, what it does not. */
const CASES: [string, string[], string[]][] = [
  ["ssh.service", ["ssh.service"], ["sshd.service", "ssh.service ", ""]],
  ["*", ["", "a", "a/b"], []],
  ["ssh*", ["ssh", "sshd.service"], ["xssh", "SSH"]],
  ["*.scope", ["a.scope", ".scope"], ["a.scope.d"]],
  ["a*b*c", ["abc", "aXbXbXc", "abbcc"], ["acb", "ab"]],
  ["a**?", ["ab", "abc"], ["a"]],
  [
    "session-?.scope",
    ["session-1.scope", "session-é.scope"],
    ["session-12.scope", "session-.scope"],
  ],
  ["[ab]", ["a", "b"], ["c", "ab", ""]],
  ["[a-c]x", ["ax", "bx", "cx"], ["dx", "-x"]],
  ["[!a-c]x", ["dx", "-x"], ["ax", "x"]],
  ["[^a-c]x", ["dx"], ["ax"]],
  ["[]a]", ["]", "a"], ["b"]],
  ["[!]a]", ["b"], ["]", "a"]],
  ["[a-]", ["a", "-"], ["b"]],
  ["[[:digit:]x]*", ["1", "x2"], ["a", ":"]],
  ["[[:nothing:]", ["[", ":", "n"], ["x"]],
  ["a[b", ["a[b"], ["ab"]],
  ["\\x2d*", ["\\x2d", "\\x2da"], ["x2d", "-"]],
];

for (const [pattern, taken, refused] of CASES) {
  test(`compileGlob("${pattern}")`, () => {
    const matches = compileGlob(pattern);
    expect(taken.filter((text) => !matches(text))).toEqual([]);
    expect(refused.filter((text) => matches(text))).toEqual([]);
  });
}

test("compileGlob() does not take long for many stars", () => {
  const startMs = performance.now();
  expect(compileGlob(`${"*a".repeat(50)}b`)("a".repeat(4000))).toBe(false);
  expect(performance.now() - startMs).toBeLessThan(1000);
});

test("isGlob() sees what stands for more than itself", () => {
  expect(["a*", "?b", "[c]"].every(isGlob)).toBe(true);
  expect(["a.service", "a]", "a!", "\\x2a", ""].some(isGlob)).toBe(false);
});
