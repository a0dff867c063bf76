/** Where the key and the certificates of a role come from, and where they are then. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Authority, type AuthorityOptions } from "../certs/authority.ts";
import { parseBundle } from "../certs/bundle.ts";
import {
  type Certificate,
  type CertificateFacts,
  readCertificate,
  readCertificates,
} from "../certs/certificate.ts";
import {
  AUTHORITY_FILES,
  certificateFile,
  DEFAULT_DIRECTORY,
  keyFile,
  LISTS_FILE,
} from "../certs/directory.ts";
import { isSameKey, readPrivateKey } from "../certs/keys.ts";
import { type AlternativeName, alternativeNames, isSameNames } from "../certs/names.ts";
import { AUTHORITY_DAYS, AUTHORITY_NAME, LEAF_DAYS_MAX } from "../certs/profiles.ts";
import type { Token } from "../certs/token.ts";
import { AgentError, errnoOf, reasonOf } from "../errors.ts";
import type { ProxyEnvironment } from "../upload/http/proxy.ts";
import type { HostCertificate } from "./enrollment-client.ts";
import type { CertificatePlaces, PlanItem, Role } from "./plan.ts";

/** What the command line asks for. */
export type CertificateSource =
  /** A file of `agent certs bundle`. */
  | { kind: "bundle"; file: string }
  /** The authority on this machine, made if there is none and `makes`. */
  | { kind: "authority"; makes: boolean; name: string; names: readonly AlternativeName[] }
  | { kind: "token"; token: Token; server: string }
  /** Files of the operator's own, which are used where they are. */
  | { kind: "files"; places: CertificatePlaces }
  /** As it was installed before. */
  | { kind: "installed"; places: CertificatePlaces }
  /** New ones, in the places of those before. */
  | { kind: "renewed"; host: HostCertificate & { key: string } }
  /** None, or what the configuration that is there names. */
  | { kind: "none" };

export interface PreparedCertificates {
  /** Undefined = none. */
  places: CertificatePlaces | undefined;
  isLocalAuthority: boolean;
  /** The name in the certificate; undefined = not known before --dry-run ends. */
  name: string | undefined;
  /** Of a bundle. */
  server: string | undefined;
  items: PlanItem[];
  /** What else is to be done, in words; for --dry-run. */
  steps: string[];
  /** Does it, in the course of the run: what it changes are by-products of the plan. @returns what was done, in words */
  perform(): Promise<string[]>;
}

export interface PrepareOptions {
  role: Role;
  /** See HostFacts. */
  root: string;
  isDryRun: boolean;
  nowMs: number;
  environment: ProxyEnvironment;
  authority: Pick<AuthorityOptions, "passphrase" | "report">;
}

const SECRET_MODE = 0o600;
const PUBLIC_MODE = 0o644;

/** Below /etc/ssl/journal-agent, by role. */
export function ownPlaces(role: Role): CertificatePlaces {
  const place = (file: string): string => join("/etc/ssl/journal-agent", role, file);
  return {
    key: place("key.pem"),
    certificate: place("certificate.pem"),
    authority: place("authority.pem"),
    lists: place("crl.pem"),
  };
}

/** Where an authority of this machine has those of a host. */
export function authorityPlaces(name: string): CertificatePlaces {
  const place = (file: string): string => join(DEFAULT_DIRECTORY, file);
  return {
    key: place(keyFile(name)),
    certificate: place(certificateFile(name)),
    authority: place(AUTHORITY_FILES.current.certificate),
    lists: place(LISTS_FILE),
  };
}

/** @throws AgentError E_CERT, E_PEER, E_IO, E_USAGE: then nothing was changed */
export async function prepareCertificates(
  source: CertificateSource,
  options: PrepareOptions,
): Promise<PreparedCertificates> {
  switch (source.kind) {
    case "bundle":
      return fromBundle(source.file, options);
    case "authority":
      return fromAuthority(source, options);
    case "token":
      return await fromToken(source, options);
    case "files":
      return fromFiles(source.places, options);
    case "installed":
      return fromInstalled(source.places, options);
    case "renewed":
      return prepared({
        items: ownItems(options.role, source.host),
        places: ownPlaces(options.role),
      });
    case "none":
      return prepared({});
  }
}

function prepared(known: Partial<PreparedCertificates>): PreparedCertificates {
  return {
    places: undefined,
    isLocalAuthority: false,
    name: undefined,
    server: undefined,
    items: [],
    steps: [],
    perform: () => Promise.resolve([]),
    ...known,
  };
}

