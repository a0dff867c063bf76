import { describe, expect, test } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import {
  authorityFingerprint,
  formatSecret,
  formatToken,
  parseSecret,
  parseToken,
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

test("a secret has 32 bytes", () => {
  expect(parseSecret(formatSecret(secret))).toEqual(secret);
  for (const text of ["", "AAAA", formatSecret(randomBytes(31)), `${formatSecret(secret)}=`]) {
    expect(parseSecret(text)).toBeUndefined();
  }
  expect(() => formatToken({ fingerprint, secret: randomBytes(31), name: "a" })).toThrow(
    RangeError,
  );
  expect(authorityFingerprint(Buffer.from("authority"))).toEqual(fingerprint);
});
