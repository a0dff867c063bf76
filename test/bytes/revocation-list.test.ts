import { afterAll, describe, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import {
  isListSignedBy,
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
  test("takes in a list of 10,000 entries", () => {
    const parsed = parseRevocationList(longList(10_000));
    expect(parsed.serials.size).toBe(10_000);
    expect(parsed.serials.has("2710")).toBe(true);
  });
});

describe("signatures", () => {
  const pss = ["-sigopt", "rsa_padding_mode:pss"];
  const request = ["-keyout", "rsa.key", "-out", "rsa.pem", "-subj", "/CN=RSA", "-days", "9"];
  pki.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", ...request);
  for (const [file, start] of Object.entries({ index: "", serial: "01\n", crlnumber: "01\n" })) {
    writeFileSync(pki.path(`rsa.${file}`), start);
  }
  const config = readFileSync(pki.path("ca.cnf"), "utf8").replaceAll("ca.", "rsa.");
  writeFileSync(pki.path("rsa.cnf"), config);
  const rsaList = (...options: string[]) => {
    pki.openssl("ca", "-config", "rsa.cnf", "-gencrl", ...options, "-out", "rsa.crl");
    pki.openssl("crl", "-in", "rsa.crl", "-outform", "DER", "-out", "rsa.crl.der");
    return readFileSync(pki.path("rsa.crl.der"));
  };
  const keyOf = (name: string) =>
    new X509Certificate(readFileSync(pki.path(`${name}.pem`))).publicKey;

  test.each([
    ["RSA", []],
    ["RSA with SHA-512", ["-md", "sha512"]],
    ["RSA-PSS", pss],
    [
      "RSA-PSS with SHA-384, a short salt",
      ["-md", "sha384", ...pss, "-sigopt", "rsa_pss_saltlen:20"],
    ],
  ])("%s: only the authority's own is one", (_what, options) => {
    const der = rsaList(...options);
    expect(parseRevocationList(der).serials.size).toBe(0);
    expect(isListSignedBy(der, keyOf("rsa"))).toBe(true);
    expect(isListSignedBy(der, keyOf("ca"))).toBe(false);
    const forged = Buffer.from(der);
    forged[der.length - 1] = (der.at(-1) ?? 0) ^ 1;
    expect(isListSignedBy(forged, keyOf("rsa"))).toBe(false);
  });
  test.each([
    ["RSA with SHA-1", ["-md", "sha1"]],
    ["RSA-PSS with SHA-224", ["-md", "sha224", ...pss]],
  ])("%s: refused when the list is read, not when a client comes", (_what, options) => {
    const der = rsaList(...options);
    const problem = "Cannot use revocation list: its kind of signature is not known here";
    expect(() => parseRevocationList(der)).toThrow(problem);
  });
});

test("readCertificateId() refuses what is no certificate", () => {
  expect(() => readCertificateId(Buffer.from("3003020101", "hex"))).toThrow(AgentError);
});

/** With serials 1 … count in four bytes each, and a signature of nobody, as `parseRevocationList()` does not check that. */
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
  const ecdsaWithSha256 = der(0x30, der(0x06, Buffer.from("2a8648ce3d040302", "hex")));
  return der(0x30, Buffer.concat([tbs, ecdsaWithSha256, der(0x03, Buffer.of(0))]));
}

function der(tag: number, content: Buffer): Buffer {
  if (content.length < 0x80) return Buffer.concat([Buffer.of(tag, content.length), content]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(content.length);
  return Buffer.concat([Buffer.of(tag, 0x84), length, content]);
}