function fromBundle(file: string, { role, nowMs }: PrepareOptions): PreparedCertificates {
  const bundle = parseBundle(readInput(file), file);
  if (bundle.role !== role && bundle.role !== "both") {
    const hint = `On the authority: agent certs issue ${bundle.name} --role=${role} --force`;
    throw unusable("bundle", file, `it is for a ${bundle.role}, need one for a ${role}`, hint);
  }
  if (bundle.key === undefined) {
    const hint =
      "The key is on the host that made the request: --key=, --cert= and --trust= name the files there";
    throw unusable("bundle", file, "it has no private key", hint);
  }
  const certificate = readCertificate(bundle.certificate, file);
  checkCertificate(certificate, bundle.key, file, nowMs);
  const { key, authorities, lists } = bundle;
  const host = { key, certificate: bundle.certificate, authority: authorities, lists };
  return prepared({
    places: ownPlaces(role),
    name: bundle.name,
    server: bundle.server,
    items: ownItems(role, host),
  });
}

function fromAuthority(
  source: Extract<CertificateSource, { kind: "authority" }>,
  { role, root, nowMs, authority: io }: PrepareOptions,
): PreparedCertificates {
  const { name, names, makes } = source;
  const directory = join(root, DEFAULT_DIRECTORY);
  const isThere = existsSync(join(directory, AUTHORITY_FILES.current.certificate));
  if (!isThere && !makes) {
    const message = `Cannot get a certificate for "${name}": there is no authority in "${directory}"`;
    throw new AgentError("E_USAGE", message, { hint: "On a server, --init-ca makes one" });
  }
  const options = { directory, nowMs, ...io };
  const places = authorityPlaces(name);
  const present = readPresent(places, root)?.certificate.facts;
  const isIssued = present !== undefined && isAsWanted(present, name, names, role);
  return prepared({
    places,
    isLocalAuthority: true,
    name,
    steps: [
      ...(isThere ? [] : [`make an authority in ${directory}`]),
      ...(isIssued ? [] : [`issue the certificate "${name}" in ${directory}`]),
    ],
    perform: async () => [
      ...(makes ? await makeAuthority(options) : []),
      ...(await issueFrom(options, { name, names, role })),
    ],
  });
}

async function makeAuthority(options: AuthorityOptions): Promise<string[]> {
  const { initAuthority } = await import("../certs/create.ts");
  const request = {
    commonName: AUTHORITY_NAME,
    keyType: "p256",
    days: AUTHORITY_DAYS,
    passphrase: undefined,
  } as const;
  const { outcome } = await initAuthority(options, request);
  return outcome === "unchanged" ? [] : [`${outcome} the authority in ${options.directory}`];
}

/** A certificate that says what it should is left alone; one that says something else is replaced, and keeps its key. */
async function issueFrom(
  options: AuthorityOptions,
  { name, names, role }: { name: string; names: readonly AlternativeName[]; role: Role },
): Promise<string[]> {
  const { issueCertificate, readHost } = await import("../certs/issue.ts");
  using authority = await Authority.open(options);
  const { status, certificate } = readHost(authority, name);
  const present = status === "valid" ? certificate?.facts : undefined;
  if (present !== undefined && isAsWanted(present, name, names, role)) return [];
  // The certificate of a machine that is both has to stay good for both.
  const isOfRole = present === undefined || canBe(present, role);
  await issueCertificate(authority, {
    name,
    names,
    role: isOfRole ? (present?.role ?? role) : "both",
    days: LEAF_DAYS_MAX,
    keyType: undefined,
    replace: present === undefined ? "no" : "same key",
  });
  return [`issued the certificate "${name}" in ${options.directory}`];
}

function isAsWanted(
  present: CertificateFacts,
  name: string,
  names: readonly AlternativeName[],
  role: Role,
): boolean {
  return canBe(present, role) && isSameNames(present.names, alternativeNames(name, names));
}

function canBe(present: CertificateFacts, role: Role): boolean {
  return present.role === role || present.role === "both";
}

