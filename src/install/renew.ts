/** `agent install --renew`: what the timer does every day. Certificates get new ones when two thirds of their life are over. */
import { readFileSync } from "node:fs";
import { Authority } from "../certs/authority.ts";
import { type CertificateFacts, readCertificate } from "../certs/certificate.ts";
import { DEFAULT_DIRECTORY } from "../certs/directory.ts";
import { dueMs } from "../certs/profiles.ts";
import { renewCertificates } from "../certs/renew.ts";
import { AgentError } from "../errors.ts";
import { ownPlaces } from "./certificate-source.ts";
import { type InstallIo, install, openHost } from "./install.ts";
import type { InstallRequest, SavedOptions } from "./install-request.ts";
import { installedRoles, type Manifest, readManifest } from "./manifest.ts";
import type { CertificatePlaces, Role } from "./plan.ts";
import { readConfigured } from "./resolve-request.ts";

export interface RenewOptions {
  /** Also those that are not due. */
  isForced: boolean;
  io: InstallIo;
}

export interface RenewOutcome {
  role: Role;
  what: "renewed" | "not due" | "not ours" | "due, but nobody renews it";
  name: string;
  /** Of the certificate that is in use now. */
  notAfterMs: number;
}

/** @throws AgentError for a certificate that is due and could not be renewed; the present one stays */
export async function renewInstalled(options: RenewOptions): Promise<RenewOutcome[]> {
  const manifest = readManifest("");
  const roles = installedRoles(manifest);
  if (roles.length === 0) {
    const hint = "agent install --role=server, or --role=client";
    throw new AgentError("E_CONFIG", "Cannot renew certificates: nothing is installed here", {
      hint,
    });
  }
  const outcomes: RenewOutcome[] = [];
  for (const role of roles) {
    const outcome = await renewRole(role, manifest, options);
    if (outcome !== undefined) outcomes.push(outcome);
  }
  return outcomes;
}

/** Undefined: the role has no certificate. */
async function renewRole(
  role: Role,
  manifest: Manifest,
  options: RenewOptions,
): Promise<RenewOutcome | undefined> {
  const { io, isForced } = options;
  const saved = manifest.roles[role]?.options as SavedOptions;
  const { places, isLocalAuthority } = saved;
  if (places === undefined) return undefined;
  const facts = factsOf(places);
  const outcome = (what: RenewOutcome["what"], { name, notAfterMs } = facts): RenewOutcome => ({
    role,
    what,
    name,
    notAfterMs,
  });
  if (!isLocalAuthority && places.key !== ownPlaces(role).key) return outcome("not ours");
  if (!isForced && dueMs(facts) > io.nowMs) return outcome("not due");
  const isRenewed = isLocalAuthority
    ? await renewHere(facts.name, role, manifest, io)
    : role === "client" && (await renewThere(saved, places, io));
  return isRenewed ? outcome("renewed", factsOf(places)) : outcome("due, but nobody renews it");
}

function factsOf({ certificate }: CertificatePlaces): CertificateFacts {
  return readCertificate(readFileSync(certificate, "latin1"), certificate).facts;
}

/** The authority is on this machine. The socket keeps connections waiting while the service restarts. */
async function renewHere(
  name: string,
  role: Role,
  manifest: Manifest,
  io: InstallIo,
): Promise<true> {
  {
    using authority = await Authority.open({
      directory: DEFAULT_DIRECTORY,
      nowMs: io.nowMs,
      ...io.authority,
    });
    await renewCertificates(authority, {
      hosts: [name],
      expiringMs: undefined,
      days: undefined,
      newKeys: false,
    });
  }
  const { manager } = openHost("");
  for (const unit of manifest.roles[role]?.units ?? []) {
    if (!unit.name.endsWith(".service")) continue;
    const isUser = unit.dependsOn.some((path) => path.startsWith(`${DEFAULT_DIRECTORY}/`));
    const state = await manager?.state(unit.name);
    if (isUser && state?.active === "active") await manager?.restart(unit.name);
  }
  return true;
}

/** The first receiver that does so. @throws AgentError of the last one when all fail */
async function renewThere(
  saved: SavedOptions,
  places: CertificatePlaces,
  io: InstallIo,
): Promise<boolean> {
  const { renewAtReceiver } = await import("./enrollment-client.ts");
  const { key: keyFile, certificate: certificateFile, authority: trust } = places;
  const [key, certificate, authority] = [keyFile, certificateFile, trust].map((file) =>
    readFileSync(file, "latin1"),
  ) as [string, string, string];
  const servers = saved.servers.length > 0 ? saved.servers : readConfigured("client", "").urls;
  let failure: unknown;
  for (const server of servers.filter((url) => /^https:/i.test(url))) {
    try {
      const { environment } = io;
      const files = { keyFile, certificateFile, trust };
      const host = await renewAtReceiver({
        server,
        files,
        key,
        certificate,
        authority,
        environment,
      });
      if (host === "off") continue;
      await install(requestOf(saved), io, { kind: "renewed", host: { ...host, key } });
      return true;
    } catch (error) {
      failure = error;
    }
  }
  if (failure !== undefined) throw failure;
  return false;
}

/** As it is installed. */
function requestOf(saved: SavedOptions): InstallRequest {
  return {
    role: "client",
    root: "",
    daemon: saved.daemon,
    prefix: saved.prefix,
    port: undefined,
    enroll: undefined,
    servers: saved.servers,
    targets: saved.targets,
    namespaces: saved.namespaces,
    initializesAuthority: false,
    name: undefined,
    names: undefined,
    bundle: undefined,
    token: undefined,
    files: undefined,
    isForced: false,
    isDryRun: false,
    starts: true,
    checks: false,
  };
}
