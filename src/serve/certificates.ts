/**
 * The server's certificate, its key, the clients' authority and its revocation lists: from files to
 * what the TLS library takes, with errors that say which file and why.
 */
import { constants, type KeyObject, type X509Certificate } from "node:crypto";
import { statSync } from "node:fs";
import { createSecureContext } from "node:tls";
import { parseRevocationList, type RevocationList } from "../bytes/revocation-list.ts";
import { reasonOf } from "../errors.ts";
import {
  type CertificateFile,
  type KeyFile,
  readCertificateBytes,
  readCertificateFile,
  readKeyFile,
  readOwnCertificate,
  unusableFile,
} from "../platform/pem-files.ts";
import { RevocationCheck, type SignedList } from "./revocation.ts";
import type { TrustSettings } from "./settings.ts";

export interface CertificateFiles {
  keyFile: string;
  certificateFile: string;
  trust: TrustSettings;
}

/** PEM texts, under the names the TLS library has for them. */
export interface TlsContext {
  key: string;
  cert: string;
  /** Missing: clients are not asked for a certificate. */
  ca?: string;
  secureOptions: number;
}

export interface TlsMaterial {
  context: TlsContext;
  revocationCheck: RevocationCheck;
  /** What works but should not stay so, one line each. */
  warnings: readonly string[];
}

const CRL_BLOCKS = /-----BEGIN X509 CRL-----([^-]+)-----END X509 CRL-----/g;
const DAY_MS = 86_400_000;
/** How long before its end a certificate or list is worth a warning. */
const EXPIRY_WARNING_DAYS = 7;

/** @throws AgentError E_CERT for the first thing that cannot work. */
export function loadTlsMaterial(files: CertificateFiles, nowMs: number): TlsMaterial {
  const warnings: string[] = [];
  const key = readKey(files.keyFile, warnings);
  const cert = readServerCertificate(files.certificateFile, key.object, files.keyFile, nowMs);
  warnings.push(...cert.warnings);
  const authority = readAuthority(files.trust.authority, nowMs, warnings);
  const lists = files.trust.crlFiles.flatMap((file) => readRevocationFile(file));
  for (const { file, list } of lists) warnings.push(...dueWarnings(file, list, nowMs));
  if (authority === undefined && lists.length > 0) {
    warnings.push("Revocation lists are not looked at: --trust=all takes every client");
  }
  const context: TlsContext = {
    key: key.pem,
    cert: cert.pem,
    ...(authority === undefined ? {} : { ca: authority.pem }),
    // A resumed session would be as authorized as the first one was, whatever happened since.
    secureOptions: constants.SSL_OP_NO_TICKET,
  };
  try {
    createSecureContext(context);
  } catch (error) {
    throw unusableFile("certificate", files.certificateFile, reasonOf(error), { cause: error });
  }
  const trusted: readonly X509Certificate[] = authority?.certificates ?? [];
  return { context, revocationCheck: new RevocationCheck(lists, trusted), warnings };
}

/** The files `loadTlsMaterial()` reads. */
export function certificateFileNames(files: CertificateFiles): string[] {
  const { authority, crlFiles } = files.trust;
  const trusted = authority === "all" ? [] : [authority];
  return [files.keyFile, files.certificateFile, ...trusted, ...crlFiles];
}

function readKey(file: string, warnings: string[]): KeyFile {
  const key = readKeyFile(file, "ServerKeyFile= or --key= must name a PEM file");
  if ((statSync(file).mode & 0o007) !== 0) {
    warnings.push(`Private key "${file}" is accessible to everybody, need mode 0640 or stricter`);
  }
  return key;
}

function readServerCertificate(
  file: string,
  key: KeyObject,
  keyFile: string,
  nowMs: number,
): { pem: string; warnings: string[] } {
  const hint = "ServerCertificateFile= or --cert= must name a PEM file";
  const { pem, certificates } = readOwnCertificate(file, hint, key, keyFile);
  const [leaf] = certificates;
  if (leaf === undefined) return { pem, warnings: [] };
  const warnings: string[] = [];
  const starts = Date.parse(leaf.validFrom);
  if (starts > nowMs) warnings.push(`Certificate "${file}" is not valid before ${leaf.validFrom}`);
  warnings.push(...expiryWarnings(`Certificate "${file}"`, Date.parse(leaf.validTo), nowMs));
  return { pem, warnings };
}

/** The clients' authority, or undefined when clients are not checked. */
function readAuthority(
  file: string,
  nowMs: number,
  warnings: string[],
): CertificateFile | undefined {
  if (file === "all") return undefined;
  const hint = 'TrustedCertificateFile= or --trust= must name a PEM file, or be "all"';
  const authority = readCertificateFile(file, "trusted certificate", hint);
  for (const certificate of authority.certificates) {
    const what = `Trusted certificate ${JSON.stringify(certificate.subject)} of "${file}"`;
    warnings.push(...expiryWarnings(what, Date.parse(certificate.validTo), nowMs));
  }
  return authority;
}

interface RevocationFile extends SignedList {
  file: string;
}

function readRevocationFile(file: string): RevocationFile[] {
  const hint = "CRLFile= or --crl= must name a file of X.509 revocation lists, PEM or DER";
  const ders = revocationDers(readCertificateBytes(file, "revocation list", hint));
  if (ders.length === 0) throw unusableFile("revocation list", file, "no list in it", { hint });
  return ders.map((der) => {
    try {
      return { file, list: parseRevocationList(der), der };
    } catch (error) {
      throw unusableFile("revocation list", file, reasonOf(error), { hint, cause: error });
    }
  });
}

/** The lists in a file, DER: of a PEM file all, none at all of anything else. */
export function revocationDers(bytes: Buffer): Buffer[] {
  // DER starts with a SEQUENCE; "0", its tag in ASCII, starts no PEM file.
  if (bytes[0] === 0x30) return [bytes];
  const blocks = bytes.toString("latin1").matchAll(CRL_BLOCKS);
  return [...blocks].map(([, base64 = ""]) => Buffer.from(base64, "base64"));
}

/**
 * A list past its next update says nothing reliable: all clients of that authority are then refused, as
 * everywhere. Hence the early warning.
 */
function dueWarnings(file: string, list: RevocationList, nowMs: number): string[] {
  if (list.nextUpdateMs === undefined) return [];
  const warnings = expiryWarnings(`Revocation list "${file}"`, list.nextUpdateMs, nowMs);
  if (list.nextUpdateMs > nowMs) return warnings;
  return warnings.map((line) => `${line}: every client is refused until it is renewed`);
}

function expiryWarnings(what: string, endMs: number, nowMs: number): string[] {
  const days = Math.floor(Math.abs(endMs - nowMs) / DAY_MS);
  const end = new Date(endMs).toISOString();
  if (endMs <= nowMs) return [`${what} expired at ${end}`];
  return days < EXPIRY_WARNING_DAYS ? [`${what} expires at ${end}`] : [];
}
