/** `agent install`: from a request to a machine that is set up, and seen to work. */
import type { AuthorityOptions } from "../certs/authority.ts";
import { AgentError } from "../errors.ts";
import { runCommand } from "../platform/run.ts";
import type { ProxyEnvironment } from "../upload/http/proxy.ts";
import { applyPlan, type Performed } from "./apply.ts";
import {
  type CertificateSource,
  type PreparedCertificates,
  prepareCertificates,
} from "./certificate-source.ts";
import { restartUsers } from "./certificate-users.ts";
import type { CheckResult } from "./check.ts";
import type { InstallHost } from "./host.ts";
import { isOwn } from "./host-certificate.ts";
import { type HostFacts, readHostFacts } from "./host-facts.ts";
import type { InstallRequest, SavedOptions } from "./install-request.ts";
import { hasAuthority } from "./local-authority.ts";
import { type Manifest, readManifest } from "./manifest.ts";
import type { Plan, PlanItem } from "./plan.ts";
import { type Preflight, type PreflightOptions, preflight, relabelCommand } from "./preflight.ts";
import { lockInstallation, recoverRun } from "./recover.ts";
import { requireRoot } from "./require-root.ts";
import { choosePrefix, readConfigured, resolveRequest } from "./resolve-request.ts";
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

/** @throws AgentError: then everything is as it was */
export async function install(
  request: InstallRequest,
  io: InstallIo,
  host: InstallHost = openHost(request.root),
): Promise<Installed> {
  const { root, isDryRun } = request;
  requireRoot("install");
  const lock = lockInstallation(root);
  try {
    // Before anything is read or asked for: without a system there is nothing to say about its certificates.
    const prefix = choosePrefix(request, readManifest(root));
    const place = { prefix, port: undefined, unitNames: [] };
    await requireFit(await readTargetFacts(host), io, place);
    // What an interrupted run left is not what the machine is.
    const warnings = isDryRun ? [] : ((await recoverRun(host)) ?? []);
    const facts = await readTargetFacts(host);
    const manifest = readManifest(root);
    const { options, source } = resolveRequest(request, manifest, facts);
    const context: Context = { request, io, host, facts, manifest };
    // A token is good once: it is spent when nothing else stands in the way.
    if (source.kind === "token" && !isDryRun) await carryOut(asDryRun(context), options, source);
    const installed = await carryOut(context, options, source);
    return { ...installed, warnings: [...warnings, ...installed.warnings] };
  } finally {
    lock.release();
  }
}

interface Context {
  request: InstallRequest;
  io: InstallIo;
  host: InstallHost;
  facts: HostFacts;
  manifest: Manifest;
}

function asDryRun(context: Context): Context {
  return { ...context, request: { ...context.request, isDryRun: true } };
}

async function carryOut(
  context: Context,
  wanted: SavedOptions,
  source: CertificateSource,
): Promise<Installed> {
  const { request, io, host, facts } = context;
  const { role, root, isDryRun } = request;
  const { nowMs, environment, authority } = io;
  const { daemon } = wanted;
  const prepare = { role, daemon, root, isDryRun, nowMs, environment, authority };
  const certificates = await prepareCertificates(source, prepare);
  const options = settle(wanted, certificates, facts, request);
  const bare = planOf(options, certificates, context);
  const fit = await requireFit(facts, io, {
    prefix: options.prefix,
    port: role === "server" && request.starts ? options.port : undefined,
    unitNames: bare.units.map(({ name }) => name),
  });
  const plan = fit.isSelinuxEnforcing ? withLabels(bare) : bare;
  const { perform } = certificates;
  const isTokenSpent = source.kind === "token" && certificates.steps.length > 0 && !isDryRun;
  const result = await applyPlan(plan, host, {
    options,
    force: request.isForced,
    dryRun: isDryRun,
    start: request.starts,
    ...(perform === undefined ? {} : { perform: () => performed(perform, certificates, context) }),
  }).catch((error) => {
    throw isTokenSpent && error instanceof AgentError ? withTokenSpent(error) : error;
  });
  const done = perform === undefined || isDryRun ? certificates.steps : result.performed;
  const lines = result.steps.flatMap((step) => describeStep(step, { root, withContent: isDryRun }));
  return {
    options,
    name: certificates.name,
    lines: [...done, ...lines],
    isChanged: done.length + result.steps.length > 0,
    warnings: [...fit.warnings, ...result.warnings],
    checks: isDryRun ? [] : await tryOut(context, options),
  };
}

function withTokenSpent({ code, message, cause }: AgentError): AgentError {
  const hint = "On the authority: agent certs token NAME --force";
  const text = `${message}, but the token is used up, need a new one`;
  return new AgentError(code, text, { cause, hint });
}

