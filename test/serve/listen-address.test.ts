import { describe, expect, test } from "bun:test";
import { AgentError } from "../../src/errors.ts";
import {
  formatListenAddress,
  type ListenAddress,
  parseListenAddress,
} from "../../src/serve/listen-address.ts";

describe("parseListenAddress() takes", () => {
  const cases: [string, ListenAddress][] = [
    ["19532", { kind: "tcp", host: undefined, port: 19532 }],
    ["65535", { kind: "tcp", host: undefined, port: 65535 }],
    ["192.0.2.7:80", { kind: "tcp", host: "192.0.2.7", port: 80 }],
    ["[::]:19532", { kind: "tcp", host: "::", port: 19532 }],
    ["[2001:db8::7]:1", { kind: "tcp", host: "2001:db8::7", port: 1 }],
    ["[fe80::1%eth0]:19532", { kind: "tcp", host: "fe80::1%eth0", port: 19532 }],
    ["/run/agent.socket", { kind: "unix", path: "/run/agent.socket" }],
    ["@agent", { kind: "unix", path: "\0agent" }],
    ["-3", { kind: "inherited", fd: 3 }],
    ["-12", { kind: "inherited", fd: 12 }],
  ];
  for (const [text, address] of cases) {
    test(`"${text}" and formatListenAddress() gives it back`, () => {
      expect(parseListenAddress(text)).toEqual(address);
      expect(formatListenAddress(address)).toBe(text);
    });
  }
  test("port 0 for tests", () => {
    const address = parseListenAddress("127.0.0.1:0", { allowPortZero: true });
    expect(address).toEqual({ kind: "tcp", host: "127.0.0.1", port: 0 });
  });
});

describe("parseListenAddress() refuses", () => {
  const cases: [string, string][] = [
    ["", "neither a port, an address nor a path"],
    ["0", "descriptor 0 is never inherited"],
    ["-0", "descriptor 0 is never inherited"],
    ["-2", "descriptor 2 is never inherited"],
    ["65536", 'port "65536" is not a number from 1 to 65535'],
    ["127.0.0.1:0", "port 0, need a number"],
    ["127.0.0.1:", 'port "" is not a number'],
    ["127.0.0.1:http", 'port "http" is not a number'],
    ["127.0.0.1:1e3", 'port "1e3" is not a number'],
    ["127.0.0.1:+1", 'port "+1" is not a number'],
    ["127.0.0.1", "neither a port, an address nor a path"],
    ["localhost:1", '"localhost" is not a numeric IPv4 address'],
    ["256.0.0.1:1", '"256.0.0.1" is not a numeric IPv4 address'],
    ["::1:19532", "needs brackets"],
    ["[::1]", "not of the form [IPv6]:PORT"],
    ["[::1]:", 'port "" is not a number'],
    ["[::1:19532", "not of the form [IPv6]:PORT"],
    ["[127.0.0.1]:1", '"127.0.0.1" is not an IPv6 address'],
    ["[::1]:0", "port 0, need a number"],
    ["vsock:2:1234", "AF_VSOCK is not supported"],
    ["@", "the name is empty"],
    ["/", "the name is empty"],
    [`/${"x".repeat(107)}`, "108 bytes, at most 107 fit"],
    ["/run/a\0b", "a NUL byte"],
  ];
  for (const [text, problem] of cases) {
    test(JSON.stringify(text.slice(0, 30)), () => {
      const parse = () => parseListenAddress(text);
      expect(parse).toThrow(AgentError);
      expect(parse).toThrow(problem);
    });
  }
});
