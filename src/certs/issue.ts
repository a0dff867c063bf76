/** Hosts' certificates: issued for the first time, again with other names, or renewed. */
import { createPublicKey, type KeyObject, type X509Certificate } from "node:crypto";
import { existsSync } from "node:fs";
import { AgentError } from "../errors.ts";
import {
  type Authority,
  readAuthorityCertificate,
  readOptional,
  readOptionalText,
} from "./authority.ts";
import { type Certificate, type CertificateFacts, readCertificate } from "./certificate.ts";
import {
  AUTHORITY_FILES,
  certificateFile,
  INDEX_ATTRIBUTES_FILE,
  keyFile,
  PUBLIC_ACCESS,
  SECRET_ACCESS,
  SERIAL_FILE,
} from "./directory.ts";
import { findEntry, formatIndexEntry } from "./index-file.ts";
import { formatPrivateKey, generateKey, isSameKey, type KeyType, readPrivateKey } from "./keys.ts";
import {
  type AlternativeName,
  alternativeNames,
  formatAlternativeNames,
  isSameNames,
} from "./names.ts";
import { BACKDATE_MS, DAY_MS, type Role } from "./profiles.ts";
import { nextSerial, parseSerial } from "./serial.ts";
import type { NewFile } from "./transaction.ts";
import { createLeaf } from "./x509.ts";

export interface IssueRequest {
  name: string;
  /** Besides the host's own name. */
  names: readonly AlternativeName[];
  role: Role;
  days: number;
  /** Undefined = p256 for a new key, and any for one that is there. */
  keyType: KeyType | undefined;
  /** What to do about a valid certificate that says something else: replace it, with the same key or a new one. */
  replace: "no" | "same key" | "new key";
}

export interface Issued {
  outcome: "issued" | "unchanged";
  facts: CertificateFacts;
  /** Replaced by this one and still valid: hosts take it until it ends or is revoked. */
  former: CertificateFacts | undefined;
  /** Whether the key is in the directory, and not with the host alone. */
  hasKey: boolean;
}

/** A certificate that is to be made. */
export interface Draft {
  name: string;
  names: readonly AlternativeName[];
  role: Role;
  days: number;
  publicKey: KeyObject;
  /** Written beside the certificate; undefined = the key stays as it is, wherever that is. */
  newKey: KeyObject | undefined;
  /** The key in the directory is another one, and no longer of use. */
  dropsKey?: boolean;
}

/** What the directory has under a host's name. */
export interface HostFiles {
  certificate: Certificate | undefined;
  key: KeyObject | undefined;
  /** Of the certificate. "absent" = there is none, or it is not this authority's. */
  status: "valid" | "expired" | "revoked" | "absent";
}

/** Certificates signed in one transaction: few enough for the log to stay small. */
const BATCH_SIZE = 64;

/** @throws AgentError E_USAGE for a valid certificate with other data, when it is not to be replaced */
export async function issueCertificate(
  authority: Authority,
  request: IssueRequest,
): Promise<Issued> {
  const { name, role, days, replace } = request;
  const names = alternativeNames(name, request.names);
  const host = readHost(authority, name);
  const former = host.status === "valid" ? host.certificate : undefined;
  if (former !== undefined && replace === "no") {
    const difference = differenceOf(former, request, names);
    const hasKey = host.key !== undefined;
    if (difference === undefined) {
      return { outcome: "unchanged", facts: former.facts, former: undefined, hasKey };
    }
    throw needsDecision(name, former.facts, difference);
  }
  // The key of a revoked certificate may be in other hands.
  const keepsKey = host.key !== undefined && replace !== "new key" && host.status !== "revoked";
  const newKey = keepsKey ? undefined : await generateKey(request.keyType ?? "p256");
  const key = newKey ?? host.key;
  if (key === undefined) throw new RangeError("A key is kept that is not there");
  const publicKey = createPublicKey(key);
  const facts = await signOne(authority, { name, names, role, days, publicKey, newKey });
  return { outcome: "issued", facts, former: former?.facts, hasKey: true };
}