async function performed(
  perform: () => Promise<string[]>,
  { places }: PreparedCertificates,
  { request, manifest, host }: Context,
): Promise<Performed> {
  const done = await perform();
  if (done.length === 0 || places === undefined) return { done, changed: [] };
  // The other role may have the same certificate, which is not in this one's plan.
  const { [request.role]: _this, ...others } = manifest.roles;
  const manager = request.starts ? host.manager : undefined;
  const restarted = await restartUsers(places, Object.values(others), manager);
  return {
    done: [...done, ...restarted.map((unit) => `restart ${unit}`)],
    changed: [places.key, places.certificate],
  };
}

/** It is installed then, whatever comes of it. */
async function tryOut(
  { request, io, host }: Context,
  options: SavedOptions,
): Promise<CheckResult[]> {
  const { role, root, checks } = request;
  const { manager } = host;
  if (!checks || manager === undefined) return [];
  const { environment } = io;
  try {
    return await selfCheck({
      role,
      options,
      manager,
      run: host.run,
      manifest: readManifest(root),
      environment,
    });
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    const { message: problem, hint } = error;
    return [{ what: "what is installed can be tried out", problem, hint }];
  }
}

/** What is known when the certificates are. @throws AgentError E_USAGE */
function settle(
  wanted: SavedOptions,
  { places, isLocalAuthority, name, server, tokenHash }: PreparedCertificates,
  facts: HostFacts,
  request: InstallRequest,
): SavedOptions {
  const { name: wantedName, places: _places, tokenHash: _tokenHash, ...rest } = wanted;
  // The server in a bundle is newer than the one of the last time.
  const isInBundle = request.servers === undefined && server !== undefined;
  const servers = isInBundle ? [server] : rest.servers;
  const isSender = request.role === "client";
  if (isSender && servers.length === 0 && readConfigured("client", facts.root).urls.length === 0) {
    const problem = "it is not said where journals are sent";
    const hint =
      "--server=https://… says where; a bundle of agent certs bundle --server= does, too";
    throw new AgentError("E_USAGE", `Cannot install the client: ${problem}`, { hint });
  }
  if (rest.enroll && !isLocalAuthority) {
    const hint = "Install it with --init-ca, or with --no-enroll, and enrol where the authority is";
    const message = "Cannot enrol clients: the authority is not on this machine";
    throw new AgentError("E_USAGE", message, { hint });
  }
  if (request.name !== undefined && name !== undefined && request.name !== name) {
    const message = `Cannot use "--name=${request.name}": the certificate is for "${name}"`;
    throw new AgentError("E_USAGE", message);
  }
  const settledName = name ?? wantedName;
  return {
    ...rest,
    servers,
    isLocalAuthority,
    ...(settledName === undefined ? {} : { name: settledName }),
    ...(places === undefined ? {} : { places }),
    ...(tokenHash === undefined ? {} : { tokenHash }),
  };
}

function planOf(
  options: SavedOptions,
  { places, items, isLocalAuthority }: PreparedCertificates,
  { request, io, facts, manifest }: Context,
): Plan {
  const { role, root } = request;
  const common = {
    daemon: options.daemon,
    prefix: options.prefix,
    binary: io.binary,
    renews: places !== undefined && (isLocalAuthority || isOwn(places, role)),
  };
  // One that others made is theirs, with all that it issued: nothing of it is taken back.
  const isOurs = !hasAuthority(root) || manifest.byproducts[AUTHORITY_DIRECTORY] !== undefined;
  const madeAuthority = isLocalAuthority && isOurs ? [AUTHORITY_DIRECTORY] : [];
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
    return withCertificates(plan, items, madeAuthority);
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
  return withCertificates(plan, items, madeAuthority);
}

/** Certificates come first: units that are started need them. */
function withCertificates(
  plan: Plan,
  items: readonly PlanItem[],
  authority: readonly string[],
): Plan {
  const byproducts = [...plan.byproducts, ...authority];
  return { ...plan, items: [...items, ...plan.items], byproducts };
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
  facts: HostFacts,
  { binary, authority }: InstallIo,
  wanted: Pick<PreflightOptions, "prefix" | "port" | "unitNames">,
): Promise<Preflight> {
  const fit = await preflight({ facts, binary, ...wanted });
  const [problem, ...others] = fit.problems;
  if (problem === undefined) return fit;
  for (const other of others) authority.report(other.message);
  throw problem;
}

export function openHost(root: string): InstallHost {
  const manager = root === "" ? systemctlManager(runCommand) : undefined;
  return { root, manager, run: runCommand };
}

/** What others brought: what the manifest names is ours, and so is what an interrupted run made. */
async function readTargetFacts({ root, run }: InstallHost): Promise<HostFacts> {
  const { items, run: interrupted } = readManifest(root);
  const isOurs = (path: string): boolean =>
    items[path] !== undefined || interrupted?.items[path]?.kind === "nothing";
  return await readHostFacts(root, isOurs, run);
}
