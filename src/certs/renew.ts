/** Renewal: the same names and role, new dates and serial; the key stays, unless a new one is asked for. */
import { createPublicKey } from "node:crypto";
import { AgentError } from "../errors.ts";
import type { Authority } from "./authority.ts";
import type { Certificate, CertificateFacts } from "./certificate.ts";
import { type Draft, readHost, signAll } from "./issue.ts";
import { generateKey, KEY_TYPES } from "./keys.ts";
import { listEntries } from "./listing.ts";
import { alternativeNames } from "./names.ts";
import { DAY_MS, LEAF_DAYS_MAX } from "./profiles.ts";

export interface RenewRequest {
  /** "all": every certificate that is valid. */
  hosts: "all" | readonly string[];
  /** Only those that end within this; undefined = all of them. */
  expiringMs: number | undefined;
  /** Undefined = as long as the former one, but no longer than is usual now. */
  days: number | undefined;
  newKeys: boolean;
}

export interface Renewal {
  renewed: CertificateFacts[];
  /** Those that end later. */
  notDue: string[];
  /** Those that cannot be renewed, of "all", with the reason. */
  skipped: { name: string; reason: string }[];
}

/** @throws AgentError E_CERT for a named host that cannot be renewed */
export async function renewCertificates(
  authority: Authority,
  request: RenewRequest,
): Promise<Renewal> {
  const result: Renewal = { renewed: [], notDue: [], skipped: [] };
  const drafts: Draft[] = [];
  const isAll = request.hosts === "all";
  for (const name of request.hosts === "all" ? hostsOf(authority) : request.hosts) {
    const chosen = choose(authority, name, request);
    if (chosen === "not due") {
      result.notDue.push(name);
    } else if (typeof chosen !== "string") {
      drafts.push(await draftOf(chosen, request));
    } else if (isAll) {
      result.skipped.push({ name, reason: chosen });
    } else {
      const hint = `agent certs issue ${name} makes a new one`;
      throw new AgentError("E_CERT", `Cannot renew "${name}": ${chosen}`, { hint });
    }
  }
  result.renewed = await signAll(authority, drafts);
  return result;
}

/** Hosts with a certificate that is neither revoked nor expired. */
function hostsOf(authority: Authority): string[] {
  const entries = listEntries(authority.directory, authority.nowMs);
  return [...new Set(entries.filter(({ status }) => status === "valid").map(({ name }) => name))];
}

/** @returns the certificate to be renewed, or why it is not. @throws AgentError for broken files of a named host */
function choose(
  authority: Authority,
  name: string,
  { hosts, expiringMs }: RenewRequest,
): Certificate | "not due" | string {
  const host = hosts === "all" ? tryReadHost(authority, name) : readHost(authority, name);
  if (typeof host === "string") return host;
  const { certificate, status } = host;
  if (certificate === undefined) return `there is no "${name}.pem" in the directory`;
  if (status === "revoked") return "its certificate is revoked";
  if (status === "absent") return "its certificate is not in the index of this authority";
  const endMs = certificate.facts.notAfterMs;
  if (expiringMs !== undefined && endMs > authority.nowMs + expiringMs) return "not due";
  return certificate;
}

function tryReadHost(authority: Authority, name: string): ReturnType<typeof readHost> | string {
  try {
    return readHost(authority, name);
  } catch (error) {
    if (error instanceof AgentError) return error.message;
    throw error;
  }
}

/** The certificate that follows this one. */
export async function draftOf(
  { facts, x509 }: Certificate,
  request: Pick<RenewRequest, "days" | "newKeys">,
): Promise<Draft> {
  const type = KEY_TYPES.find((each) => each === facts.keyType) ?? "p256";
  const newKey = request.newKeys ? await generateKey(type) : undefined;
  const formerDays = Math.round((facts.notAfterMs - facts.notBeforeMs) / DAY_MS);
  return {
    name: facts.name,
    names: alternativeNames(facts.name, facts.names),
    role: facts.role,
    days: request.days ?? Math.max(1, Math.min(LEAF_DAYS_MAX, formerDays)),
    publicKey: newKey === undefined ? x509.publicKey : createPublicKey(newKey),
    newKey,
  };
}
