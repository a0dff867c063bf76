/**
 * An enrolment token: the one line of text that a new host is given. With it the host recognises its authority before
 * anything is signed, and the authority recognises the host.
 *
 *   base64url( 01 | SHA-256 of the authority's certificate, DER | 32 random bytes, the secret | name, UTF-8 )
 */
import { createHash } from "node:crypto";
import { AgentError } from "../errors.ts";
import { parseHostName } from "./names.ts";

export interface Token {
  /** SHA-256 of the DER of the authority's certificate. */
  fingerprint: Buffer;
  /** Shown to the receiver as `Authorization: Bearer`, in base64url. */
  secret: Buffer;
  /** The host's, which is the common name of its certificate. */
  name: string;
}

const VERSION = 1;
const HASH_SIZE = 32;
export const SECRET_SIZE = 32;
/** Offsets of the parts behind the version. */
const SECRET_AT = 1 + HASH_SIZE;
const NAME_AT = SECRET_AT + SECRET_SIZE;
const BASE64URL = /^[A-Za-z0-9_-]+$/;

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

/** What stands behind `Bearer`. */
export function formatSecret(secret: Buffer): string {
  return secret.toString("base64url");
}

/** @returns undefined for what is none */
export function parseSecret(text: string): Buffer | undefined {
  const secret = BASE64URL.test(text) ? Buffer.from(text, "base64url") : undefined;
  return secret?.length === SECRET_SIZE ? secret : undefined;
}

/** How an authority is recognised. @param der its certificate */
export function authorityFingerprint(der: Uint8Array): Buffer {
  return createHash("sha256").update(der).digest();
}
