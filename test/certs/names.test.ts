import { describe, expect, test } from "bun:test";
import {
  alternativeNames,
  formatAlternativeName,
  isSameNames,
  parseAlternativeName,
  parseHostName,
} from "../../src/certs/names.ts";
import { AgentError } from "../../src/errors.ts";

const errorOf = (call: () => unknown): AgentError => {
  try {
    call();
  } catch (error) {
    if (error instanceof AgentError) return error;
    throw error;
  }
  throw new Error("Nothing was thrown");
};

describe("parseHostName()", () => {
  test.each(["web1", "a", "web1.example.net", "WEB_1", "192.0.2.7", "x".repeat(64)])(
    "takes %p",
    (name) => {
      expect(parseHostName(name)).toBe(name);
    },
  );

  test.each([
    "",
    ".",
    "..",
    "a/b",
    "../a",
    "a..b",
    "/etc/passwd",
    "-a",
    ".a",
    "a b",
    "a\nb",
    "a\0b",
    "a\u001b[0m",
    "a\tb",
    "bücher",
    "日本",
    "a'b",
    'a"b',
    "$(id)",
    "a;b",
    "x".repeat(65),
    "x".repeat(100_000),
    "ca",
    "CA",
    "ca-old",
    "ca-new",
    "crl",
    "a:b",
    "*",
  ])("refuses %p", (name) => {
    const error = errorOf(() => parseHostName(name));
    expect(error.code).toBe("E_USAGE");
    expect(error.message).toStartWith("Cannot use name ");
    expect(error.message.length).toBeLessThan(200);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not come out
    expect(error.message).not.toMatch(/[\u0000-\u001f]/);
  });
});

describe("parseAlternativeName()", () => {
  test.each([
    ["DNS:web1", "DNS:web1"],
    ["dns:web1", "DNS:web1"],
    ["web1.example.net", "DNS:web1.example.net"],
    ["*.example.net", "DNS:*.example.net"],
    ["my_host", "DNS:my_host"],
    ["IP:10.0.0.1", "IP:10.0.0.1"],
    ["10.0.0.1", "IP:10.0.0.1"],
    ["IP Address:10.0.0.1", "IP:10.0.0.1"],
    ["2001:DB8:0:0:0:0:0:1", "IP:2001:db8::1"],
    ["IP:2001:db8::1", "IP:2001:db8::1"],
    ["::1", "IP:::1"],
    ["fe80::1", "IP:fe80::1"],
    ["::ffff:192.0.2.1", "IP:::ffff:c000:201"],
  ])("types %p as %p", (text, expected) => {
    expect(formatAlternativeName(parseAlternativeName(text))).toBe(expected);
  });

  test.each([
    "",
    "DNS:",
    "IP:",
    "IP:web1",
    "DNS:a b",
    "10.0.0.300",
    "1.2.3",
    "a..b",
    "a.",
    ".a",
    "-a",
    "a-",
    "*",
    "a.*.b",
    "email:a@example.net",
    "URI:http://x",
    "RID:1.2.3",
    "fe80::1%eth0",
    "DNS:bücher.example",
    "a\nDNS:b",
    "a,DNS:b",
    `${"x".repeat(64)}.net`,
    `${"x.".repeat(130)}net`,
    "DNS:a/b",
  ])("refuses %p", (text) => {
    expect(errorOf(() => parseAlternativeName(text)).code).toBe("E_USAGE");
  });
});

describe("alternativeNames()", () => {
  test("puts the host's own name first, and each name once", () => {
    const others = ["DNS:WEB1", "b", "10.0.0.1", "IP:10.0.0.1"].map(parseAlternativeName);
    const names = alternativeNames("web1", others).map(formatAlternativeName);
    expect(names).toEqual(["DNS:WEB1", "DNS:b", "IP:10.0.0.1"]);
    expect(alternativeNames("192.0.2.7", []).map(formatAlternativeName)).toEqual(["IP:192.0.2.7"]);
  });

  test("has a limit", () => {
    const many = Array.from({ length: 100 }, (_, i) => parseAlternativeName(`n${i}`));
    expect(alternativeNames("n0", many)).toHaveLength(100);
    expect(errorOf(() => alternativeNames("web1", many)).code).toBe("E_USAGE");
  });
});

test("isSameNames() heeds neither order nor case nor repetition", () => {
  const names = (...texts: string[]) => texts.map(parseAlternativeName);
  expect(isSameNames(names("a", "b"), names("B", "a", "b"))).toBe(true);
  expect(isSameNames(names("a"), names("a", "b"))).toBe(false);
  expect(isSameNames(names("a", "b"), names("a"))).toBe(false);
  expect(isSameNames(names("DNS:a"), names("b"))).toBe(false);
});
