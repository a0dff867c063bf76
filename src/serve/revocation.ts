/**
 * Whether a client's certificate is revoked. The TLS library would verify the signature of the whole list at each
 * handshake, and with 10,000 entries take as long for that as for all the rest (scripts/bench/certs.ts); here that is done
 * once for each list and issuer. What it refuses is refused here, under the same codes: without a list of the
 * issuer, or with one out of date, nothing is known, and nobody is let in.
 */
import { X509Certificate } from "node:crypto";
import {
  isListSignedBy,
  type RevocationList,
  readCertificateId,
} from "../bytes/revocation-list.ts";

/** A list and the bytes that are signed. */
export interface SignedList {
  list: RevocationList;
  der: Uint8Array;
}

/** More are in no real chain. */
const CHAIN_LENGTH_MAX = 16;

export class RevocationCheck {
  readonly lists: readonly SignedList[];
  readonly #authorities: readonly X509Certificate[];
  /** By list, then by the fingerprint of an issuer's certificate: whether that issuer signed it. */
  readonly #isGenuine = new Map<SignedList, Map<string, boolean>>();

  /** Without any list nothing is checked. @param authorities those that are trusted */
  constructor(lists: readonly SignedList[], authorities: readonly X509Certificate[]) {
    this.lists = lists;
    this.#authorities = authorities;
  }

  /**
   * @param presented DER: the client's own certificate, then whatever else it sent
   * @returns a code like the TLS library's, "CERT_REVOKED" before all others; undefined = there is nothing against it
   */
  findProblem(presented: readonly Uint8Array[], nowMs: number): string | undefined {
    if (this.lists.length === 0) return undefined;
    const chain = this.#chainOf(presented);
    if (chain === undefined) return "UNABLE_TO_GET_ISSUER_CERT";
    const [authority, ...issued] = chain.reverse();
    // A trusted certificate that a client has as its own is on no list.
    if (authority === undefined || issued.length === 0) return "UNABLE_TO_GET_CRL";
    let issuer = authority;
    const problems: string[] = [];
    for (const certificate of issued) {
      const problem = this.#findOwnProblem(certificate, issuer, nowMs);
      if (problem !== undefined) problems.push(problem);
      issuer = certificate;
    }
    return problems.find((problem) => problem === "CERT_REVOKED") ?? problems[0];
  }

  /**
   * From the client's certificate to a trusted one that signed itself. The order in which they were sent says nothing, nor does
   * a name: whoever has the key of a revoked authority can sign another certificate for it.
   */
  #chainOf(presented: readonly Uint8Array[]): X509Certificate[] | undefined {
    const given = presented.slice(0, CHAIN_LENGTH_MAX).map((der) => new X509Certificate(der));
    const issuers = [...this.#authorities, ...given];
    const chain: X509Certificate[] = [];
    let next = given[0];
    while (next !== undefined && chain.length < CHAIN_LENGTH_MAX) {
      const certificate = next;
      chain.push(certificate);
      next = issuers.find((issuer) => isIssuedBy(certificate, issuer));
      if (next?.fingerprint256 === certificate.fingerprint256) {
        return this.#isTrusted(certificate) ? chain : undefined;
      }
    }
    return undefined;
  }

  #isTrusted({ fingerprint256 }: X509Certificate): boolean {
    return this.#authorities.some((authority) => authority.fingerprint256 === fingerprint256);
  }

  #findOwnProblem(
    certificate: X509Certificate,
    issuer: X509Certificate,
    nowMs: number,
  ): string | undefined {
    const id = readCertificateId(certificate.raw);
    const lists = this.lists
      .filter((signed) => signed.list.issuer === id.issuer && this.#isSignedBy(signed, issuer))
      .map(({ list }) => list);
    if (lists.length === 0) return "UNABLE_TO_GET_CRL";
    if (lists.some(({ serials }) => serials.has(id.serial))) return "CERT_REVOKED";
    const begun = lists.filter(({ thisUpdateMs }) => thisUpdateMs <= nowMs);
    if (begun.length === 0) return "CRL_NOT_YET_VALID";
    const isFresh = begun.some(({ nextUpdateMs = nowMs }) => nextUpdateMs >= nowMs);
    return isFresh ? undefined : "CRL_HAS_EXPIRED";
  }

  /** @param issuer has a chain to a trusted authority: of others there would be no end */
  #isSignedBy(signed: SignedList, { publicKey, fingerprint256 }: X509Certificate): boolean {
    const known = this.#isGenuine.get(signed) ?? new Map<string, boolean>();
    this.#isGenuine.set(signed, known);
    const isGenuine = known.get(fingerprint256) ?? isListSignedBy(signed.der, publicKey);
    known.set(fingerprint256, isGenuine);
    return isGenuine;
  }
}

function isIssuedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}
