/** `agent install`: from a request to a machine that is set up, and seen to work. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { AuthorityOptions } from "../certs/authority.ts";
import { DEFAULT_DIRECTORY } from "../certs/directory.ts";
import { AgentError } from "../errors.ts";
import { type RunCommand, runCommand } from "../platform/run.ts";
import type { ProxyEnvironment } from "../upload/http/proxy.ts";
import { applyPlan, type Performed } from "./apply.ts";
import {
  type CertificateSource,
  ownPlaces,
  type PreparedCertificates,
  prepareCertificates,
} from "./certificate-source.ts";
import type { CheckResult } from "./check.ts";
import type { InstallHost } from "./host.ts";
import { type HostFacts, readHostFacts } from "./host-facts.ts";
import type { InstallRequest, SavedOptions } from "./install-request.ts";
import { readManifest } from "./manifest.ts";
import type { Plan, PlanItem } from "./plan.ts";
import { preflight, relabelCommand } from "./preflight.ts";
import { lockInstallation } from "./recover.ts";
import { readConfigured, resolveRequest } from "./resolve-request.ts";
import { clientPlan } from "./roles/client.ts";
import { AUTHORITY_DIRECTORY } from "./roles/options.ts";
import { serverPlan } from "./roles/server.ts";
import { selfCheck } from "./self-check.ts";
import { systemctlManager } from "./service-manager.ts";
import { describeStep } from "./steps.ts";

export interface InstallIo {
  /** The program that is installed: this one. */
  binary: string;
  nowMs: number;
  environment: ProxyEnvironment;
  authority: Pick<AuthorityOptions, "passphrase" | "report">;
}

export interface Installed {
  options: SavedOptions;
  /** The name in the certificate, where there is one. */
  name: string | undefined;
  /** What was done, or would be, a line each; with --dry-run, files with what is in them. */
  lines: string[];
  isChanged: boolean;
  warnings: string[];
  checks: CheckResult[];
}

/**
 * @param source instead of what the request says about certificates: new ones, in the place of the present ones
 * @throws AgentError: then everything is as it was
 */
export async function install(
  request: InstallRequest,
  io: InstallIo,
  source?: CertificateSource,
): Promise<Installed> {
  const host = openHost(request.root);
  const facts = await readTargetFacts(request.root);
  // Without the right to write, the lock says less than the preflight does. Renewal runs in a sandbox that lets it write no
  // programs, and writes none.
  if (source?.kind !== "renewed") await requireFit(request, facts, undefined, io);
  return await withLock(request.root, async () => {
    const manifest = readManifest(request.root);
    const saved = manifest.roles[request.role]?.options as SavedOptions | undefined;
    const resolved = resolveRequest(request, saved, facts, source);
    return await carryOut({ request, io, host, facts }, resolved.options, resolved.source);
  });
}

interface Context {
  request: InstallRequest;
  io: InstallIo;
  host: InstallHost;
  facts: HostFacts;
}

async function carryOut(
  context: Context,
  wanted: SavedOptions,
  source: CertificateSource,
): Promise<Installed> {
  const { request, io, host, facts } = context;
  const { role, root, isDryRun } = request;
  const certificates = await prepareCertificates(source, {
    role,
    root,
    isDryRun,
    nowMs: io.nowMs,
    environment: io.environment,
    authority: io.authority,
  });
  const options = settle(wanted, certificates, facts, request);
  const bare = planOf(options, certificates, context);
  const fit = { options, plan: bare };
  const { warnings, isSelinuxEnforcing } =
    source.kind === "renewed"
      ? { warnings: [], isSelinuxEnforcing: false }
      : await requireFit(request, facts, fit, io);
  const plan = isSelinuxEnforcing ? withLabels(bare) : bare;
  const result = await applyPlan(plan, host, {
    options,
    force: request.isForced,
    dryRun: isDryRun,
    start: request.starts,
    ...(source.kind === "authority" ? { perform: () => performCertificates(certificates) } : {}),
  });
  const done = isDryRun ? certificates.steps : [...result.performed];
  const lines = result.steps.flatMap((step) => describeStep(step, { root, withContent: isDryRun }));
  const { manager } = host;
  const { environment } = io;
  const checks =
    request.checks && !isDryRun && manager !== undefined
      ? await selfCheck({ role, options, manager, manifest: readManifest(root), environment })
      : [];
  return {
    options,
    name: certificates.name,
    lines: [...done, ...lines],
    isChanged: done.length + result.steps.length > 0,
    warnings: [...warnings, ...result.warnings],
    checks,
  };
}

async function performCertificates({ perform, places }: PreparedCertificates): Promise<Performed> {
  const done = await perform();
  const changed = done.length === 0 || places === undefined ? [] : [places.key, places.certificate];
  return { done, changed };
}