async function fromToken(
  { token, server }: Extract<CertificateSource, { kind: "token" }>,
  options: PrepareOptions,
): Promise<PreparedCertificates> {
  const { role, root, isDryRun, environment, nowMs } = options;
  const places = ownPlaces(role);
  const { name } = token;
  // A second run with the same token: it is used up, and not needed.
  const present = readPresent(places, root);
  if (
    present !== undefined &&
    present.certificate.facts.name === name &&
    present.certificate.facts.notAfterMs > nowMs
  ) {
    return prepared({ places, name, items: ownItems(role, present.host) });
  }
  if (isDryRun) {
    const pending = "(comes from the receiver)\n";
    const host = { key: pending, certificate: pending, authority: pending, lists: "" };
    return prepared({
      places,
      name,
      items: ownItems(role, host),
      steps: [`get a certificate for "${name}" from ${server}`],
    });
  }
  const { enroll } = await import("./enrollment-client.ts");
  const host = await enroll({ server, token, environment });
  return prepared({
    places,
    name,
    items: ownItems(role, host),
    steps: [`got a certificate for "${name}" from ${server}`],
  });
}

function fromFiles(
  places: CertificatePlaces,
  { root, nowMs }: PrepareOptions,
): PreparedCertificates {
  const certificate = readCertificate(
    readInput(join(root, places.certificate)),
    places.certificate,
  );
  checkCertificate(certificate, readInput(join(root, places.key)), places.certificate, nowMs);
  if (readCertificates(readInput(join(root, places.authority)), places.authority).length === 0) {
    throw unusable("authority", places.authority, "no PEM certificate in it", undefined);
  }
  return prepared({ places, name: certificate.facts.name });
}

/** What is in our own places stays planned, or it would be taken away. */
function fromInstalled(
  places: CertificatePlaces,
  { role, root }: PrepareOptions,
): PreparedCertificates {
  const isOwn = places.key === ownPlaces(role).key;
  const present = readPresent(places, root);
  const name = present?.certificate.facts.name;
  const items = isOwn && present !== undefined ? ownItems(role, present.host) : [];
  const isLocalAuthority = places.authority === authorityPlaces("").authority;
  return prepared({ places, name, items, isLocalAuthority });
}

function readPresent(
  places: CertificatePlaces,
  root: string,
): { host: HostCertificate & { key: string }; certificate: Certificate } | undefined {
  const read = (path: string): string => readFileSync(join(root, path), "latin1");
  if (!existsSync(join(root, places.certificate)) || !existsSync(join(root, places.key)))
    return undefined;
  const lists =
    places.lists !== undefined && existsSync(join(root, places.lists)) ? read(places.lists) : "";
  const host = {
    key: read(places.key),
    certificate: read(places.certificate),
    authority: read(places.authority),
    lists,
  };
  return { host, certificate: readCertificate(host.certificate, places.certificate) };
}

/** The files of a role below /etc/ssl/journal-agent. The list is there in any case: renewal may bring one. */
function ownItems(role: Role, host: HostCertificate & { key: string }): PlanItem[] {
  const places = ownPlaces(role);
  const file = (path: string, data: string, purpose: string, mode = PUBLIC_MODE): PlanItem => ({
    kind: "file",
    path,
    data,
    mode,
    purpose,
    isSecret: mode === SECRET_MODE,
  });
  const items = [
    file(places.key, host.key, "private key", SECRET_MODE),
    file(places.certificate, host.certificate, "certificate"),
    file(places.authority, host.authority, "trusted authorities"),
  ];
  if (places.lists !== undefined && host.lists !== "")
    items.push(file(places.lists, host.lists, "revoked certificates"));
  return items;
}

/** @throws AgentError E_CERT */
function checkCertificate(
  { facts, x509 }: Certificate,
  key: string,
  file: string,
  nowMs: number,
): void {
  if (facts.notAfterMs <= nowMs)
    throw unusable("certificate", file, `it expired on ${x509.validTo}`, undefined);
  if (!isSameKey(readPrivateKey(key, file), x509.publicKey)) {
    throw unusable("certificate", file, "the private key is another one's", undefined);
  }
}

function unusable(
  what: string,
  file: string,
  problem: string,
  hint: string | undefined,
): AgentError {
  return new AgentError(
    "E_CERT",
    `Cannot use ${what} "${file}": ${problem}`,
    hint === undefined ? {} : { hint },
  );
}

function readInput(file: string): string {
  try {
    return readFileSync(file, "latin1");
  } catch (error) {
    const problem = errnoOf(error) === "ENOENT" ? "no such file" : reasonOf(error);
    throw new AgentError("E_IO", `Cannot read "${file}": ${problem}`, { cause: error });
  }
}
