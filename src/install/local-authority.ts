/** The certificate of a machine that has the authority itself: used where `agent certs` keeps it. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Authority, type AuthorityOptions } from "../certs/authority.ts";
import type { CertificateFacts } from "../certs/certificate.ts";
import { AUTHORITY_FILES, LISTS_FILE } from "../certs/directory.ts";
import { listEntries } from "../certs/listing.ts";
import { type AlternativeName, alternativeNames, isSameNames } from "../certs/names.ts";
import { AUTHORITY_DAYS, AUTHORITY_NAME, LEAF_DAYS_MAX } from "../certs/profiles.ts";
import { AgentError } from "../errors.ts";
import { authorityPlaces, readHost } from "./host-certificate.ts";
import type { Role } from "./plan.ts";
import { AUTHORITY_DIRECTORY } from "./roles/options.ts";
import { resolveIn } from "./rooted-path.ts";

export interface WantedCertificate {
  role: Role;
  name: string;
  names: readonly AlternativeName[];
  /** Has it no other names? False: those that it has stay, which another role may need. */
  isExact: boolean;
}

export interface AuthorityWork {
  /** What is to be done, in words; none = everything is as wanted. */
  steps: string[];
  /** @returns what was done, in words */
  perform(): Promise<string[]>;
}

/** @param root see HostFacts */
export function hasAuthority(root: string): boolean {
  const directory = resolveIn(root, AUTHORITY_DIRECTORY, true);
  return existsSync(join(directory, AUTHORITY_FILES.current.certificate));
}

/**
 * Changes nothing yet.
 * @param makes if there is no authority, make one
 * @throws AgentError E_USAGE without an authority
 */
export function planAuthority(
  wanted: WantedCertificate,
  { makes, root, io }: { makes: boolean; root: string; io: Omit<AuthorityOptions, "directory"> },
): AuthorityWork {
  const directory = resolveIn(root, AUTHORITY_DIRECTORY, true);
  const isThere = hasAuthority(root);
  if (!isThere && !makes) {
    const message = `Cannot get a certificate for "${wanted.name}": there is no authority in "${directory}"`;
    throw new AgentError("E_USAGE", message, { hint: "On a server, --init-ca makes one" });
  }
  const hasLists = existsSync(join(directory, LISTS_FILE));
  const isIssued = isThere && hasValid(wanted, { root, directory, nowMs: io.nowMs });
  const options = { directory, ...io };
  return {
    steps: [
      ...(isThere ? [] : [`make an authority in ${directory}`]),
      ...(isThere && !hasLists ? [`make the revocation list in ${directory}`] : []),
      ...(isIssued ? [] : [`issue the certificate "${wanted.name}" in ${directory}`]),
    ],
    perform: async () => [
      ...(isThere && hasLists ? [] : await completeAuthority(options)),
      ...(isIssued ? [] : await issue(options, wanted)),
    ],
  };
}

/** As it is seen without locking the authority. */
function hasValid(
  wanted: WantedCertificate,
  { root, directory, nowMs }: { root: string; directory: string; nowMs: number },
): boolean {
  const places = authorityPlaces(wanted.name);
  const isThere = [places.key, places.certificate].every((path) =>
    existsSync(resolveIn(root, path, true)),
  );
  if (!isThere) return false;
  const { facts } = readHost({ ...places, lists: undefined }, root).certificate;
  const entry = listEntries(directory, nowMs).find(({ serial }) => serial === facts.serial);
  return entry?.status === "valid" && isAsWanted(facts, wanted);
}

async function completeAuthority(options: AuthorityOptions): Promise<string[]> {
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

/** In place of one that says something else, with the same key. */
async function issue(options: AuthorityOptions, wanted: WantedCertificate): Promise<string[]> {
  const certs = await import("../certs/issue.ts");
  const { name, names, role, isExact } = wanted;
  using authority = await Authority.open(options);
  const { status, certificate } = certs.readHost(authority, name);
  const present = status === "valid" ? certificate?.facts : undefined;
  if (present !== undefined && isAsWanted(present, wanted)) return [];
  const isForRole = present === undefined || canBe(present, role);
  await certs.issueCertificate(authority, {
    name,
    names: isExact ? names : [...(present?.names ?? []), ...names],
    // That of a machine that is both has to stay good for both.
    role: isForRole ? (present?.role ?? role) : "both",
    days: LEAF_DAYS_MAX,
    keyType: undefined,
    replace: present === undefined ? "no" : "same key",
  });
  return [`issued the certificate "${name}" in ${options.directory}`];
}

function isAsWanted(present: CertificateFacts, wanted: WantedCertificate): boolean {
  if (!canBe(present, wanted.role)) return false;
  const names = alternativeNames(wanted.name, wanted.names);
  return isSameNames(present.names, wanted.isExact ? names : [...present.names, ...names]);
}

function canBe(present: CertificateFacts, role: Role): boolean {
  return present.role === role || present.role === "both";
}