/** What is known when the certificates are. @throws AgentError E_USAGE */
function settle(
  wanted: SavedOptions,
  { places, isLocalAuthority, name, server }: PreparedCertificates,
  facts: HostFacts,
  { role }: InstallRequest,
): SavedOptions {
  const { name: wantedName, places: _former, ...rest } = wanted;
  const servers = rest.servers.length > 0 || server === undefined ? rest.servers : [server];
  if (
    role === "client" &&
    servers.length === 0 &&
    readConfigured(role, facts.root).urls.length === 0
  ) {
    const hint =
      "--server=https://… says where; a bundle of agent certs bundle --server= does, too";
    throw new AgentError(
      "E_USAGE",
      "Cannot install the client: it is not said where journals are sent",
      { hint },
    );
  }
  if (rest.enroll && !isLocalAuthority) {
    const hint = "Install it with --init-ca, or enrol where the authority is";
    throw new AgentError(
      "E_USAGE",
      'Cannot use "--enroll": there is no authority on this machine',
      { hint },
    );
  }
  const settledName = name ?? wantedName;
  return {
    ...rest,
    servers,
    isLocalAuthority,
    ...(settledName === undefined ? {} : { name: settledName }),
    ...(places === undefined ? {} : { places }),
  };
}

function planOf(
  options: SavedOptions,
  { places, items, isLocalAuthority }: PreparedCertificates,
  { request, io, facts }: Context,
): Plan {
  const { role, root } = request;
  const common = {
    daemon: options.daemon,
    prefix: options.prefix,
    binary: io.binary,
    renews: places !== undefined && (isLocalAuthority || places.key === ownPlaces(role).key),
  };
  if (role === "client") {
    const { servers, namespaces, targets } = options;
    const plan = clientPlan(
      {
        ...common,
        urls: servers,
        namespaces,
        ...(targets === undefined ? {} : { targets }),
        ...(places === undefined ? {} : { certificates: places }),
      },
      facts,
    );
    return withItems(plan, items);
  }
  if (places === undefined) throw new RangeError("A server has a certificate");
  const plan = serverPlan(
    {
      ...common,
      port: options.port,
      certificates: places,
      isLocalAuthority,
      authorityDirectory: AUTHORITY_DIRECTORY,
      enroll: options.enroll,
    },
    facts,
  );
  // One that is there already is somebody's, with all that was issued: nothing of it is taken back.
  const makesAuthority = isLocalAuthority && !existsSync(join(root, DEFAULT_DIRECTORY));
  const byproducts = makesAuthority ? [...plan.byproducts, DEFAULT_DIRECTORY] : plan.byproducts;
  return withItems({ ...plan, byproducts }, items);
}

/** Certificates come first: units that are started need them. */
function withItems(plan: Plan, items: readonly PlanItem[]): Plan {
  return { ...plan, items: [...items, ...plan.items] };
}

/** SELinux: files have the labels of their places only when they are told so. */
function withLabels(plan: Plan): Plan {
  return {
    ...plan,
    commands: [...plan.commands, relabelCommand(plan.items.map(({ path }) => path))],
  };
}

/** @throws AgentError the first of what stands in the way */
async function requireFit(
  request: InstallRequest,
  facts: HostFacts,
  known: { options: SavedOptions; plan: Plan } | undefined,
  io: InstallIo,
): Promise<{ warnings: string[]; isSelinuxEnforcing: boolean }> {
  const { problems, warnings, isSelinuxEnforcing } = await preflight({
    facts,
    prefix: known?.options.prefix ?? request.prefix ?? "/usr/local",
    binary: io.binary,
    port:
      request.role === "server" && request.starts && known !== undefined
        ? known.options.port
        : undefined,
    unitNames: known?.plan.units.map(({ name }) => name) ?? [],
  });
  const [problem, ...others] = problems;
  if (problem === undefined) return { warnings, isSelinuxEnforcing };
  for (const other of others) io.authority.report(other.message);
  throw problem;
}

async function withLock<T>(root: string, run: () => Promise<T>): Promise<T> {
  const lock = lockInstallation(root);
  try {
    return await run();
  } finally {
    lock.release();
  }
}

export function openHost(root: string): InstallHost {
  const manager = root === "" ? systemctlManager(runCommand) : undefined;
  return { root, manager, run: runCommand };
}

/** What others brought: what the manifest names is ours. */
export async function readTargetFacts(
  root: string,
  run: RunCommand = runCommand,
): Promise<HostFacts> {
  const { items } = readManifest(root);
  return await readHostFacts(root, (path) => items[path] !== undefined, run);
}
