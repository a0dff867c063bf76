import { describe, expect, test } from "bun:test";
import { createPublicKey } from "node:crypto";
import { readFileSync } from "node:fs";
import {
  describeKey,
  formatPrivateKey,
  generateKey,
  isSameKey,
  KEY_TYPES,
  readPrivateKey,
} from "../../src/certs/keys.ts";
import { TempDir } from "../support/temp-dir.ts";

function openssl(dir: TempDir, ...args: string[]): string {
  const run = Bun.spawnSync(["openssl", ...args], { cwd: dir.path, stderr: "pipe" });
  if (!run.success) throw new Error(`${run.stderr}`);
  return run.stdout.toString();
}

test.each([...KEY_TYPES])(
  "generateKey(%p) makes what openssl takes",
  async (type) => {
    using dir = new TempDir();
    const key = await generateKey(type);
    expect(describeKey(key)).toBe(type);
    dir.write("key", await formatPrivateKey(key, undefined));
    expect(openssl(dir, "pkey", "-in", "key", "-check", "-noout")).toContain("Key is valid");
  },
  60_000,
);

describe("a passphrase", () => {
  test("encrypts with PBES2; openssl and readPrivateKey() open it with the right one only", async () => {
    using dir = new TempDir();
    const key = await generateKey("p256");
    const pem = await formatPrivateKey(key, "correct horse");
    dir.write("key", pem);
    expect(pem).toStartWith("-----BEGIN ENCRYPTED PRIVATE KEY-----\n");
    const plain = openssl(dir, "pkey", "-in", "key", "-passin", "pass:correct horse");
    expect(plain).toBe(await formatPrivateKey(key, undefined));
    const parsed = openssl(dir, "asn1parse", "-in", "key");
    for (const part of ["PBES2", "PBKDF2", "hmacWithSHA256", "aes-256-cbc"])
      expect(parsed).toContain(part);
    expect(parsed).toContain("INTEGER           :0927C0");
    expect(readPrivateKey(pem, "ca.key", "correct horse").equals(key)).toBe(true);
    expect(() => readPrivateKey(pem, "ca.key", "wrong")).toThrow(
      'Cannot use private key "ca.key": the passphrase is wrong',
    );
    expect(() => readPrivateKey(pem, "ca.key")).toThrow("it is encrypted, need its passphrase");
  });

  test("two keys under one passphrase have different salts", async () => {
    const key = await generateKey("p256");
    expect(await formatPrivateKey(key, "correct")).not.toBe(await formatPrivateKey(key, "correct"));
  });

  test("is not too short", async () => {
    const key = await generateKey("p256");
    await expect(formatPrivateKey(key, "abc")).rejects.toThrow(
      "Cannot use the passphrase: 3 characters",
    );
  });
});

test("readPrivateKey() reads the forms that openssl has written over the years", () => {
  using dir = new TempDir();
  openssl(dir, "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "pkcs8");
  openssl(dir, "rsa", "-in", "pkcs8", "-traditional", "-out", "pkcs1");
  openssl(
    dir,
    "rsa",
    "-in",
    "pkcs8",
    "-traditional",
    "-aes256",
    "-passout",
    "pass:abcd",
    "-out",
    "dek",
  );
  openssl(dir, "pkey", "-in", "pkcs8", "-aes128", "-passout", "pass:abcd", "-out", "pbes2");
  openssl(dir, "ecparam", "-name", "prime256v1", "-genkey", "-out", "sec1");
  const read = (name: string) =>
    readPrivateKey(readFileSync(`${dir.path}/${name}`, "utf8"), name, "abcd");
  const key = read("pkcs8");
  for (const name of ["pkcs1", "dek", "pbes2"]) expect(read(name).equals(key)).toBe(true);
  expect(describeKey(read("sec1"))).toBe("p256");
  expect(isSameKey(key, createPublicKey(key))).toBe(true);
  expect(isSameKey(read("sec1"), createPublicKey(key))).toBe(false);
});

test("readPrivateKey() says what is wrong", () => {
  using dir = new TempDir();
  openssl(dir, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "key");
  openssl(
    dir,
    "pkcs8",
    "-topk8",
    "-in",
    "key",
    "-scrypt",
    "-passout",
    "pass:abcd",
    "-out",
    "scrypt",
  );
  const scrypt = readFileSync(`${dir.path}/scrypt`, "utf8");
  expect(() => readPrivateKey(scrypt, "k", "abcd")).toThrow("its encryption is unknown here");
  expect(() => readPrivateKey("", "k")).toThrow("no PEM private key in it");
  const broken = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
  expect(() => readPrivateKey(broken, "k")).toThrow(
    'Cannot use private key "k": the key is broken',
  );
});
