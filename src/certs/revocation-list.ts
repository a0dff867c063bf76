/**
 * Certificate revocation lists (RFC 5280 section 5), encoded directly: a library that makes an object of each of
 * 10,000 entries takes seconds for it. Version 2, with number and key of the authority, and reasons where given.
 */
import { type KeyObject, sign } from "node:crypto";
import { DerTag, expectElement, readElement, readTime } from "../bytes/der.ts";
import {
  encodeElement,
  encodeInteger,
  encodeNumber,
  encodeObjectId,
  encodeOctets,
  encodeSequence,
  encodeTime,
} from "../bytes/der-writer.ts";
import { formatPem, readPem } from "./pem.ts";
import { REVOCATION_REASONS, type RevocationReason } from "./reasons.ts";

export interface RevokedCertificate {
  /** Hexadecimal digits. */
  serial: string;
  revokedMs: number;
  reason: RevocationReason;
}

export interface ListDraft {
  /** DER of the authority's certificate: its subject is the list's issuer. */
  certificate: Uint8Array;
  /** Hexadecimal digits. */
  keyId: string;
  key: KeyObject;
  thisUpdateMs: number;
  nextUpdateMs: number;
  entries: readonly RevokedCertificate[];
}

const OID = {
  ecdsaSha256: "1.2.840.10045.4.3.2",
  rsaSha256: "1.2.840.113549.1.1.11",
  crlNumber: "2.5.29.20",
  authorityKeyId: "2.5.29.35",
  reasonCode: "2.5.29.21",
} as const;
/** Two bytes of head, the serial (23), a date (17), a reason (14). */
const ENTRY_SIZE_MAX = 64;
const DER_NULL = Buffer.from([5, 0]);
const VERSION_2 = encodeNumber(1);
/** [0], primitive: keyIdentifier of an AuthorityKeyIdentifier. */
const KEY_IDENTIFIER = 0x80;
/** The dates of a list are within its first bytes, whatever follows: a name is some hundred bytes at most. */
const HEAD_LENGTH = 16 * 1024;

const REASON_EXTENSIONS = Object.fromEntries(
  Object.entries(REVOCATION_REASONS).map(([reason, code]) => [reason, encodeReason(code)]),
) as Record<RevocationReason, Uint8Array>;

/** @returns PEM */
export function createRevocationList(draft: ListDraft): string {
  const algorithm = algorithmOf(draft.key);
  const revoked = encodeEntries(draft.entries);
  const tbs = encodeSequence(
    VERSION_2,
    algorithm,
    subjectOf(draft.certificate),
    encodeTime(draft.thisUpdateMs),
    encodeTime(draft.nextUpdateMs),
    // "revokedCertificates MUST be absent" when there are none.
    ...(revoked.length === 0 ? [] : [encodeSequence(revoked)]),
    encodeElement(
      DerTag.context0,
      encodeSequence(
        encodeExtension(
          OID.authorityKeyId,
          encodeSequence(encodeElement(KEY_IDENTIFIER, Buffer.from(draft.keyId, "hex"))),
        ),
        // Grows with the clock, so there is no counter to keep.
        encodeExtension(OID.crlNumber, encodeNumber(draft.thisUpdateMs)),
      ),
    ),
  );
  const signature = Buffer.concat([Buffer.from([0]), sign("sha256", tbs, draft.key)]);
  const list = encodeSequence(tbs, algorithm, encodeElement(DerTag.bitString, signature));
  return formatPem("X509 CRL", list);
}

/** When the first list of a PEM text begins and ends, without reading all of it. Undefined: it is no list. */
export function readListDates(
  text: string,
): { thisUpdateMs: number; nextUpdateMs: number | undefined } | undefined {
  const start = text.indexOf("-----BEGIN X509 CRL-----");
  if (start < 0) return undefined;
  const base64 = text.slice(text.indexOf("\n", start), start + HEAD_LENGTH).split("-", 1)[0] ?? "";
  const der = Buffer.from(base64, "base64");
  try {
    const list = readElement(der, 0, Number.MAX_SAFE_INTEGER);
    const tbs = readElement(der, list.contentStart, Number.MAX_SAFE_INTEGER);
    let next = readElement(der, tbs.contentStart, der.length);
    if (next.tag === DerTag.integer) next = readElement(der, next.end, der.length); // version
    const issuer = readElement(der, next.end, der.length);
    const thisUpdate = readElement(der, issuer.end, der.length);
    const nextUpdate = readElement(der, thisUpdate.end, Number.MAX_SAFE_INTEGER);
    const isTime = nextUpdate.tag === DerTag.utcTime || nextUpdate.tag === DerTag.generalizedTime;
    return {
      thisUpdateMs: readTime(der, thisUpdate),
      nextUpdateMs: isTime ? readTime(der, nextUpdate) : undefined,
    };
  } catch {
    return undefined;
  }
}

/** The lists of a PEM text, DER. */
export function readLists(text: string): Buffer[] {
  return readPem(text)
    .filter(({ label }) => label === "X509 CRL")
    .map(({ der }) => der);
}

/**
 * The entries one after the other, written into one buffer: hot, there are tens of thousands of them.
 * scripts/bench/certs.ts
 */
function encodeEntries(entries: readonly RevokedCertificate[]): Uint8Array {
  const bytes = Buffer.alloc(entries.length * ENTRY_SIZE_MAX);
  let end = 0;
  for (const { serial, revokedMs, reason } of entries) {
    const start = end;
    end = append(bytes, start + 2, encodeInteger(Buffer.from(serial, "hex")));
    end = append(bytes, end, encodeTime(revokedMs));
    end = append(bytes, end, REASON_EXTENSIONS[reason]);
    bytes[start] = DerTag.sequence;
    // Short: a serial has 20 bytes at most.
    bytes[start + 1] = end - start - 2;
  }
  return bytes.subarray(0, end);
}

function append(bytes: Uint8Array, offset: number, content: Uint8Array): number {
  bytes.set(content, offset);
  return offset + content.length;
}

/** The extensions of an entry; "unspecified" is left out, as RFC 5280 5.3.1 advises. */
function encodeReason(code: number): Uint8Array {
  if (code === REVOCATION_REASONS.unspecified) return new Uint8Array(0);
  const value = encodeElement(DerTag.enumerated, Buffer.from([code]));
  return encodeSequence(encodeExtension(OID.reasonCode, value));
}

function encodeExtension(oid: string, value: Uint8Array): Buffer {
  return encodeSequence(encodeObjectId(oid), encodeOctets(value));
}

function algorithmOf(key: KeyObject): Buffer {
  return key.asymmetricKeyType === "rsa"
    ? encodeSequence(encodeObjectId(OID.rsaSha256), DER_NULL)
    : encodeSequence(encodeObjectId(OID.ecdsaSha256));
}

/** The subject's Name of a certificate, as it stands there. */
function subjectOf(der: Uint8Array): Uint8Array {
  const certificate = expectElement(der, 0, der.length, DerTag.sequence);
  const tbs = expectElement(der, certificate.contentStart, certificate.end, DerTag.sequence);
  let next = readElement(der, tbs.contentStart, tbs.end);
  if (next.tag === DerTag.context0) next = readElement(der, next.end, tbs.end); // version
  // After the serial: signature, issuer, validity.
  for (let i = 0; i < 3; i++) next = readElement(der, next.end, tbs.end);
  const subject = expectElement(der, next.end, tbs.end, DerTag.sequence);
  return der.subarray(subject.start, subject.end);
}