/** Signs, records and writes it together with files that change with it. */
export async function signOne(
  authority: Authority,
  draft: Draft,
  alongside: readonly NewFile[] = [],
): Promise<CertificateFacts> {
  const [facts] = await signBatch(authority, [draft], alongside);
  if (facts === undefined) throw new RangeError("Nothing was signed");
  return facts;
}

/** Signs, records and writes them, each whole or not at all. @returns in the same order */
export async function signAll(
  authority: Authority,
  drafts: readonly Draft[],
): Promise<CertificateFacts[]> {
  const signed: CertificateFacts[] = [];
  for (let start = 0; start < drafts.length; start += BATCH_SIZE) {
    signed.push(...(await signBatch(authority, drafts.slice(start, start + BATCH_SIZE))));
  }
  return signed;
}

/** @throws AgentError E_CERT for files that are broken, do not belong together, or are another host's */
export function readHost(authority: Authority, name: string): HostFiles {
  const certificatePath = authority.path(certificateFile(name));
  const keyPath = authority.path(keyFile(name));
  const keyPem = readOptionalText(keyPath);
  const key = keyPem === "" ? undefined : readPrivateKey(keyPem, keyPath);
  const pem = readOptionalText(certificatePath);
  if (pem === "") return { certificate: undefined, key, status: "absent" };
  const certificate = readCertificate(pem, certificatePath);
  if (certificate.facts.name !== name) {
    const problem = `"${certificatePath}" is there and belongs to "${certificate.facts.name}"`;
    throw new AgentError("E_CERT", `Cannot use name "${name}": ${problem}`);
  }
  if (key !== undefined && !isSameKey(key, certificate.x509.publicKey)) {
    const problem = `the key "${keyPath}" is not that of "${certificatePath}"`;
    const hint = `Put the right one there, or remove both: then agent certs issue makes new ones`;
    throw new AgentError("E_CERT", `Cannot use the files of "${name}": ${problem}`, { hint });
  }
  return { certificate, key, status: statusOf(authority, certificate) };
}

function statusOf(authority: Authority, { facts, x509 }: Certificate): HostFiles["status"] {
  const entry =
    findEntry(authority.readIndex(), facts.serial) ??
    findEntry(authority.readIndex("old"), facts.serial);
  // The number alone proves nothing: as Netdata's script leaves it, the file is a daemon's, who may write into it.
  if (entry === undefined || !isSignedHere(authority, x509)) return "absent";
  if (entry.status === "R") return "revoked";
  return facts.notAfterMs < authority.nowMs ? "expired" : "valid";
}

function isSignedHere(authority: Authority, x509: X509Certificate): boolean {
  return authority.stages().some((stage) => {
    if (stage === "new") return false;
    const path = authority.path(AUTHORITY_FILES[stage].certificate);
    return x509.verify(readAuthorityCertificate(path).x509.publicKey);
  });
}

function differenceOf(
  former: Certificate,
  request: IssueRequest,
  names: readonly AlternativeName[],
): string | undefined {
  const { facts } = former;
  if (request.keyType !== undefined && request.keyType !== facts.keyType) {
    return `has a key of type ${facts.keyType}, not ${request.keyType}`;
  }
  if (facts.role !== request.role) return `is for role ${facts.role}, not ${request.role}`;
  if (isSameNames(facts.names, names)) return undefined;
  // Netdata's script does not put the host's own name there.
  if (isSameNames(alternativeNames(facts.name, facts.names), names)) return undefined;
  return `is for ${formatAlternativeNames(facts.names)}, not ${formatAlternativeNames(names)}`;
}

function needsDecision(name: string, former: CertificateFacts, difference: string): AgentError {
  const until = new Date(former.notAfterMs).toISOString().slice(0, 10);
  const problem = `its certificate, valid until ${until}, ${difference}`;
  const hint =
    "--renew replaces it and keeps the key, --force makes a new key, too; the former one stays valid until it is revoked";
  return new AgentError("E_USAGE", `Cannot issue "${name}": ${problem}`, { hint });
}

