/** Keys that never leave their host: a request is made there, signed by the authority, and the answer accepted there. */
import type { KeyObject } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { isListSignedBy } from "../bytes/revocation-list.ts";
import { AgentError } from "../errors.ts";
import type { ProcessLock } from "../platform/process-lock.ts";
import { type Authority, lockDirectory, readOptional, readOptionalText } from "./authority.ts";
import { type Certificate, type CertificateFacts, readCertificates } from "./certificate.ts";
import {
  AUTHORITY_FILES,
  certificateFile,
  keyFile,
  LISTS_FILE,
  PUBLIC_ACCESS,
  requestFile,
  SECRET_ACCESS,
  secureDirectory,
} from "./directory.ts";
import { type Issued, readHost, signOne } from "./issue.ts";
import { formatPrivateKey, generateKey, isSameKey, type KeyType, readPrivateKey } from "./keys.ts";
import {
  type AlternativeName,
  alternativeNames,
  formatAlternativeNames,
  isSameNames,
  parseHostName,
} from "./names.ts";
import { readPem } from "./pem.ts";
import type { Role } from "./profiles.ts";
import { readLists } from "./revocation-list.ts";
import { asFileError, commitChange, type NewFile, recoverChange } from "./transaction.ts";
import { createRequest, readRequest } from "./x509.ts";

/** The key of a request, where the present one is still in use. */
const newKeyFile = (name: string): string => `${keyFile(name)}.new`;

export interface RequestOptions {
  /** Of the host. */
  directory: string;
  name: string;
  names: readonly AlternativeName[];
  keyType: KeyType | undefined;
  /** Not the key that is there. */
  newKey: boolean;
}

export interface SignOptions {
  names: readonly AlternativeName[] | undefined;
  role: Role;
  days: number;
  /** Although the host has a valid certificate that says something else. */
  force: boolean;
}

export interface AcceptOptions {
  directory: string;
  /** PEM text: the certificate, and the authority's unless that is there already. */
  text: string;
  /** For the messages. */
  file: string;
  nowMs: number;
}

export interface Accepted {
  outcome: "accepted" | "unchanged";
  facts: CertificateFacts;
  authority: CertificateFacts;
  /** Files that were written. */
  files: string[];
}

/** On the host. @returns paths of request and key */
export async function makeRequest(
  options: RequestOptions,
): Promise<{ request: string; key: string; isNewKey: boolean }> {
  const { directory, name } = options;
  const names = alternativeNames(name, options.names);
  using lock = await openHostDirectory(directory);
  const present = readKey(join(directory, keyFile(name)));
  const isNewKey = present === undefined || options.newKey;
  const key = isNewKey ? await generateKey(options.keyType ?? "p256") : present;
  const keyName = isNewKey && present !== undefined ? newKeyFile(name) : keyFile(name);
  const csr = await createRequest({ commonName: name, names, key });
  const files: NewFile[] = [{ name: requestFile(name), data: csr, ...PUBLIC_ACCESS }];
  if (isNewKey) {
    const data = await formatPrivateKey(key, undefined);
    files.unshift({ name: keyName, data, ...SECRET_ACCESS });
  }
  lock.commit(files);
  return { request: join(directory, requestFile(name)), key: join(directory, keyName), isNewKey };
}

/** On the authority. @param file for the messages. @throws AgentError E_CERT, E_USAGE */
export async function signRequest(
  authority: Authority,
  text: string,
  file: string,
  options: SignOptions,
): Promise<Issued> {
  const request = await readRequest(text, file);
  const name = parseHostName(request.commonName);
  const names = alternativeNames(name, options.names ?? request.names);
  const host = readHost(authority, name);
  const isKept = host.key === undefined || isSameKey(host.key, request.publicKey);
  if (!isKept && !options.force) {
    const hint = "--force signs it and removes the key here, which is then of no use";
    const message = `Cannot sign the request of "${name}": its key is in the directory here, and it is another one`;
    throw new AgentError("E_USAGE", message, { hint });
  }
  const former = host.status === "valid" ? host.certificate : undefined;
  if (former !== undefined && !options.force) {
    const isSame =
      former.x509.publicKey.equals(request.publicKey) &&
      former.facts.role === options.role &&
      isSameNames(former.facts.names, names);
    const hasKey = host.key !== undefined;
    if (isSame) return { outcome: "unchanged", facts: former.facts, former: undefined, hasKey };
    const until = new Date(former.facts.notAfterMs).toISOString().slice(0, 10);
    const message = `Cannot sign the request of "${name}": it has a certificate until ${until} for other names, role or key`;
    const hint = "--force replaces it; the former one stays valid until it is revoked";
    throw new AgentError("E_USAGE", message, { hint });
  }
  const { role, days } = options;
  const { publicKey } = request;
  const draft = { name, names, role, days, publicKey, newKey: undefined, dropsKey: !isKept };
  const facts = await signOne(authority, draft);
  if (options.names === undefined) reportNames(authority, name, names);
  return {
    outcome: "issued",
    facts,
    former: former?.facts,
    hasKey: isKept && host.key !== undefined,
  };
}

