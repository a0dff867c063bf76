import { afterAll, describe, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import {
  isRevoked,
  parseRevocationList,
  readCertificateId,
} from "../../src/bytes/revocation-list.ts";
import { AgentError } from "../../src/errors.ts";
import { TestPki } from "../support/tls.ts";

const pki = new TestPki();
afterAll(() => pki[Symbol.dispose]());
pki.addAuthority("other");
pki.issue("good");
pki.issue("revoked");
pki.issue("v3", { extensions: ["keyUsage=digitalSignature"] });
pki.writeCrl({ authority: "other" });
const emptyList = readFileSync(pki.path("other.crl.der"));
pki.revoke("revoked");
pki.revoke("v3");
pki.writeCrl({ start: "20260101000000Z", end: "20560203040506Z" });
const list = readFileSync(pki.path("ca.crl.der"));

function idOf(name: string) {
  return readCertificateId(new X509Certificate(readFileSync(pki.path(`${name}.pem`))).raw);
}

describe("parseRevocationList()", () => {
  test("finds dates, of both ASN.1 forms", () => {
    const parsed = parseRevocationList(list);
    expect(parsed.thisUpdateMs).toBe(Date.UTC(2026, 0, 1));
    expect(parsed.nextUpdateMs).toBe(Date.UTC(2056, 1, 3, 4, 5, 6));
  });
  test("finds the certificates openssl revoked, v1 and v3, and no other", () => {
    const parsed = parseRevocationList(list);
    expect(parsed.serials.size).toBe(2);
    expect(isRevoked([parsed], idOf("revoked"))).toBe(true);
    expect(isRevoked([parsed], idOf("v3"))).toBe(true);
    expect(isRevoked([parsed], idOf("good"))).toBe(false);
  });
  test("does not mix up authorities", () => {
    const parsed = parseRevocationList(list);
    const elsewhere = { ...idOf("revoked"), issuer: parseRevocationList(emptyList).issuer };
    expect(isRevoked([parsed], elsewhere)).toBe(false);
  });
  test("takes an empty list", () => {
    expect(parseRevocationList(emptyList).serials.size).toBe(0);
  });
  test("refuses the list cut short at every length with nothing but AgentError", () => {
    for (let size = 0; size < list.length; size++) {
      expect(() => parseRevocationList(list.subarray(0, size))).toThrow(AgentError);
    }
  });
  test("survives every byte changed with nothing but AgentError", () => {
    for (let offset = 0; offset < list.length; offset++) {
      const damaged = Buffer.from(list);
      damaged[offset] = (damaged[offset] ?? 0) ^ 0xff;
      try {
        parseRevocationList(damaged);
      } catch (error) {
        expect(error).toBeInstanceOf(AgentError);
      }
    }
  });
  test("walks 10,000 entries in under 100 ms", () => {
    const long = longList(10_000);
    const startMs = performance.now();
    const parsed = parseRevocationList(long);
    expect(performance.now() - startMs).toBeLessThan(100);
    expect(parsed.serials.size).toBe(10_000);
    expect(parsed.serials.has("00002710")).toBe(true);
  });
});

test("readCertificateId() refuses what is no certificate", () => {
  expect(() => readCertificateId(Buffer.from("3003020101", "hex"))).toThrow(AgentError);
});

/** A TBSCertList with serials 1 … count, unsigned, as `parseRevocationList()` does not check that. */
function longList(count: number): Buffer {
  const time = der(0x17, Buffer.from("260101000000Z"));
  const entries = Array.from({ length: count }, (_, index) => {
    const serial = Buffer.alloc(4);
    serial.writeUInt32BE(index + 1);
    return der(0x30, Buffer.concat([der(0x02, serial), time]));
  });
  const name = der(0x30, Buffer.alloc(0));
  const parts = [der(0x02, Buffer.of(1)), der(0x30, Buffer.alloc(0)), name, time, time];
  const tbs = der(0x30, Buffer.concat([...parts, der(0x30, Buffer.concat(entries))]));
  return der(0x30, tbs);
}

function der(tag: number, content: Buffer): Buffer {
  if (content.length < 0x80) return Buffer.concat([Buffer.of(tag, content.length), content]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(content.length);
  return Buffer.concat([Buffer.of(tag, 0x84), length, content]);
}
