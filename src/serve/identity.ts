/**
 * Who a connection belongs to. With client certificates a sender is who its certificate says it
 * is: the subject's CN, else the first DNS name, else the first IP address among the alternative
 * names. Without, it is the peer's address. Never anything the sender merely claims.
 */
import { isIPv6 } from "node:net";
import { PEER_REFUSALS, type Refusal, untrustedCertificate } from "./upload-request.ts";

export interface Peer {
  /** What its journal is filed under. */
  name: string;
  /** Where it is, for logs: "192.0.2.7", "[2001:db8::7]" or "unix". */
  address: string;
  certificate: { presented: readonly Uint8Array[]; validToMs: number } | undefined;
}

/** What the TLS library says of the other end, once the handshake is complete. */
export interface HandshakeFacts {
  /** The chain is valid: known authority, dates, purpose. */
  authorized: boolean;
  /** Code of the verification error: "CERT_HAS_EXPIRED". */
  errorCode: string | undefined;
  certificate: PeerCertificate | undefined;
}

/** The parts of node:tls's PeerCertificate this file reads. */
export interface PeerCertificate {
  raw?: Uint8Array | undefined;
  /** Not its issuer, but what the client sent next; at the end one from the trusted file, whose next is itself. */
  issuerCertificate?: PeerCertificate | undefined;
  /** Values that occur more than once are arrays. */
  subject?: { CN?: string | string[] } | undefined;
  /** "DNS:a.example.net, IP Address:192.0.2.7"; values with odd characters are JSON strings. */
  subjectaltname?: string | undefined;
  ext_key_usage?: string[] | undefined;
  /** "Nov 22 02:03:51 2027 GMT". */
  valid_to?: string | undefined;
}

/** id-kp-clientAuth, RFC 5280 4.2.1.12. */
const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";
/** Certificates of one client; nobody needs more. */
const PRESENTED_MAX = 16;

/** The peer behind a verified certificate, or why it may not send. Fails closed. */
export function identifyCertificate(
  facts: HandshakeFacts,
  address: string,
  allowSubject: readonly string[],
): Peer | Refusal {
  const certificate = facts.certificate;
  if (certificate?.raw === undefined) return PEER_REFUSALS.noCertificate;
  if (!facts.authorized) return untrustedCertificate(facts.errorCode ?? "unverified");
  // Without the extension a certificate is for everything. BoringSSL has checked this already, and
  // takes anyExtendedKeyUsage for no purpose at all; a second, visible check costs nothing.
  const usages = certificate.ext_key_usage;
  if (usages && !usages.includes(CLIENT_AUTH)) return untrustedCertificate("INVALID_PURPOSE");
  const name = certificateName(certificate);
  if (name === "") return PEER_REFUSALS.nameless;
  if (!isAllowed(name, allowSubject)) return PEER_REFUSALS.notAllowed;
  const validToMs = Date.parse(certificate.valid_to ?? "");
  return { name, address, certificate: { presented: presentedBy(certificate), validToMs } };
}

/** A connection may outlive its certificate; each request is checked against the clock. */
export function checkExpiry({ certificate }: Peer, wallMs: number): Refusal | undefined {
  const isValid = certificate === undefined || wallMs <= certificate.validToMs;
  return isValid ? undefined : untrustedCertificate("CERT_HAS_EXPIRED");
}

/** DER of all that the client sent, its own certificate first. */
function presentedBy(own: PeerCertificate): Uint8Array[] {
  const presented: Uint8Array[] = [];
  let next: PeerCertificate | undefined = own;
  while (next?.raw !== undefined && presented.length < PRESENTED_MAX) {
    presented.push(next.raw);
    next = next.issuerCertificate === next ? undefined : next.issuerCertificate;
  }
  return presented;
}

/** Where a connection without a client certificate comes from is who it is. */
export function identifyAddress(address: string): Peer {
  return { name: address, address, certificate: undefined };
}

/**
 * A socket's remote address as a name: IPv4-mapped IPv6 becomes IPv4.
 *
 * @param remoteAddress undefined for UNIX sockets.
 * @param unixName the name of senders on UNIX sockets. They run on this host, so it is the host's
 *   name, as with stock's raw listener; stock's HTTP listener makes a file per process
 *   ("PID n/UID n"), and the runtime does not tell the peer's credentials anyway.
 */
export function addressName(remoteAddress: string | undefined, unixName: string): string {
  if (remoteAddress === undefined || remoteAddress === "") return unixName;
  return remoteAddress.replace(/^::ffff:(?=\d+\.)/i, "");
}

/** CN, else first DNS name, else first IP address; "" when there is none of them. */
export function certificateName(certificate: PeerCertificate): string {
  const commonName = [certificate.subject?.CN ?? ""].flat().find((value) => value !== "");
  if (commonName !== undefined) return commonName;
  const names = alternativeNames(certificate.subjectaltname ?? "");
  return names.find(({ type }) => type === "DNS")?.value ?? firstAddress(names) ?? "";
}

/** @param patterns with `*` for any text and `?` for any one character; none = every name. */
export function isAllowed(name: string, patterns: readonly string[]): boolean {
  return patterns.length === 0 || patterns.some((pattern) => matchesGlob(name, pattern));
}

interface AlternativeName {
  type: string;
  value: string;
}

function alternativeNames(text: string): AlternativeName[] {
  const entries = text.matchAll(/(?:^|, )([^:,"]+):("(?:[^"\\]|\\.)*"|[^,]*)/gy);
  return [...entries].map(([, type = "", value = ""]) => ({
    type,
    value: value.startsWith('"') ? String(JSON.parse(value)) : value,
  }));
}

/** The library writes IPv6 as "2001:DB8:0:0:0:0:0:1"; files are named as `ip addr` shows it. */
function firstAddress(names: readonly AlternativeName[]): string | undefined {
  const address = names.find(({ type }) => type === "IP Address")?.value;
  if (address === undefined || !isIPv6(address)) return address;
  return new URL(`http://[${address}]`).hostname.slice(1, -1);
}

/** In linear time for one star and without ever going back over more than one: no bad patterns. */
function matchesGlob(name: string, pattern: string): boolean {
  let n = 0;
  let p = 0;
  let starPattern = -1;
  let starName = 0;
  while (n < name.length) {
    if (pattern[p] === "*") {
      starPattern = p++;
      starName = n;
    } else if (p < pattern.length && (pattern[p] === "?" || pattern[p] === name[n])) {
      n++;
      p++;
    } else if (starPattern !== -1) {
      p = starPattern + 1;
      n = ++starName;
    } else {
      return false;
    }
  }
  while (pattern[p] === "*") p++;
  return p === pattern.length;
}