/** Which names a host has is for the authority to say: they may be another host's. */
function reportNames(authority: Authority, name: string, names: readonly AlternativeName[]): void {
  const others = names.filter(({ value }) => value.toLowerCase() !== name.toLowerCase());
  if (others.length === 0) return;
  const wishes = formatAlternativeNames(others);
  authority.report(`The request of "${name}" asked for further names, which it has now: ${wishes}`);
}

/** On the host. @throws AgentError E_CERT for what is not for this host's key, or not the authority's */
export async function acceptCertificate(options: AcceptOptions): Promise<Accepted> {
  const { directory, text, file, nowMs } = options;
  using host = await openHostDirectory(directory);
  const certificates = readCertificates(text, file);
  const leaf = certificates.find(({ facts }) => !facts.isAuthority);
  if (leaf === undefined) throw unusable(file, "no host's certificate in it");
  const name = parseHostName(leaf.facts.name);
  const key = findKey(directory, name, leaf);
  if (leaf.facts.notAfterMs < nowMs) throw unusable(file, `it expired on ${leaf.x509.validTo}`);
  const present = readOptionalText(join(directory, AUTHORITY_FILES.current.certificate));
  const given = certificates.filter(({ facts }) => facts.isAuthority);
  const trusted = given.length > 0 ? given : readCertificates(present, "ca.pem");
  const authority = trusted.find(({ x509 }) => leaf.x509.verify(x509.publicKey));
  if (authority === undefined) {
    const hint = "Give the authority's certificate, too: --authority=ca.pem";
    throw unusable(file, `no certificate of the authority "${leaf.facts.issuer}" is known`, hint);
  }
  const authorities = trusted.map(({ pem }) => pem).join("");
  // The authority's own directory knows better.
  const isAuthority = existsSync(join(directory, AUTHORITY_FILES.current.key));
  const wanted: NewFile[] = [
    ...(isAuthority ? [] : listsIn(text, trusted)),
    ...(isAuthority
      ? []
      : [{ name: AUTHORITY_FILES.current.certificate, data: authorities, ...PUBLIC_ACCESS }]),
    ...(key.isNew ? [{ name: keyFile(name), data: key.pem, ...SECRET_ACCESS }] : []),
    { name: certificateFile(name), data: leaf.pem, ...PUBLIC_ACCESS },
  ];
  const files = wanted.filter(({ name: each, data }) => {
    return !readOptional(join(directory, each)).equals(Buffer.from(data));
  });
  const outcome = files.length === 0 ? "unchanged" : "accepted";
  if (files.length > 0) host.commit(files, key.isNew ? [newKeyFile(name)] : []);
  const paths = files.map((each) => join(directory, each.name));
  return { outcome, facts: leaf.facts, authority: authority.facts, files: paths };
}

/** The lists of revoked certificates that came along, of these authorities. */
function listsIn(text: string, trusted: readonly Certificate[]): NewFile[] {
  const lists = readLists(text).filter((der) =>
    trusted.some(({ x509 }) => isListSignedBy(der, x509.publicKey)),
  );
  if (lists.length === 0) return [];
  const blocks = readPem(text).filter(({ label }) => label === "X509 CRL");
  return [{ name: LISTS_FILE, data: blocks.map((block) => block.text).join(""), ...PUBLIC_ACCESS }];
}

/** The key that the certificate is for: the one in use, or that of a request for a new one. */
function findKey(
  directory: string,
  name: string,
  leaf: Certificate,
): { isNew: boolean; pem: string } {
  const candidates = [
    { isNew: false, path: join(directory, keyFile(name)) },
    { isNew: true, path: join(directory, newKeyFile(name)) },
  ];
  for (const { isNew, path } of candidates) {
    const key = readKey(path);
    if (key !== undefined && isSameKey(key, leaf.x509.publicKey)) {
      return { isNew, pem: readOptionalText(path) };
    }
  }
  const hint = `agent certs request ${name} makes the key; run it on the host the certificate is for`;
  const problem = `its key is not in "${directory}", need "${keyFile(name)}"`;
  throw new AgentError("E_CERT", `Cannot accept the certificate of "${name}": ${problem}`, {
    hint,
  });
}

function readKey(path: string): KeyObject | undefined {
  const pem = readOptionalText(path);
  return pem === "" ? undefined : readPrivateKey(pem, path);
}

interface HostDirectory extends Disposable {
  commit(files: readonly NewFile[], remove?: readonly string[]): void;
}

/** Made if need be, locked, and in order. */
async function openHostDirectory(directory: string): Promise<HostDirectory> {
  let lock: ProcessLock;
  try {
    if (statSync(directory, { throwIfNoEntry: false }) === undefined) {
      mkdirSync(directory, { recursive: true, mode: 0o755 });
      chmodSync(directory, 0o755);
    }
    secureDirectory(directory);
    lock = await lockDirectory(directory);
    recoverChange(directory);
  } catch (error) {
    throw asFileError(error);
  }
  return {
    commit(replace, remove = []): void {
      try {
        commitChange(directory, { replace, remove });
      } catch (error) {
        throw asFileError(error);
      }
    },
    [Symbol.dispose]: () => lock.release(),
  };
}

function unusable(file: string, problem: string, hint?: string): AgentError {
  const details = hint === undefined ? {} : { hint };
  return new AgentError("E_CERT", `Cannot use certificate "${file}": ${problem}`, details);
}
