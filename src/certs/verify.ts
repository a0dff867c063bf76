/** Whether a certificate will do: its chain, dates, purpose, name, and whether it is revoked. */
import { isIP } from "node:net";
import {
  type CertificateId,
  isListSignedBy,
  isRevoked,
  parseRevocationList,
  readCertificateId,
} from "../bytes/revocation-list.ts";
import { AgentError } from "../errors.ts";
import type { Certificate } from "./certificate.ts";
import { formatAlternativeNames } from "./names.ts";
import type { Role } from "./profiles.ts";
import { readLists } from "./revocation-list.ts";

export interface Trust {
  authorities: readonly Certificate[];
  /** PEM; "" = there is none. */
  lists: string;
}

export interface Expectation {
  /** A name or an address that a client would use for the server. */
  host: string | undefined;
  role: Role | undefined;
  nowMs: number;
}

/** @returns what speaks against it; nothing = it is good. @throws AgentError E_CERT for lists that are broken */
export function findFaults(
  certificate: Certificate,
  trust: Trust,
  expected: Expectation,
): string[] {
  const { facts, x509 } = certificate;
  const faults: string[] = [];
  const issuer = trust.authorities.find((each) => {
    return x509.issuer === each.x509.subject && x509.verify(each.x509.publicKey);
  });
  if (issuer === undefined) {
    faults.push(`it is not signed by this authority, but by "${facts.issuer}"`);
  } else {
    faults.push(...dateFaults("its authority", issuer, expected.nowMs));
    faults.push(...revocationFaults(readCertificateId(x509.raw), trust, expected.nowMs));
  }
  faults.push(...dateFaults("it", certificate, expected.nowMs));
  faults.push(...purposeFaults(certificate, expected));
  return faults;
}

function dateFaults(what: string, { x509, facts }: Certificate, nowMs: number): string[] {
  if (facts.notAfterMs < nowMs) return [`${what} expired on ${x509.validTo}`];
  return facts.notBeforeMs > nowMs ? [`${what} is not valid before ${x509.validFrom}`] : [];
}

function revocationFaults(id: CertificateId, trust: Trust, nowMs: number): string[] {
  const faults: string[] = [];
  const lists = readLists(trust.lists).flatMap((der) => {
    const isGenuine = trust.authorities.some(({ x509 }) => isListSignedBy(der, x509.publicKey));
    if (!isGenuine) faults.push("a list of revoked certificates is not signed by its authority");
    return isGenuine ? [parseRevocationList(der)] : [];
  });
  if (isRevoked(lists, id)) faults.push("it is revoked");
  for (const { issuer, nextUpdateMs } of lists) {
    if (issuer !== id.issuer || nextUpdateMs === undefined || nextUpdateMs >= nowMs) continue;
    const due = new Date(nextUpdateMs).toISOString();
    faults.push(
      `the list of revoked certificates ended on ${due}: agent certs crl makes a new one`,
    );
  }
  return faults;
}

function purposeFaults({ facts, x509 }: Certificate, { host, role }: Expectation): string[] {
  const faults: string[] = [];
  const missing = (["server", "client"] as const).filter((each) => {
    return (role === each || role === "both") && facts.role !== each && facts.role !== "both";
  });
  if (missing.length > 0) faults.push(`its role is ${facts.role}, not ${role}`);
  if (host !== undefined) {
    const found =
      isIP(host) === 0 ? x509.checkHost(host, { subject: "never" }) : x509.checkIP(host);
    if (found === undefined) {
      faults.push(`it is not for "${host}", but for ${formatAlternativeNames(facts.names)}`);
    }
  }
  return faults;
}

/** @throws AgentError E_CERT when there is no authority among them */
export function requireAuthorities(
  certificates: readonly Certificate[],
  file: string,
): Certificate[] {
  const authorities = certificates.filter(({ facts }) => facts.isAuthority);
  if (authorities.length > 0) return authorities;
  throw new AgentError("E_CERT", `Cannot use "${file}": no certificate of an authority in it`);
}
