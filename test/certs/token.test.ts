import { describe, expect, test } from "bun:test";
import { createHash, generateKeyPairSync, randomBytes } from "node:crypto";
import {
  authorityFingerprint,
  formatToken,
  isProven,
  parseProof,
  parseToken,
  prove,
  publicKeyOf,
} from "../../src/certs/token.ts";

const fingerprint = createHash("sha256").update("authority").digest();
const secret = randomBytes(32);

describe("parseToken()", () => {
  test.each(["web1", "a", "web1.example.net", "x".repeat(64)])("reads back %s", (name) => {
    const text = formatToken({ fingerprint, secret, name });
    expect(text).toMatch(/^[A-Za-z0-9_-]+$/);
    expect(parseToken(text)).toEqual({ fingerprint, secret, name });
    expect(parseToken(`  ${text}\n`)).toEqual({ fingerprint, secret, name });
  });

  test("has the bytes that its description gives", () => {
    const text = formatToken({ fingerprint, secret, name: "web1" });
    const bytes = Buffer.concat([Buffer.from([1]), fingerprint, secret, Buffer.from("web1")]);
    expect(text).toBe(bytes.toString("base64url"));
  });

  const good = formatToken({ fingerprint, secret, name: "web1" });
  const withName = (name: string): string =>
    Buffer.concat([Buffer.from(good, "base64url").subarray(0, 65), Buffer.from(name)]).toString(
      "base64url",
    );
  test.each([
    ["", "other signs"],
    [`${good.slice(0, -1)}!`, "other signs"],
    [`${good} x`, "other signs"],
    [`B${good.slice(1)}`, "its version is"],
    [good.slice(0, 80), "its end is missing"],
    [withName(""), "its end is missing"],
    [withName("../etc"), "the name in it is no host's"],
    [withName("ca"), "the name in it is no host's"],
    [withName("\xff"), "the name in it is no host's"],
  ])("refuses %s, and does not show it", (text, problem) => {
    expect(() => parseToken(text)).toThrow(problem);
    try {
      parseToken(text);
    } catch (error) {
      if (text !== "") expect(String(error)).not.toContain(text.slice(3, 40));
    }
  });
});

test("fingerprint and secret have 32 bytes", () => {
  expect(() => formatToken({ fingerprint, secret: randomBytes(31), name: "a" })).toThrow(
    RangeError,
  );
  expect(authorityFingerprint(Buffer.from("authority"))).toEqual(fingerprint);
});

describe("a proof", () => {
  const request = "-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n";

  /** Whether a receiver's signer takes it. */
  function isTaken(text: string, forRequest: string): boolean {
    const proof = parseProof(text);
    return proof?.publicKey.equals(publicKeyOf(secret)) === true && isProven(proof, forRequest);
  }

  test("is RFC 8032's: the seed makes the key that RFC 8032, 7.1 gives for it", () => {
    const seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    const key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    expect(publicKeyOf(Buffer.from(seed, "hex")).toString("hex")).toBe(key);
  });

  test("is good for its request alone, and the same each time", () => {
    const proof = prove(secret, request);
    expect(proof).toMatch(/^[A-Za-z0-9_-]{128}$/);
    expect(prove(secret, request)).toBe(proof);
    expect(isTaken(proof, request)).toBe(true);
    expect(isTaken(proof, request.replace("MIIB", "MIIC"))).toBe(false);
    expect(isTaken(proof, `${request}\n`)).toBe(false);
    expect(isTaken(proof, "")).toBe(false);
  });

  test("is of a request in ASCII, of which no two have the same bytes", () => {
    const odd = `${request}\ud800`;
    expect(isTaken(prove(secret, odd), odd)).toBe(false);
    expect(isTaken(prove(secret, `${request}\ufffd`), odd)).toBe(false);
  });

  test("of another secret, changed at any byte, or of another size is none", () => {
    expect(isTaken(prove(randomBytes(32), request), request)).toBe(false);
    const bytes = Buffer.from(prove(secret, request), "base64url");
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(isTaken(changed.toString("base64url"), request)).toBe(false);
    }
    for (const text of ["", "AAAA", `${bytes.toString("base64url")}AA`, bytes.toString("base64")]) {
      if (text !== bytes.toString("base64url")) expect(parseProof(text)).toBeUndefined();
    }
  });

  test("does not hold the secret, and another key's signature does not do", () => {
    const proof = Buffer.from(prove(secret, request), "base64url");
    expect(proof.includes(secret)).toBe(false);
    const { publicKey } = generateKeyPairSync("ed25519");
    const raw = publicKey.export({ type: "spki", format: "der" }).subarray(-32);
    const stolen = Buffer.concat([raw, proof.subarray(32)]).toString("base64url");
    expect(isProven(parseProof(stolen) ?? { publicKey: raw, signature: raw }, request)).toBe(false);
  });
});
