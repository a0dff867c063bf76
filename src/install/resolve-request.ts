/** From what was asked for, what was asked for the last time, and what the configuration says: what is to be. */
import { existsSync } from "node:fs";
import { parseHostName } from "../certs/names.ts";
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
import { hasAuthority } from "./local-authority.ts";
import type { Manifest } from "./manifest.ts";
import type { CertificatePlaces, Role } from "./plan.ts";
import { resolveIn } from "./rooted-path.ts";

export interface Resolved {
  options: SavedOptions;
  source: CertificateSource;
}

/** Ours; what is in it is not what the operator configured. */
const OWN_DROP_IN = "50-agent.conf";

/** @throws AgentError E_USAGE for what is missing or contradicts itself */
export function resolveRequest(
  request: InstallRequest,
  manifest: Pick<Manifest, "roles">,
  facts: HostFacts,
): Resolved {
  const { role } = request;
  const saved = manifest.roles[role]?.options as SavedOptions | undefined;
  const options: SavedOptions = {
    daemon: request.daemon ?? saved?.daemon ?? "agent",
    prefix: choosePrefix(request, manifest),
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
      tokenHash: saved?.tokenHash,
    }),
  };
  const source = chooseSource(request, options, facts);
  if (request.names !== undefined && source.kind !== "authority") {
    const hint = "The names of other certificates are what they are; --init-ca makes an authority";
    throw new AgentError("E_USAGE", 'Cannot use "--san=": the certificate is not made here', {
      hint,
    });
  }
  return { options, source };
}

/** Both roles run the same program, and its upgrade is theirs. @throws AgentError E_USAGE */
export function choosePrefix(
  { role, prefix }: InstallRequest,
  { roles }: Pick<Manifest, "roles">,
): string {
  const prefixOf = (each: Role): string | undefined =>
    (roles[each]?.options as SavedOptions | undefined)?.prefix;
  const other = role === "server" ? "client" : "server";
  const present = prefixOf(other);
  if (prefix === undefined || present === undefined || prefix === present) {
    return prefix ?? present ?? prefixOf(role) ?? DEFAULT_PREFIX;
  }
  const message = `Cannot install into "${prefix}": the ${other} runs the program in "${present}", need the same`;
  const hint = `Leave --prefix= out, or first: agent uninstall --role=${other}`;
  throw new AgentError("E_USAGE", message, { hint });
}

/** What an operator configured before us, in files that stay as they are. */
export interface Configured {
  urls: string[];
  /** Undefined unless all three are there. */
  places: CertificatePlaces | undefined;
  /** It is said that whoever is at the other end is not to be checked. */
  trustsAll: boolean;
}

/** Where systemd's programs look if nothing is said. */
const STOCK_PLACES: Readonly<Record<Role, Omit<CertificatePlaces, "lists">>> = {
  server: stockPlaces("journal-remote"),
  client: stockPlaces("journal-upload"),
};

function stockPlaces(name: string): Omit<CertificatePlaces, "lists"> {
  return {
    key: `/etc/ssl/private/${name}.pem`,
    certificate: `/etc/ssl/certs/${name}.pem`,
    authority: "/etc/ssl/ca/trusted.pem",
  };
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
  const isThere = (path: string): boolean => existsSync(resolveIn(root, path, true));
  const last = (key: string, stock?: string): string | undefined =>
    valuesOf(key).at(-1) ?? (stock !== undefined && isThere(stock) ? stock : undefined);
  const stock = STOCK_PLACES[role];
  const key = last("ServerKeyFile", stock.key);
  const certificate = last("ServerCertificateFile", stock.certificate);
  const authority = last("TrustedCertificateFile", stock.authority);
  const places =
    isPath(key) && isPath(certificate) && isPath(authority)
      ? { key, certificate, authority, lists: last("CRLFile") }
      : undefined;
  return { urls: valuesOf("URL"), places, trustsAll: authority === "all" || authority === "-" };
}

/** "-" turns it off. */
function isPath(value: string | undefined): value is string {
  return value?.startsWith("/") === true;
}

function chooseSource(
  request: InstallRequest,
  options: SavedOptions,
  facts: HostFacts,
): CertificateSource {
  const { bundle, token, files, initializesAuthority } = request;
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
    const servers = options.servers.filter((url) => /^https:/i.test(url));
    if (servers.length > 0) {
      return { kind: "token", text: token, servers, former: options.tokenHash };
    }
    throw new AgentError("E_USAGE", 'Cannot use "--token=": need --server=https://… beside it');
  }
  const { places, tokenHash, isLocalAuthority } = options;
  if (initializesAuthority || isLocalAuthority) {
    return authoritySource(request, options, facts);
  }
  if (places !== undefined) return { kind: "installed", places, tokenHash };
  return sourceOfConfigured(request, options, facts);
}

function authoritySource(
  request: InstallRequest,
  { name, names }: SavedOptions,
  { hostName }: HostFacts,
): CertificateSource {
  return {
    kind: "authority",
    makes: request.initializesAuthority,
    name: parseHostName(name ?? hostName),
    names,
    isExact: request.names !== undefined,
  };
}

/** Nothing was said about certificates, now or before. */
function sourceOfConfigured(
  request: InstallRequest,
  options: SavedOptions,
  facts: HostFacts,
): CertificateSource {
  const { role } = request;
  const { urls, places, trustsAll } = readConfigured(role, facts.root);
  if (places !== undefined) return { kind: "files", places };
  const all = options.servers.length > 0 ? options.servers : urls;
  const isPlain = all.length > 0 && all.every((url) => /^http:/i.test(url));
  if (role === "client" && (isPlain || trustsAll)) return { kind: "none" };
  if (hasAuthority(facts.root)) return authoritySource(request, options, facts);
  const hint =
    role === "server"
      ? "--init-ca makes an authority and the certificate; or give --bundle=, or --key=, --cert= and --trust="
      : "Give --bundle=FILE (made on the server by: agent certs bundle), or --server=URL and --token=, or --key=, --cert= and --trust=";
  const problem = trustsAll
    ? "it is configured to take journals from whoever connects, need the certificate of an authority"
    : "no certificate is given, and none is configured";
  throw new AgentError("E_USAGE", `Cannot install the ${role}: ${problem}`, { hint });
}

function defined<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
