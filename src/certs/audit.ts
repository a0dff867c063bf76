/** `agent certs verify --all`: whether everything in an authority's directory fits together. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { isListSignedBy, parseRevocationList } from "../bytes/revocation-list.ts";
import { AgentError } from "../errors.ts";
import { readAuthorityCertificate, readOptional, readOptionalText } from "./authority.ts";
import { type Certificate, readCertificates } from "./certificate.ts";
import {
  AUTHORITY_FILES,
  certificateFile,
  findIntruder,
  keyFile,
  LISTS_FILE,
  SERIAL_FILE,
  type Stage,
} from "./directory.ts";
import { findEntry, type IndexEntry, parseIndex } from "./index-file.ts";
import { isEncrypted, isSameKey, readPrivateKey } from "./keys.ts";
import { readLists } from "./revocation-list.ts";
import { parseSerial } from "./serial.ts";
import { readTokens } from "./token-store.ts";
import { isChangePending } from "./transaction.ts";

export interface AuditOptions {
  directory: string;
  nowMs: number;
  /** For the authority's key, where it is encrypted; undefined = the key is not looked at then. */
  passphrase: string | undefined;
}

export interface AuditReport {
  /** What is wrong, each with the file it is about. */
  faults: string[];
  /** Hosts' certificates that were looked at. */
  certificates: number;
  /** In the index. */
  issued: number;
  revoked: number;
}

export function auditAuthority(options: AuditOptions): AuditReport {
  const { directory, nowMs } = options;
  const faults: string[] = [];
  const attempt = (check: () => void): void => {
    try {
      check();
    } catch (error) {
      if (!(error instanceof AgentError)) throw error;
      faults.push(error.message);
    }
  };
  if (isChangePending(directory)) faults.push("An interrupted run waits to be completed, by root");
  attempt(() => checkDirectory(directory, faults));
  const authorities = new Map<Stage, Certificate>();
  const entries = new Map<Stage, IndexEntry[]>();
  for (const stage of ["current", "old", "new"] as const) {
    const files = AUTHORITY_FILES[stage];
    if (stage !== "current" && !existsSync(join(directory, files.certificate))) continue;
    attempt(() => {
      const certificate = readAuthorityCertificate(join(directory, files.certificate));
      authorities.set(stage, certificate);
      checkAuthority(options, stage, certificate, faults);
    });
    attempt(() => entries.set(stage, readIndex(directory, files.index, faults)));
  }
  attempt(() => checkLists(directory, nowMs, authorities, entries, faults));
  const index = new Map(
    [...entries.values()].flat().map((entry) => [entry.serial, entry] as const),
  );
  attempt(() => {
    const path = join(directory, SERIAL_FILE);
    const serial = parseSerial(readOptionalText(path), path);
    if (index.has(serial)) faults.push(`"${path}": number ${serial} is used already`);
  });
  attempt(() => void readTokens({ path: (file) => join(directory, file) }));
  const hosts = hostNames(directory);
  for (const name of hosts) {
    attempt(() => checkHost(directory, name, { authorities, index }, faults));
  }
  const revoked = [...index.values()].filter(({ status }) => status === "R").length;
  return { faults, certificates: hosts.length, issued: index.size, revoked };
}

function checkDirectory(directory: string, faults: string[]): void {
  const intruder = findIntruder(directory);
  if (intruder !== undefined) faults.push(`"${directory}": files could be replaced by ${intruder}`);
  for (const { key } of Object.values(AUTHORITY_FILES)) {
    const mode = statSync(join(directory, key), { throwIfNoEntry: false })?.mode ?? 0;
    if ((mode & 0o077) === 0) continue;
    const text = (mode & 0o777).toString(8);
    faults.push(`"${join(directory, key)}": others have access (mode ${text}), need 600`);
  }
}

function checkAuthority(
  { directory, nowMs, passphrase }: AuditOptions,
  stage: Stage,
  { facts, x509 }: Certificate,
  faults: string[],
): void {
  const files = AUTHORITY_FILES[stage];
  const path = join(directory, files.certificate);
  if (!x509.verify(x509.publicKey)) faults.push(`"${path}": it is not signed with its own key`);
  if (facts.notAfterMs < nowMs) faults.push(`"${path}": it expired on ${x509.validTo}`);
  const keyPath = join(directory, files.key);
  const pem = readOptionalText(keyPath);
  if (pem === "") {
    faults.push(`"${keyPath}": no such file`);
  } else if (!isEncrypted(pem) || passphrase !== undefined) {
    const key = readPrivateKey(pem, keyPath, passphrase);
    if (!isSameKey(key, x509.publicKey))
      faults.push(`"${keyPath}": it is not the key of "${path}"`);
  }
}

