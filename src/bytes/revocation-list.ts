/**
 * Certificate revocation lists (RFC 5280 section 5.1), walked directly: ASN.1 libraries build a
 * node per entry and give up at some ten thousand.
 */
import { constants, type KeyObject, verify } from "node:crypto";
import { AgentError } from "../errors.ts";
import { type DerElement, DerTag, expectElement, readElement, readTime } from "./der.ts";

export interface RevocationList {
  /** The issuer's Name, DER, in hex. */
  issuer: string;
  thisUpdateMs: number;
  /** When the next list is due; undefined = the list does not say. */
  nextUpdateMs: number | undefined;
  /** Serial numbers as DER INTEGER contents in hex, without bytes that change nothing. */
  serials: ReadonlySet<string>;
}

/** What names a certificate in a revocation list. */
export interface CertificateId {
  /** As in `RevocationList`. */
  issuer: string;
  serial: string;
}

/**
 * The signature is not looked at.
 * @throws AgentError E_CERT with the offset where the bytes stop being a revocation list, and for one that is more
 *   than a plain list: it says so by critical extensions; and for one signed in a way that nobody here can verify
 */
export function parseRevocationList(der: Uint8Array): RevocationList {
  const list = expectElement(der, 0, der.length, DerTag.sequence);
  const tbs = expectElement(der, list.contentStart, list.end, DerTag.sequence);
  let next = readElement(der, tbs.contentStart, tbs.end);
  if (next.tag === DerTag.integer) next = readElement(der, next.end, tbs.end); // version
  const issuer = expectElement(der, next.end, tbs.end, DerTag.sequence);
  const thisUpdate = readElement(der, issuer.end, tbs.end);
  let nextUpdateMs: number | undefined;
  let serials: ReadonlySet<string> = new Set();
  let offset = thisUpdate.end;
  if (offset < tbs.end) {
    const optional = readElement(der, offset, tbs.end);
    if (optional.tag === DerTag.utcTime || optional.tag === DerTag.generalizedTime) {
      nextUpdateMs = readTime(der, optional);
      offset = optional.end;
    }
  }
  if (offset < tbs.end) {
    const optional = readElement(der, offset, tbs.end);
    if (optional.tag === DerTag.sequence) {
      serials = readSerials(der, optional.contentStart, optional.end);
      offset = optional.end;
    }
  }
  if (offset < tbs.end) refuseCriticalExtensions(der, readElement(der, offset, tbs.end));
  readSignature(der, list, tbs);
  return {
    issuer: hex(der, issuer.start, issuer.end),
    thisUpdateMs: readTime(der, thisUpdate),
    nextUpdateMs,
    serials,
  };
}

/** Whether the owner of this key made the list, and nobody changed it. @throws AgentError E_CERT for no list */
export function isListSignedBy(der: Uint8Array, publicKey: KeyObject): boolean {
  const list = expectElement(der, 0, der.length, DerTag.sequence);
  const tbs = expectElement(der, list.contentStart, list.end, DerTag.sequence);
  const { hash, isPss, bytes } = readSignature(der, list, tbs);
  const padding = isPss ? { padding: constants.RSA_PKCS1_PSS_PADDING } : {};
  return verify(hash, der.subarray(tbs.start, tbs.end), { key: publicKey, ...padding }, bytes);
}

/** @throws AgentError E_CERT when the bytes are not an X.509 certificate. */
export function readCertificateId(der: Uint8Array): CertificateId {
  const certificate = expectElement(der, 0, der.length, DerTag.sequence);
  const tbs = expectElement(der, certificate.contentStart, certificate.end, DerTag.sequence);
  let next = readElement(der, tbs.contentStart, tbs.end);
  if (next.tag === DerTag.context0) next = readElement(der, next.end, tbs.end); // version
  const serial = next;
  const algorithm = expectElement(der, serial.end, tbs.end, DerTag.sequence);
  const issuer = expectElement(der, algorithm.end, tbs.end, DerTag.sequence);
  return {
    issuer: hex(der, issuer.start, issuer.end),
    serial: serialOf(der, serial),
  };
}