async function signBatch(
  authority: Authority,
  drafts: readonly Draft[],
  alongside: readonly NewFile[] = [],
): Promise<CertificateFacts[]> {
  const index = authority.readIndex();
  const serialPath = authority.path(SERIAL_FILE);
  let serial = parseSerial(readOptionalText(serialPath), serialPath);
  const facts: CertificateFacts[] = [];
  const files: NewFile[] = [];
  let lines = index.length > 0 && index.at(-1) !== 0x0a ? "\n" : "";
  for (const draft of drafts) {
    refuseUsedSerial(index, serial, serialPath);
    const certificate = await sign(authority, draft, serial);
    facts.push(certificate.facts);
    if (draft.newKey !== undefined) {
      const data = await formatPrivateKey(draft.newKey, undefined);
      files.push({ name: keyFile(draft.name), data, ...SECRET_ACCESS });
    }
    files.push({ name: certificateFile(draft.name), data: certificate.pem, ...PUBLIC_ACCESS });
    const expiresMs = certificate.facts.notAfterMs;
    lines += formatIndexEntry({ status: "V", expiresMs, serial, name: draft.name });
    serial = nextSerial(serial);
  }
  const names = drafts.map(({ name }) => name);
  authority.commit({
    append: { file: AUTHORITY_FILES.current.index, text: lines },
    replace: [
      { name: SERIAL_FILE, data: `${serial}\n`, ...SECRET_ACCESS },
      ...indexAttributes(authority, index, names),
      ...(await authority.dueListsFile()),
      ...files,
      ...alongside,
    ],
    remove: drafts.filter(({ dropsKey }) => dropsKey).map(({ name }) => keyFile(name)),
  });
  return facts;
}

async function sign(authority: Authority, draft: Draft, serial: string): Promise<Certificate> {
  const { nowMs } = authority;
  const issuer = await authority.signer();
  const starts = Date.parse(issuer.x509.validFrom);
  const ends = Date.parse(issuer.x509.validTo);
  if (nowMs < starts || nowMs >= ends) {
    const now = new Date(nowMs).toISOString();
    const problem = `the clock says ${now}, the authority is valid from ${issuer.x509.validFrom} to ${issuer.x509.validTo}`;
    throw new AgentError("E_CERT", `Cannot issue "${draft.name}": ${problem}`);
  }
  const notBeforeMs = Math.max(starts, nowMs - BACKDATE_MS);
  const wantedEndMs = notBeforeMs + draft.days * DAY_MS;
  if (wantedEndMs > ends) {
    authority.report(`"${draft.name}" ends with its authority, on ${issuer.x509.validTo}`);
  }
  const { name: commonName, names, role, publicKey } = draft;
  const notAfterMs = Math.min(wantedEndMs, ends);
  const leaf = { commonName, names, role, publicKey, serial, notBeforeMs, notAfterMs };
  return readCertificate(await createLeaf(leaf, issuer), certificateFile(commonName));
}

/** Somebody may have put an old `serial` file back. */
function refuseUsedSerial(index: Buffer, serial: string, path: string): void {
  if (findEntry(index, serial) === undefined) return;
  const hint = "Put a number there that is higher than all in the index";
  const message = `Cannot issue a certificate: serial number ${serial} of "${path}" is used already`;
  throw new AgentError("E_CERT", message, { hint });
}

/**
 * As Netdata's script leaves it, `openssl ca` refuses an index in which a host has two valid certificates, which it has
 * from its first renewal on.
 */
function indexAttributes(authority: Authority, index: Buffer, names: readonly string[]): NewFile[] {
  const path = authority.path(INDEX_ATTRIBUTES_FILE);
  const isAgain = names.some((name) => index.includes(`/CN=${name}\n`));
  if (!isAgain || !existsSync(path)) return [];
  const text = readOptional(path).toString("utf8");
  if (!/^unique_subject *= *yes/m.test(text)) return [];
  const data = text.replace(/^unique_subject *= *yes.*/m, "unique_subject = no");
  return [{ name: INDEX_ATTRIBUTES_FILE, data, ...PUBLIC_ACCESS }];
}
