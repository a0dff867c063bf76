/** From what was asked for, what was asked for the last time, and what the configuration says: what is to be. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { AUTHORITY_FILES, DEFAULT_DIRECTORY } from "../certs/directory.ts";
import { parseToken } from "../certs/token.ts";
import { AgentError } from "../errors.ts";
import { loadConfig } from "../platform/config-files.ts";
import type { CertificateSource } from "./certificate-source.ts";
import type { HostFacts } from "./host-facts.ts";
import {
  DEFAULT_PORT,
  DEFAULT_PREFIX,
  type InstallRequest,
  type SavedOptions,
} from "./install-request.ts";
import type { CertificatePlaces, Role } from "./plan.ts";

export interface Resolved {
  options: SavedOptions;
  source: CertificateSource;
}

/** Ours; what is in it is not what the operator configured. */
const OWN_DROP_IN = "50-agent.conf";

/** @throws AgentError E_USAGE for what is missing or contradicts itself */
export function resolveRequest(
  request: InstallRequest,
  saved: SavedOptions | undefined,
  facts: HostFacts,
  source: CertificateSource | undefined,
): Resolved {
  const { role } = request;
  const configured = readConfigured(role, facts.root);
  const options: SavedOptions = {
    daemon: request.daemon ?? saved?.daemon ?? "agent",
    prefix: request.prefix ?? saved?.prefix ?? DEFAULT_PREFIX,
    port: request.port ?? saved?.port ?? DEFAULT_PORT,
    enroll: request.enroll ?? saved?.enroll ?? false,
    servers: request.servers ?? saved?.servers ?? [],
    namespaces: request.namespaces ?? saved?.namespaces ?? [],
    names: request.names ?? saved?.names ?? [],
    isLocalAuthority: saved?.isLocalAuthority ?? false,
    ...defined({
      targets: request.targets ?? saved?.targets,
      name: request.name ?? saved?.name,
      places: saved?.places,
    }),
  };
  return { options, source: source ?? chooseSource(request, options, configured, facts) };
}

/** What an operator configured before us, in files that stay as they are. */
export interface Configured {
  urls: string[];
  /** Undefined unless all three are there. */
  places: CertificatePlaces | undefined;
}

export function readConfigured(role: Role, root: string): Configured {
  const name = role === "server" ? "journal-remote" : "journal-upload";
  const { assignments } = loadConfig({ name, root: root || undefined });
  const valuesOf = (key: string): string[] => {
    const values: string[] = [];
    for (const each of assignments) {
      if (each.key !== key || each.file.endsWith(`/${OWN_DROP_IN}`)) continue;
      if (each.value === "") values.length = 0;
      else values.push(each.value);
    }
    return values;
  };
  const last = (key: string): string | undefined => valuesOf(key).at(-1);
  const [key, certificate, authority] = [
    last("ServerKeyFile"),
    last("ServerCertificateFile"),
    last("TrustedCertificateFile"),
  ];
  const isComplete = key !== undefined && certificate !== undefined && authority !== undefined;
  const lists = last("CRLFile");
  return {
    urls: valuesOf("URL"),
    places: isComplete && authority !== "all" ? { key, certificate, authority, lists } : undefined,
  };
}

function chooseSource(
  request: InstallRequest,
  options: SavedOptions,
  configured: Configured,
  facts: HostFacts,
): CertificateSource {
  const { role, bundle, token, files, initializesAuthority } = request;
  const given = [
    bundle !== undefined && "--bundle=",
    token !== undefined && "--token=",
    files !== undefined && "--key=",
    initializesAuthority && "--init-ca",
  ].filter((each) => each !== false);
  if (given.length > 1) {
    const message = `Cannot use "${given[1]}": "${given[0]}" is given, too`;
    throw new AgentError("E_USAGE", message, { hint: "Each is a way to get certificates" });
  }
  if (bundle !== undefined) return { kind: "bundle", file: bundle };
  if (files !== undefined) return { kind: "files", places: files };
  if (token !== undefined) {
    const server = options.servers.find((url) => /^https:/i.test(url));
    if (server !== undefined) return { kind: "token", token: parseToken(token), server };
    throw new AgentError("E_USAGE", 'Cannot use "--token=": need --server=https://… beside it');
  }
  const name = options.name ?? facts.hostName;
  const { names } = options;
  if (initializesAuthority) return { kind: "authority", makes: true, name, names };
  const isChanged = request.name !== undefined || request.names !== undefined;
  if (options.isLocalAuthority && isChanged) {
    return { kind: "authority", makes: false, name, names };
  }
  if (options.places !== undefined) return { kind: "installed", places: options.places };
  if (configured.places !== undefined) return { kind: "files", places: configured.places };
  return sourceOfLast(role, name, options, configured, facts);
}

/** Nothing was said about certificates, now or before. */
function sourceOfLast(
  role: Role,
  name: string,
  { servers, names }: SavedOptions,
  { urls }: Configured,
  { root }: HostFacts,
): CertificateSource {
  const all = [...servers, ...urls];
  const isPlain = role === "client" && all.length > 0 && all.every((url) => /^http:/i.test(url));
  if (isPlain) return { kind: "none" };
  if (hasUsableAuthority(root)) return { kind: "authority", makes: false, name, names };
  const hint =
    role === "server"
      ? "--init-ca makes an authority and the certificate; or give --bundle=, or --key=, --cert= and --trust="
      : "Give --bundle=FILE (made on the server by: agent certs bundle), or --server=URL and --token=, or --key=, --cert= and --trust=";
  const message = `Cannot install the ${role}: no certificate is given, and none is configured`;
  throw new AgentError("E_USAGE", message, { hint });
}

function hasUsableAuthority(root: string): boolean {
  const { certificate, key } = AUTHORITY_FILES.current;
  const directory = join(root, DEFAULT_DIRECTORY);
  return existsSync(join(directory, certificate)) && existsSync(join(directory, key));
}

function defined<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
