/**
 * Certificate revocation lists (RFC 5280 section 5.1), walked directly: ASN.1 libraries build a
 * node per entry and give up at some ten thousand. Signatures are not checked here: the TLS
 * library does that at every handshake. This index answers the other question: which of the
 * connections that are open already belong to a certificate that has been revoked since.
 */
import { DerTag, expectElement, readElement, readTime } from "./der.ts";

export interface RevocationList {
  /** The issuer's Name, DER, in hex. */
  issuer: string;
  thisUpdateMs: number;
  /** When the next list is due; undefined = the list does not say. */
  nextUpdateMs: number | undefined;
  /** Serial numbers as DER INTEGER contents in hex. */
  serials: ReadonlySet<string>;
}

/** What names a certificate in a revocation list. */
export interface CertificateId {
  /** As in `RevocationList`. */
  issuer: string;
  serial: string;
}

/** @throws AgentError E_CERT with the offset where the bytes stop being a revocation list. */
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
    }
  }
  return {
    issuer: hex(der, issuer.start, issuer.end),
    thisUpdateMs: readTime(der, thisUpdate),
    nextUpdateMs,
    serials,
  };
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
    serial: hex(der, serial.contentStart, serial.end),
  };
}

export function isRevoked(lists: readonly RevocationList[], certificate: CertificateId): boolean {
  return lists.some(
    (list) => list.issuer === certificate.issuer && list.serials.has(certificate.serial),
  );
}

function readSerials(der: Uint8Array, start: number, end: number): Set<string> {
  const serials = new Set<string>();
  let offset = start;
  while (offset < end) {
    const entry = expectElement(der, offset, end, DerTag.sequence);
    const serial = expectElement(der, entry.contentStart, entry.end, DerTag.integer);
    serials.add(hex(der, serial.contentStart, serial.end));
    offset = entry.end;
  }
  return serials;
}

function hex(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString("hex");
}
