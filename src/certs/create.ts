/** A new authority, or one that is there already and is taken over as it is. */
import { chmodSync, existsSync, mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { AgentError } from "../errors.ts";
import {
  Authority,
  type AuthorityOptions,
  lockDirectory,
  readOptionalText,
  requireClock,
} from "./authority.ts";
import { type CertificateFacts, readCertificate } from "./certificate.ts";
import {
  AUTHORITY_FILES,
  INDEX_ATTRIBUTES_FILE,
  LISTS_FILE,
  PUBLIC_ACCESS,
  SECRET_ACCESS,
  SERIAL_FILE,
  secureDirectory,
} from "./directory.ts";
import { parseIndex } from "./index-file.ts";
import { formatPrivateKey, generateKey, type KeyType } from "./keys.ts";
import { BACKDATE_MS, DAY_MS, LIST_DAYS } from "./profiles.ts";
import { createRevocationList } from "./revocation-list.ts";
import { randomSerial } from "./serial.ts";
import {
  asFileError,
  commitChange,
  isChangePending,
  type NewFile,
  recoverChange,
} from "./transaction.ts";
import { createAuthority, readAuthorityKeyId } from "./x509.ts";

export interface AuthorityRequest {
  commonName: string;
  keyType: KeyType;
  days: number;
  /** For the new key; undefined = it is kept as it is. */
  passphrase: string | undefined;
}

export interface AuthorityState {
  outcome: "created" | "adopted" | "unchanged";
  facts: CertificateFacts;
  /** Certificates in the index. */
  issued: number;
}

/** Makes an authority where there is none. @throws AgentError */
export async function initAuthority(
  options: AuthorityOptions,
  request: AuthorityRequest,
): Promise<AuthorityState> {
  const { directory } = options;
  requireClock(options.nowMs);
  try {
    makeDirectory(directory);
    const isThere = existsSync(join(directory, AUTHORITY_FILES.current.certificate));
    if (isThere || isChangePending(directory)) {
      const state = await takeOver(options);
      if (state !== undefined) return state;
    }
    return await createIn(options, request);
  } catch (error) {
    throw asFileError(error);
  }
}

/**
 * Everything an authority's directory has at its beginning, the certificate last.
 * @param files names for the key and the certificate
 */
export async function newAuthorityFiles(
  request: AuthorityRequest,
  files: { key: string; certificate: string },
  nowMs: number,
): Promise<{ files: NewFile[]; certificate: string; list: string }> {
  const key = await generateKey(request.keyType);
  const certificate = await createAuthority({
    commonName: request.commonName,
    serial: randomSerial(),
    key,
    notBeforeMs: nowMs - BACKDATE_MS,
    notAfterMs: nowMs - BACKDATE_MS + request.days * DAY_MS,
  });
  const list = createRevocationList({
    certificate: readCertificate(certificate, files.certificate).x509.raw,
    keyId: await readAuthorityKeyId(certificate),
    key,
    thisUpdateMs: nowMs,
    nextUpdateMs: nowMs + LIST_DAYS * DAY_MS,
    entries: [],
  });
  const pem = await formatPrivateKey(key, request.passphrase);
  return {
    files: [
      { name: files.key, data: pem, ...SECRET_ACCESS },
      { name: files.certificate, data: certificate, ...PUBLIC_ACCESS },
    ],
    certificate,
    list,
  };
}

/** @returns undefined when it turns out that there is none: an interrupted `init` was taken back */
async function takeOver(options: AuthorityOptions): Promise<AuthorityState | undefined> {
  const certificate = join(options.directory, AUTHORITY_FILES.current.certificate);
  using authority = await Authority.open(options);
  if (!existsSync(certificate)) return undefined;
  const { x509, certificate: pem } = await authority.signer();
  if (Date.parse(x509.validTo) < options.nowMs) {
    const hint = "Hosts refuse it; move it away and make a new one, or agent certs rotate-ca";
    options.report(`The authority in "${options.directory}" expired on ${x509.validTo}. ${hint}`);
  }
  const indexPath = authority.path(AUTHORITY_FILES.current.index);
  const issued = parseIndex(readOptionalText(indexPath), indexPath).length;
  const isNew = !existsSync(authority.path(LISTS_FILE));
  if (isNew) authority.commit({ replace: [await authority.listsFile()] });
  const { facts } = readCertificate(pem, certificate);
  return { outcome: isNew ? "adopted" : "unchanged", facts, issued };
}

async function createIn(
  options: AuthorityOptions,
  request: AuthorityRequest,
): Promise<AuthorityState> {
  const { directory, nowMs } = options;
  secureDirectory(directory);
  const lock = await lockDirectory(directory);
  try {
    recoverChange(directory);
    refuseLeftovers(directory);
    const made = await newAuthorityFiles(request, AUTHORITY_FILES.current, nowMs);
    commitChange(directory, {
      replace: [
        { name: AUTHORITY_FILES.current.index, data: "", ...PUBLIC_ACCESS },
        // A host has two valid certificates while it is renewed: openssl would refuse the second.
        { name: INDEX_ATTRIBUTES_FILE, data: "unique_subject = no\n", ...PUBLIC_ACCESS },
        { name: SERIAL_FILE, data: `${randomSerial()}\n`, ...SECRET_ACCESS },
        { name: LISTS_FILE, data: made.list, ...PUBLIC_ACCESS },
        ...made.files,
      ],
    });
    const { facts } = readCertificate(made.certificate, AUTHORITY_FILES.current.certificate);
    return { outcome: "created", facts, issued: 0 };
  } finally {
    lock.release();
  }
}

/** A key or an index without a certificate are of an authority that somebody may want back. */
function refuseLeftovers(directory: string): void {
  const { certificate, key, index } = AUTHORITY_FILES.current;
  if (existsSync(join(directory, certificate))) {
    throw new AgentError("E_BUSY", `Cannot make an authority in "${directory}": it was made now`);
  }
  const found = [key, index].find((name) => existsSync(join(directory, name)));
  if (found === undefined) return;
  const message = `Cannot make an authority in "${directory}": "${found}" is there and "${certificate}" is not`;
  const hint = "Put the certificate back, or move the rest away";
  throw new AgentError("E_CERT", message, { hint });
}

function makeDirectory(directory: string): void {
  if (statSync(directory, { throwIfNoEntry: false }) !== undefined) return;
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  // Whatever the umask is: daemons read there.
  chmodSync(directory, 0o755);
}
