import { describe, expect, test } from "bun:test";
import { addressName, certificateName, isAllowed } from "../../src/serve/identity.ts";

describe("certificateName()", () => {
  const san = "DNS:web7.example.net, DNS:b.example.net, IP Address:192.0.2.7";
  const cases: [string, Parameters<typeof certificateName>[0], string][] = [
    ["takes the CN", { subject: { CN: "web1" }, subjectaltname: san }, "web1"],
    ["takes the first of several CN", { subject: { CN: ["web1", "web2"] } }, "web1"],
    ["takes a CN as it is", { subject: { CN: "a/../b\0 é" } }, "a/../b\0 é"],
    [
      "takes the first DNS name without a CN",
      { subject: {}, subjectaltname: san },
      "web7.example.net",
    ],
    ["takes it for an empty CN", { subject: { CN: "" }, subjectaltname: san }, "web7.example.net"],
    ["takes DNS before IP", { subjectaltname: "IP Address:192.0.2.7, DNS:a" }, "a"],
    ["takes an IPv4 address", { subjectaltname: "email:a@b, IP Address:192.0.2.7" }, "192.0.2.7"],
    [
      "shortens an IPv6 address",
      { subjectaltname: "IP Address:2001:DB8:0:0:0:0:0:1" },
      "2001:db8::1",
    ],
    [
      "is not fooled by a quoted URI",
      { subjectaltname: 'URI:"http://x/\\u002cDNS:evil", DNS:good' },
      "good",
    ],
    ["unquotes a DNS name", { subjectaltname: 'DNS:"a\\u002c DNS:evil"' }, "a, DNS:evil"],
    ["is empty without any", { subject: {}, subjectaltname: "email:a@b" }, ""],
    ["is empty without all", {}, ""],
  ];
  for (const [name, certificate, expected] of cases) {
    test(name, () => expect(certificateName(certificate)).toBe(expected));
  }
});

describe("addressName()", () => {
  const cases: [string | undefined, string][] = [
    ["192.0.2.7", "192.0.2.7"],
    ["::ffff:192.0.2.7", "192.0.2.7"],
    ["::FFFF:192.0.2.7", "192.0.2.7"],
    ["2001:db8::7", "2001:db8::7"],
    ["::ffff:db8", "::ffff:db8"],
    [undefined, "this-host"],
  ];
  for (const [address, name] of cases) {
    test(`of ${address} is ${name}`, () => expect(addressName(address, "this-host")).toBe(name));
  }
});

describe("isAllowed()", () => {
  const cases: [string, string[], boolean][] = [
    ["web1", [], true],
    ["web1", ["web1"], true],
    ["web1", ["web2"], false],
    ["web1", ["web2", "web*"], true],
    ["web1", ["*"], true],
    ["web1", ["web?"], true],
    ["web", ["web?"], false],
    ["web12", ["web?"], false],
    ["web12", ["w*2"], true],
    ["web.example.net", ["*.example.net"], true],
    ["webXexample.net", ["*.example.net"], false],
    ["web1", ["WEB1"], false],
    ["web1.evil", ["web1"], false],
    ["a*b", ["a?b"], true],
    ["aXXbYYb", ["a*b*b"], true],
    ["aXXbYYc", ["a*b*b"], false],
    ["web1", [""], false],
    ["web1", ["web1**"], true],
  ];
  for (const [name, patterns, allowed] of cases) {
    test(`${name} by ${JSON.stringify(patterns)} is ${allowed}`, () =>
      expect(isAllowed(name, patterns)).toBe(allowed));
  }
  test("takes no time for a hostile pattern", () => {
    const startMs = performance.now();
    expect(isAllowed("a".repeat(1000), [`${"*a".repeat(500)}b`])).toBe(false);
    expect(performance.now() - startMs).toBeLessThan(500);
  });
});
