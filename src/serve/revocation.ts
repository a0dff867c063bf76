/**
 * Whether a client's certificate is revoked. The TLS library would verify the signature of the whole list at each
 * handshake, and with 10,000 entries take as long for that as for all the rest (scripts/bench/certs.ts); here that is done
 * once for each list and issuer. What it refuses is refused here, under the same codes: without a list of the
 * issuer, or with one out of date, nothing is known, and nobody is let in.
 */
import { X509Certificate } from "node:crypto";
import {
  type CertificateId,
  isListSignedBy,
  type RevocationList,
  readCertificateId,
} from "../bytes/revocation-list.ts";

/** A list and the bytes that are signed. */
export interface SignedList {
  list: RevocationList;
  der: Uint8Array;
}

/** The parts of node:tls's PeerCertificate this file reads: a client's verified chain. */
export interface ChainCertificate {
  raw?: Uint8Array | undefined;
  fingerprint256?: string | undefined;
  /** An authority that signs itself has none, or itself. */
  issuerCertificate?: ChainCertificate | undefined;
}

/** More are in no real chain. */
const CHAIN_LENGTH_MAX = 16;

export class RevocationCheck {
  readonly #lists: readonly SignedList[];
  /** By list, then by the fingerprint of an issuer's certificate: whether that issuer signed it. */
  readonly #isGenuine = new Map<SignedList, Map<string, boolean>>();

  /** Without any list nothing is checked. */
  constructor(lists: readonly SignedList[]) {
    this.#lists = lists;
  }

  /** @returns a code like the TLS library's, "CERT_REVOKED"; undefined = there is nothing against it */
  findProblem(leaf: ChainCertificate, nowMs: number): string | undefined {
    if (this.#lists.length === 0) return undefined;
    let certificate = leaf;
    for (let i = 0; i < CHAIN_LENGTH_MAX; i++) {
      const issuer = certificate.issuerCertificate;
      if (certificate.raw === undefined) return "UNABLE_TO_GET_CRL";
      if (issuer?.raw === undefined || issuer.fingerprint256 === certificate.fingerprint256) {
        // The authority at the end, which is trusted as it is; a client's own would have to be on a list.
        return i === 0 ? "UNABLE_TO_GET_CRL" : undefined;
      }
      const problem = this.#findOwnProblem(readCertificateId(certificate.raw), issuer, nowMs);
      if (problem !== undefined) return problem;
      certificate = issuer;
    }
    return "CERT_CHAIN_TOO_LONG";
  }

  #findOwnProblem(id: CertificateId, issuer: ChainCertificate, nowMs: number): string | undefined {
    const lists = this.#lists
      .filter((signed) => signed.list.issuer === id.issuer && this.#isSignedBy(signed, issuer))
      .map(({ list }) => list);
    if (lists.length === 0) return "UNABLE_TO_GET_CRL";
    if (lists.some(({ serials }) => serials.has(id.serial))) return "CERT_REVOKED";
    const begun = lists.filter(({ thisUpdateMs }) => thisUpdateMs <= nowMs);
    if (begun.length === 0) return "CRL_NOT_YET_VALID";
    const isFresh = begun.some(({ nextUpdateMs = nowMs }) => nextUpdateMs >= nowMs);
    return isFresh ? undefined : "CRL_HAS_EXPIRED";
  }

  #isSignedBy(signed: SignedList, { raw, fingerprint256 = "" }: ChainCertificate): boolean {
    const known = this.#isGenuine.get(signed) ?? new Map<string, boolean>();
    this.#isGenuine.set(signed, known);
    let isGenuine = known.get(fingerprint256);
    if (isGenuine === undefined) {
      isGenuine =
        raw !== undefined && isListSignedBy(signed.der, new X509Certificate(raw).publicKey);
      known.set(fingerprint256, isGenuine);
    }
    return isGenuine;
  }
}