export function isRevoked(lists: readonly RevocationList[], certificate: CertificateId): boolean {
  return lists.some(
    (list) => list.issuer === certificate.issuer && list.serials.has(certificate.serial),
  );
}

interface Signature {
  hash: string;
  isPss: boolean;
  bytes: Uint8Array;
}

function readSignature(der: Uint8Array, list: DerElement, tbs: DerElement): Signature {
  const algorithm = expectElement(der, tbs.end, list.end, DerTag.sequence);
  const oid = expectElement(der, algorithm.contentStart, algorithm.end, DerTag.objectId);
  const signature = expectElement(der, algorithm.end, list.end, DerTag.bitString);
  const isPss = hex(der, oid.contentStart, oid.end) === RSA_PSS;
  const hash = isPss
    ? PSS_HASHES[pssHash(der, oid.end, algorithm.end)]
    : SIGNATURE_HASHES[hex(der, oid.contentStart, oid.end)];
  if (hash === undefined) {
    const need = "need RSA or ECDSA with SHA-256, SHA-384 or SHA-512";
    const message = `Cannot use revocation list: its kind of signature is not known here, ${need}`;
    throw new AgentError("E_CERT", message, { offset: algorithm.start });
  }
  // The first byte counts unused bits: there are none.
  return { hash, isPss, bytes: der.subarray(signature.contentStart + 1, signature.end) };
}

/** The object id of the hash, RFC 4055 3.1: the first of the parameters, unless it is SHA-1. */
function pssHash(der: Uint8Array, offset: number, limit: number): string {
  const parameters = expectElement(der, offset, limit, DerTag.sequence);
  const hash = expectElement(der, parameters.contentStart, parameters.end, DerTag.context0);
  const algorithm = expectElement(der, hash.contentStart, hash.end, DerTag.sequence);
  const oid = expectElement(der, algorithm.contentStart, algorithm.end, DerTag.objectId);
  return hex(der, oid.contentStart, oid.end);
}

const RSA_PSS = "2a864886f70d01010a";
/** By object id of the signature algorithm, contents in hex. */
const SIGNATURE_HASHES: Record<string, string> = {
  "2a8648ce3d040302": "sha256", // ecdsa-with-SHA256
  "2a8648ce3d040303": "sha384",
  "2a8648ce3d040304": "sha512",
  "2a864886f70d01010b": "sha256", // sha256WithRSAEncryption
  "2a864886f70d01010c": "sha384",
  "2a864886f70d01010d": "sha512",
};
/** By object id of the hash. */
const PSS_HASHES: Record<string, string> = {
  "608648016503040201": "sha256",
  "608648016503040202": "sha384",
  "608648016503040203": "sha512",
};

/** A list of changes only, or for some certificates only, has one; so does an entry of another issuer's. */
function refuseCriticalExtensions(der: Uint8Array, element: DerElement): void {
  if (element.tag !== DerTag.context0) return;
  const extensions = expectElement(der, element.contentStart, element.end, DerTag.sequence);
  let offset = extensions.contentStart;
  while (offset < extensions.end) {
    const extension = expectElement(der, offset, extensions.end, DerTag.sequence);
    const oid = expectElement(der, extension.contentStart, extension.end, DerTag.objectId);
    const next = readElement(der, oid.end, extension.end);
    if (next.tag === DerTag.boolean && der[next.contentStart] !== 0) {
      const message = "Cannot use revocation list: it has a critical extension, need a plain one";
      throw new AgentError("E_CERT", message, { offset });
    }
    offset = extension.end;
  }
}

function readSerials(der: Uint8Array, start: number, end: number): Set<string> {
  const serials = new Set<string>();
  let offset = start;
  while (offset < end) {
    const entry = expectElement(der, offset, end, DerTag.sequence);
    const serial = expectElement(der, entry.contentStart, entry.end, DerTag.integer);
    serials.add(serialOf(der, serial));
    offset = entry.end;
  }
  return serials;
}

/** Not every authority keeps to DER's shortest form. */
function serialOf(der: Uint8Array, { contentStart, end }: DerElement): string {
  let start = contentStart;
  while (start + 1 < end && der[start] === 0 && (der[start + 1] ?? 0) < 0x80) start++;
  return hex(der, start, end);
}

function hex(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString("hex");
}
