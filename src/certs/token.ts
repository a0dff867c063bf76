/**
 * An enrolment token: the one line of text that a new host is given. With it the host recognises its authority before
 * anything is signed, and the authority recognises the host.
 *
 *   base64url( 01 | SHA-256 of the authority's certificate, DER | 32 random bytes, the secret | name, UTF-8 )
 *
 * The secret is the seed of an Ed25519 key (RFC 8032), and does not leave the host: what goes over the network is a proof,
 * the public key and what it signs, which is the request. So whoever passes a request on, the receiver too, has nothing of
 * the token that would do for another key.
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  type KeyObject,
  sign,
  verify,
} from "node:crypto";
import { AgentError } from "../errors.ts";
import { parseHostName } from "./names.ts";

export interface Token {
  /** SHA-256 of the DER of the authority's certificate. */
  fingerprint: Buffer;
  secret: Buffer;
  /** The host's, which is the common name of its certificate. */
  name: string;
}

/** What a host shows to its receiver as `Authorization: Token`. */
export interface Proof {
  /** 32 bytes. */
  publicKey: Buffer;
  /** Of the request, 64 bytes. */
  signature: Buffer;
}

const VERSION = 1;
const HASH_SIZE = 32;
export const SECRET_SIZE = 32;
/** Offsets of the parts behind the version. */
const SECRET_AT = 1 + HASH_SIZE;
const NAME_AT = SECRET_AT + SECRET_SIZE;
const BASE64URL = /^[A-Za-z0-9_-]+$/;
const PUBLIC_KEY_SIZE = 32;
/** Of 32 and 64 bytes. */
const PROOF = /^[A-Za-z0-9_-]{128}$/;
/** PEM is nothing else, and of other text different strings have the same bytes. */
const ASCII = /^[\t\n\r\x20-\x7e]*$/;
/** DER of what stands before a seed in PKCS #8, and before a public key in SubjectPublicKeyInfo (RFC 8410). */
const SEED_HEAD = Buffer.from("302e020100300506032b657004220420", "hex");
const PUBLIC_KEY_HEAD = Buffer.from("302a300506032b6570032100", "hex");
/** Signed before the request, so that a signature is good for nothing else. */
const PURPOSE = "journal-agent enrolment\n";

export function formatToken({ fingerprint, secret, name }: Token): string {
  if (fingerprint.length !== HASH_SIZE || secret.length !== SECRET_SIZE) {
    throw new RangeError("Fingerprint and secret of a token have 32 bytes each");
  }
  const parts = [Uint8Array.of(VERSION), fingerprint, secret, Buffer.from(name, "utf8")];
  return Buffer.concat(parts).toString("base64url");
}

/** @throws AgentError E_USAGE, without the text: it is a secret */
export function parseToken(text: string): Token {
  const fail = (problem: string): AgentError => {
    const hint = "On the authority, agent certs token NAME makes one: copy the whole line";
    return new AgentError("E_USAGE", `Cannot use the token: ${problem}`, { hint });
  };
  const trimmed = text.trim();
  if (!BASE64URL.test(trimmed)) throw fail("it has other signs than letters, digits, '-', '_'");
  const bytes = Buffer.from(trimmed, "base64url");
  if (bytes[0] !== VERSION) throw fail(`its version is ${bytes[0]}, need ${VERSION}`);
  if (bytes.length <= NAME_AT) throw fail("its end is missing");
  let name: string;
  try {
    name = parseHostName(bytes.toString("utf8", NAME_AT));
  } catch {
    throw fail("the name in it is no host's");
  }
  return {
    fingerprint: bytes.subarray(1, SECRET_AT),
    secret: bytes.subarray(SECRET_AT, NAME_AT),
    name,
  };
}

/** Of a token's secret, 32 bytes: what the authority knows it by. */
export function publicKeyOf(secret: Buffer): Buffer {
  const der = createPublicKey(privateKeyOf(secret)).export({ type: "spki", format: "der" });
  return der.subarray(PUBLIC_KEY_HEAD.length);
}

/** What stands behind `Token`. @param request PKCS #10, PEM, as it is sent */
export function prove(secret: Buffer, request: string): string {
  const signature = sign(null, Buffer.from(PURPOSE + request), privateKeyOf(secret));
  return Buffer.concat([publicKeyOf(secret), signature]).toString("base64url");
}

/** @returns undefined for what is none */
export function parseProof(text: string): Proof | undefined {
  if (!PROOF.test(text)) return undefined;
  const bytes = Buffer.from(text, "base64url");
  return {
    publicKey: bytes.subarray(0, PUBLIC_KEY_SIZE),
    signature: bytes.subarray(PUBLIC_KEY_SIZE),
  };
}

/** Whether who made this request has the token. */
export function isProven({ publicKey, signature }: Proof, request: string): boolean {
  if (!ASCII.test(request)) return false;
  const der = Buffer.concat([PUBLIC_KEY_HEAD, publicKey]);
  const key = createPublicKey({ key: der, type: "spki", format: "der" });
  return verify(null, Buffer.from(PURPOSE + request), key, signature);
}

function privateKeyOf(secret: Buffer): KeyObject {
  const der = Buffer.concat([SEED_HEAD, secret]);
  return createPrivateKey({ key: der, type: "pkcs8", format: "der" });
}

/** How an authority is recognised. @param der its certificate */
export function authorityFingerprint(der: Uint8Array): Buffer {
  return createHash("sha256").update(der).digest();
}
