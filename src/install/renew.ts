/** `agent install --renew`: what the timer does every day. Certificates get new ones when two thirds of their life are over. */
import { Authority } from "../certs/authority.ts";
import { dueMs } from "../certs/profiles.ts";
import { renewCertificates } from "../certs/renew.ts";
import { AgentError } from "../errors.ts";
import { replaceSynced } from "../platform/synced-file.ts";
import { restartUsers } from "./certificate-users.ts";
import { hashBytes } from "./disk-state.ts";
import type { InstallHost } from "./host.ts";
import { isOwn, type KeyedCertificate, ownPlan, readHost } from "./host-certificate.ts";
import { type InstallIo, openHost } from "./install.ts";
import type { SavedOptions } from "./install-request.ts";
import { installedRoles, type Manifest, readManifest, writeManifest } from "./manifest.ts";
import type { CertificatePlaces, Role } from "./plan.ts";
import { lockInstallation } from "./recover.ts";
import { requireRoot } from "./require-root.ts";
import { readConfigured } from "./resolve-request.ts";
import { AUTHORITY_DIRECTORY } from "./roles/options.ts";
import { resolveIn } from "./rooted-path.ts";

export interface RenewOptions {
  /** Also those that are not due. */
  isForced: boolean;
  io: Omit<InstallIo, "binary">;
  host?: InstallHost;
}

export type RenewOutcome =
  | {
      role: Role;
      what: "renewed" | "not due" | "not ours" | "due, but nobody renews it";
      name: string;
      /** Of the certificate that is in use now. */
      notAfterMs: number;
    }
  /** The present one stays. */
  | { role: Role; what: "failed"; error: AgentError };

interface Context {
  isForced: boolean;
  io: RenewOptions["io"];
  host: InstallHost;
  manifest: Manifest;
}

/**
 * Of each role that has one: what fails for one keeps the other from nothing. The timer's sandbox lets it write certificates
 * and the manifest, and nothing else.
 * @throws AgentError E_CONFIG when nothing is installed, or something is being installed
 */
export async function renewInstalled(options: RenewOptions): Promise<RenewOutcome[]> {
  const { isForced, io, host = openHost("") } = options;
  requireRoot("renew certificates");
  const lock = lockInstallation(host.root);
  try {
    const manifest = readManifest(host.root);
    requireSettled(manifest);
    const outcomes: RenewOutcome[] = [];
    for (const role of installedRoles(manifest)) {
      const outcome = await renewRole(role, { isForced, io, host, manifest });
      if (outcome !== undefined) outcomes.push(outcome);
    }
    return outcomes;
  } finally {
    lock.release();
  }
}

function requireSettled(manifest: Manifest): void {
  if (manifest.run !== null) {
    const hint = "The next agent install or agent uninstall takes it back";
    const problem = "an installation was interrupted, need it taken back";
    throw new AgentError("E_CONFIG", `Cannot renew certificates: ${problem}`, { hint });
  }
  if (installedRoles(manifest).length > 0) return;
  const hint = "agent install --role=server, or --role=client";
  const message = "Cannot renew certificates: nothing is installed here";
  throw new AgentError("E_CONFIG", message, { hint });
}

/** Undefined: the role has no certificate. */
async function renewRole(role: Role, context: Context): Promise<RenewOutcome | undefined> {
  const { isForced, io, host, manifest } = context;
  const saved = manifest.roles[role]?.options as SavedOptions;
  const { places, isLocalAuthority } = saved;
  if (places === undefined) return undefined;
  try {
    const present = readHost(places, host.root);
    const { facts } = present.certificate;
    const outcome = (
      what: Exclude<RenewOutcome["what"], "failed">,
      { name, notAfterMs } = facts,
    ): RenewOutcome => ({ role, what, name, notAfterMs });
    if (!isLocalAuthority && !isOwn(places, role)) return outcome("not ours");
    if (!isForced && dueMs(facts) > io.nowMs) return outcome("not due");
    const isRenewed = isLocalAuthority
      ? await renewHere(facts.name, context)
      : role === "client" && (await renewThere(saved, places, present.host, context));
    if (!isRenewed) return outcome("due, but nobody renews it");
    // Of both roles, which may have the same.
    await restartUsers(places, Object.values(manifest.roles), host.manager);
    return outcome("renewed", readHost(places, host.root).certificate.facts);
  } catch (error) {
    if (error instanceof AgentError) return { role, what: "failed", error };
    throw error;
  }
}

/** The authority is on this machine. */
async function renewHere(name: string, { io, host }: Context): Promise<true> {
  using authority = await Authority.open({
    directory: resolveIn(host.root, AUTHORITY_DIRECTORY, true),
    nowMs: io.nowMs,
    ...io.authority,
  });
  await renewCertificates(authority, {
    hosts: [name],
    expiringMs: undefined,
    days: undefined,
    newKeys: false,
  });
  return true;
}

/** At the first receiver that does so. @throws AgentError of the last one when all fail */
async function renewThere(
  saved: SavedOptions,
  places: CertificatePlaces,
  present: KeyedCertificate,
  context: Context,
): Promise<boolean> {
  const { renewAtReceiver } = await import("./enrollment-client.ts");
  const { io, host } = context;
  const { key: keyFile, certificate: certificateFile, authority: trust } = places;
  const servers =
    saved.servers.length > 0 ? saved.servers : readConfigured("client", host.root).urls;
  let failure: AgentError | undefined;
  for (const server of servers.filter((url) => /^https:/i.test(url))) {
    try {
      const renewed = await renewAtReceiver({
        server,
        files: { keyFile, certificateFile, trust },
        present,
        environment: io.environment,
      });
      if (renewed === "off") continue;
      replaceOwn({ ...renewed, key: present.key }, context);
      return true;
    } catch (error) {
      if (!(error instanceof AgentError)) throw error;
      failure = error;
    }
  }
  if (failure !== undefined) throw failure;
  return false;
}

/** Where they are items of the client: a list that was not planned is not there, and nobody reads it. */
function replaceOwn(renewed: KeyedCertificate, { host, manifest }: Context): void {
  for (const item of ownPlan("client", renewed).items) {
    const record = manifest.items[item.path];
    if (record?.written.kind !== "file" || item.kind !== "file") continue;
    const sha256 = hashBytes(item.data as string);
    if (record.written.sha256 === sha256) continue;
    replaceSynced(resolveIn(host.root, item.path), item.data as string, { mode: item.mode });
    record.written.sha256 = sha256;
  }
  writeManifest(host.root, manifest);
}
