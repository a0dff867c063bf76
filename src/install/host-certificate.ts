/** Key and certificates of a role on this machine: where they are, what is in them, whether they can be used. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Certificate, readCertificate } from "../certs/certificate.ts";
import { AUTHORITY_FILES, certificateFile, keyFile, LISTS_FILE } from "../certs/directory.ts";
import { isSameKey, readPrivateKey } from "../certs/keys.ts";
import { AgentError, errnoOf, reasonOf } from "../errors.ts";
import type { CertificatePlaces, PlanItem, Role } from "./plan.ts";
import { AUTHORITY_DIRECTORY } from "./roles/options.ts";
import { resolveIn } from "./rooted-path.ts";

/** As PEM. */
export interface HostCertificate {
  certificate: string;
  /** All that are trusted. */
  authority: string;
  /** "" = none. */
  lists: string;
}

export interface KeyedCertificate extends HostCertificate {
  key: string;
}

const SECRET_MODE = 0o600;
const PUBLIC_MODE = 0o644;

/** Below /etc/ssl/journal-agent, by role. */
function ownPlaces(role: Role): CertificatePlaces & { lists: string } {
  const place = (file: string): string => `/etc/ssl/journal-agent/${role}/${file}`;
  return {
    key: place("key.pem"),
    certificate: place("certificate.pem"),
    authority: place("authority.pem"),
    lists: place("crl.pem"),
  };
}

/** Where an authority of this machine has those of a host. */
export function authorityPlaces(name: string): CertificatePlaces {
  const place = (file: string): string => join(AUTHORITY_DIRECTORY, file);
  return {
    key: place(keyFile(name)),
    certificate: place(certificateFile(name)),
    authority: place(AUTHORITY_FILES.current.certificate),
    lists: place(LISTS_FILE),
  };
}

export function isOwn({ key }: CertificatePlaces, role: Role): boolean {
  return key === ownPlaces(role).key;
}

/** What is to be in our own places. A list that does not exist is not named: the receiver would not start without it. */
export function ownPlan(
  role: Role,
  host: KeyedCertificate,
): { places: CertificatePlaces; items: PlanItem[] } {
  const own = ownPlaces(role);
  const file = (path: string, data: string, purpose: string, mode = PUBLIC_MODE): PlanItem => {
    return { kind: "file", path, data, mode, purpose, isSecret: mode === SECRET_MODE };
  };
  const hasLists = host.lists !== "";
  return {
    places: { ...own, lists: hasLists ? own.lists : undefined },
    items: [
      file(own.key, host.key, "private key", SECRET_MODE),
      file(own.certificate, host.certificate, "certificate"),
      file(own.authority, host.authority, "trusted authorities"),
      ...(hasLists ? [file(own.lists, host.lists, "revoked certificates")] : []),
    ],
  };
}

/** @throws AgentError E_IO for what is not there, E_CERT for what is no certificate */
export function readHost(
  places: CertificatePlaces,
  root: string,
): { host: KeyedCertificate; certificate: Certificate } {
  const read = (path: string): string => readInput(resolveIn(root, path, true));
  const host = {
    key: read(places.key),
    certificate: read(places.certificate),
    authority: read(places.authority),
    lists: places.lists === undefined ? "" : read(places.lists),
  };
  return { host, certificate: readCertificate(host.certificate, places.certificate) };
}

/** What is in our own places; undefined unless it is complete and can be read. */
export function readOwn(role: Role, root: string): ReturnType<typeof readHost> | undefined {
  const own = ownPlaces(role);
  const hasLists = existsSync(resolveIn(root, own.lists, true));
  try {
    return readHost({ ...own, lists: hasLists ? own.lists : undefined }, root);
  } catch (error) {
    if (error instanceof AgentError) return undefined;
    throw error;
  }
}

/** @throws AgentError E_CERT when the key is another one's */
export function requireKeyOf({ x509 }: Certificate, key: string, file: string): void {
  if (isSameKey(readPrivateKey(key, file), x509.publicKey)) return;
  throw unusable("certificate", file, "the private key is another one's");
}

/** @throws AgentError E_CERT */
export function requireUnexpired({ facts, x509 }: Certificate, file: string, nowMs: number): void {
  if (facts.notAfterMs > nowMs) return;
  throw unusable("certificate", file, `it expired on ${x509.validTo}`);
}

export function unusable(what: string, file: string, problem: string, hint?: string): AgentError {
  const message = `Cannot use ${what} "${file}": ${problem}`;
  return new AgentError("E_CERT", message, hint === undefined ? {} : { hint });
}

/** @throws AgentError E_IO */
export function readInput(file: string): string {
  try {
    return readFileSync(file, "latin1");
  } catch (error) {
    const problem = errnoOf(error) === "ENOENT" ? "no such file" : reasonOf(error);
    throw new AgentError("E_IO", `Cannot read "${file}": ${problem}`, { cause: error });
  }
}