function readIndex(directory: string, file: string, faults: string[]): IndexEntry[] {
  const path = join(directory, file);
  const entries = parseIndex(readOptionalText(path), path);
  const seen = new Set<string>();
  for (const { serial } of entries) {
    if (seen.has(serial)) faults.push(`"${path}": serial number ${serial} is there twice`);
    seen.add(serial);
  }
  return entries;
}

/** The lists tell what the indexes say, no more and no less. */
function checkLists(
  directory: string,
  nowMs: number,
  authorities: ReadonlyMap<Stage, Certificate>,
  entries: ReadonlyMap<Stage, IndexEntry[]>,
  faults: string[],
): void {
  const path = join(directory, LISTS_FILE);
  const ders = readLists(readOptionalText(path));
  for (const [stage, { x509 }] of authorities) {
    const der = ders.find((each) => isListSignedBy(each, x509.publicKey));
    const revoked = (entries.get(stage) ?? []).filter(({ status }) => status === "R");
    if (der === undefined) {
      // Before the first revocation Netdata's directory has none.
      if (existsSync(path) || revoked.length > 0) {
        faults.push(`"${path}": there is no list of "${AUTHORITY_FILES[stage].certificate}"`);
      }
      continue;
    }
    const { serials, nextUpdateMs = nowMs } = parseRevocationList(der);
    if (nextUpdateMs < nowMs) {
      faults.push(`"${path}": it ended on ${new Date(nextUpdateMs).toISOString()}`);
    }
    const listed = new Set([...serials].map((hex) => BigInt(`0x${hex}`)));
    const missing = revoked.filter(({ serial, expiresMs }) => {
      return expiresMs > nowMs && !listed.has(BigInt(`0x${serial}`));
    });
    if (missing.length > 0) {
      faults.push(`"${path}": ${missing.length} revoked certificates are not on the list`);
    }
    const known = new Set(revoked.map(({ serial }) => BigInt(`0x${serial}`)));
    const excess = [...listed].filter((serial) => !known.has(serial));
    if (excess.length > 0) {
      faults.push(`"${path}": ${excess.length} on the list are not revoked in the index`);
    }
  }
}

function hostNames(directory: string): string[] {
  const own = new Set([
    LISTS_FILE,
    ...Object.values(AUTHORITY_FILES).map(({ certificate }) => certificate),
  ]);
  return readdirSync(directory)
    .filter((file) => file.endsWith(".pem") && !file.startsWith(".") && !own.has(file))
    .map((file) => file.slice(0, -".pem".length));
}

interface Knowledge {
  authorities: ReadonlyMap<Stage, Certificate>;
  index: ReadonlyMap<string, IndexEntry>;
}

function checkHost(
  directory: string,
  name: string,
  { authorities, index }: Knowledge,
  faults: string[],
): void {
  const path = join(directory, certificateFile(name));
  const [certificate] = readCertificates(readOptionalText(path), path);
  if (certificate === undefined) {
    faults.push(`"${path}": no PEM certificate in it`);
    return;
  }
  const { facts, x509 } = certificate;
  const isOurs = [...authorities.values()].some((each) => x509.verify(each.x509.publicKey));
  if (!isOurs) {
    if (!isRetired(directory, facts.serial)) {
      faults.push(`"${path}": it is not signed by this authority`);
    }
    return;
  }
  if (!index.has(facts.serial))
    faults.push(`"${path}": number ${facts.serial} is not in the index`);
  // `openssl ca` leaves a copy of each certificate under its number.
  if (facts.name !== name && facts.serial !== name) {
    faults.push(`"${path}": it is the certificate of "${facts.name}"`);
  }
  const keyPath = join(directory, keyFile(name));
  const pem = readOptionalText(keyPath);
  if (pem === "") return;
  if (!isSameKey(readPrivateKey(pem, keyPath), x509.publicKey)) {
    faults.push(`"${keyPath}": it is not the key of "${path}"`);
  }
}

/** Whether an authority issued it that was in use before: its index is kept under the date of its end. */
function isRetired(directory: string, serial: string): boolean {
  return readdirSync(directory)
    .filter((file) => file.startsWith(`${AUTHORITY_FILES.old.index}-`))
    .some((file) => findEntry(readOptional(join(directory, file)), serial) !== undefined);
}
