/** Private keys: made, read, kept under a passphrase (PKCS #8, PBES2 of RFC 8018 with PBKDF2 and AES-256-CBC). */
import {
  createCipheriv,
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  type KeyObject,
  pbkdf2,
  randomBytes,
} from "node:crypto";
import { promisify } from "node:util";
import {
  encodeElement,
  encodeNumber,
  encodeObjectId,
  encodeOctets,
  encodeSequence,
} from "../bytes/der-writer.ts";
import { AgentError, errnoOf, reasonOf } from "../errors.ts";
import { formatPem } from "./pem.ts";

export const KEY_TYPES = ["p256", "rsa2048", "rsa3072", "rsa4096"] as const;
export type KeyType = (typeof KEY_TYPES)[number];

/** OWASP's figure for HMAC-SHA-256 (Password Storage Cheat Sheet, 2023). */
const PBKDF2_ITERATIONS = 600_000;
/** PBKDF2 makes a key of any passphrase; this keeps out the empty one and slips. */
const PASSPHRASE_LENGTH_MIN = 4;

const OID = {
  pbes2: "1.2.840.113549.1.5.13",
  pbkdf2: "1.2.840.113549.1.5.12",
  hmacSha256: "1.2.840.113549.2.9",
  aes256Cbc: "2.16.840.1.101.3.4.1.42",
} as const;
const DER_NULL = Buffer.from([5, 0]);

export async function generateKey(type: KeyType): Promise<KeyObject> {
  const makeKeys = promisify(generateKeyPair);
  if (type === "p256") return (await makeKeys("ec", { namedCurve: "P-256" })).privateKey;
  const modulusLength = Number(type.slice("rsa".length));
  return (await makeKeys("rsa", { modulusLength, publicExponent: 65_537 })).privateKey;
}

/** "p256", "rsa2048", and in the same manner for keys that are not made here: "p384", "ed25519". */
export function describeKey(key: KeyObject): string {
  const { modulusLength, namedCurve } = key.asymmetricKeyDetails ?? {};
  if (modulusLength !== undefined) return `rsa${modulusLength}`;
  const bits = { prime256v1: 256, secp384r1: 384, secp521r1: 521 }[namedCurve ?? ""];
  return bits === undefined ? (namedCurve ?? key.asymmetricKeyType ?? "unknown") : `p${bits}`;
}

/** @param file for the messages. @throws AgentError E_CERT */
export function readPrivateKey(pem: string, file: string, passphrase?: string): KeyObject {
  if (!/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(pem)) {
    throw unusable(file, "no PEM private key in it", undefined);
  }
  try {
    return createPrivateKey({ key: pem, ...(passphrase === undefined ? {} : { passphrase }) });
  } catch (error) {
    throw unusable(file, problemOf(error), error);
  }
}

export function isEncrypted(pem: string): boolean {
  return pem.includes("ENCRYPTED");
}

export function isSameKey(privateKey: KeyObject, publicKey: KeyObject): boolean {
  return createPublicKey(privateKey).equals(publicKey);
}

/** @returns PEM, unencrypted without a passphrase. @throws AgentError E_USAGE for one too short */
export async function formatPrivateKey(
  key: KeyObject,
  passphrase: string | undefined,
): Promise<string> {
  const der = key.export({ type: "pkcs8", format: "der" });
  if (passphrase === undefined) return formatPem("PRIVATE KEY", der);
  if (passphrase.length < PASSPHRASE_LENGTH_MIN) {
    const problem = `${passphrase.length} characters, need at least ${PASSPHRASE_LENGTH_MIN}`;
    throw new AgentError("E_USAGE", `Cannot use the passphrase: ${problem}`);
  }
  return formatPem("ENCRYPTED PRIVATE KEY", await encrypt(der, passphrase));
}

/** EncryptedPrivateKeyInfo of RFC 5958. */
async function encrypt(der: Buffer, passphrase: string): Promise<Buffer> {
  const salt = randomBytes(16);
  const iv = randomBytes(16);
  const secret = await promisify(pbkdf2)(passphrase, salt, PBKDF2_ITERATIONS, 32, "sha256");
  const cipher = createCipheriv("aes-256-cbc", secret, iv);
  const content = Buffer.concat([cipher.update(der), cipher.final()]);
  const prf = encodeSequence(encodeObjectId(OID.hmacSha256), DER_NULL);
  const derivation = encodeSequence(encodeOctets(salt), encodeNumber(PBKDF2_ITERATIONS), prf);
  const parameters = encodeSequence(
    encodeSequence(encodeObjectId(OID.pbkdf2), derivation),
    encodeSequence(encodeObjectId(OID.aes256Cbc), encodeOctets(iv)),
  );
  return encodeSequence(
    encodeSequence(encodeObjectId(OID.pbes2), parameters),
    encodeElement(0x04, content),
  );
}

function problemOf(error: unknown): string {
  const reason = reasonOf(error);
  if (errnoOf(error) === "ERR_MISSING_PASSPHRASE") return "it is encrypted, need its passphrase";
  if (/BAD_DECRYPT|bad decrypt/.test(reason)) return "the passphrase is wrong";
  if (/UNSUPPORTED_(KEY_DERIVATION|PRF|ENCRYPTION|CIPHER)/.test(reason)) {
    return "its encryption is unknown here, need PBKDF2 with HMAC-SHA-1 or -SHA-256";
  }
  return `the key is broken (${reason})`;
}

function unusable(file: string, problem: string, cause: unknown): AgentError {
  const needsPassphrase = errnoOf(cause) === "ERR_MISSING_PASSPHRASE";
  const hint = needsPassphrase ? { hint: "Give it in a file: --passphrase-file=FILE" } : {};
  const message = `Cannot use private key "${file}": ${problem}`;
  return new AgentError("E_CERT", message, { cause, ...hint });
}
