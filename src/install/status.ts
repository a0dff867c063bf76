/** `agent install --status`: what is installed, and how it is. Gathered as plain data, which --json shows as it is. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { type CertificateFacts, readCertificate } from "../certs/certificate.ts";
import { formatAlternativeName } from "../certs/names.ts";
import { AgentError, errnoOf, reasonOf } from "../errors.ts";
import type { RunCommand } from "../platform/run.ts";
import { isSameContent, look } from "./disk-state.ts";
import type { SavedOptions } from "./install-request.ts";
import { installedRoles, type Manifest } from "./manifest.ts";
import type { Daemon, Role } from "./plan.ts";
import { readConfigured } from "./resolve-request.ts";
import { programPath, RECEIVED_DIRECTORY } from "./roles/options.ts";
import { resolveIn } from "./rooted-path.ts";
import { lastLines, type ServiceManager, showUnit } from "./service-manager.ts";
import { findOtherProgram } from "./unit-program.ts";

export interface StatusOptions {
  /** See HostFacts. */
  root: string;
  manifest: Manifest;
  /** Undefined: below --root=, or without systemd. */
  manager: ServiceManager | undefined;
  run: RunCommand;
  nowMs: number;
}

/** null = there is none, or it is not known. Times are ISO 8601. */
export interface InstallStatus {
  program: ProgramStatus | null;
  roles: RoleStatus[];
  /** Files that are not as they were installed. */
  changed: { path: string; what: "edited" | "gone" }[];
}

export interface ProgramStatus {
  path: string;
  /** As it says itself. */
  version: string | null;
  /** As it was installed. */
  sha256: string;
}

export interface RoleStatus {
  role: Role;
  daemon: Daemon;
  units: UnitStatus[];
  certificate: CertificateStatus | null;
  authority: CertificateStatus | null;
  /** Of a client: where it sends to. */
  urls: string[];
  /** Of a server. */
  port: number | null;
  enrollment: boolean | null;
  journals: JournalsStatus | null;
}

export interface UnitStatus {
  name: string;
  active: string | null;
  /** As systemctl shows it. */
  since: string | null;
  problem: string | null;
  /** Of its journal, of priority "err" or worse. */
  lastError: string | null;
}

export interface CertificateStatus {
  file: string;
  name: string;
  /** "DNS:logs.example.net", "IP:192.0.2.10" */
  names: string[];
  expires: string | null;
  daysLeft: number | null;
  /** Two thirds of its life are over: it is time to renew it. */
  isDue: boolean;
  /** Why it cannot be read. */
  problem: string | null;
}

export interface JournalsStatus {
  directory: string;
  files: number;
  bytes: number;
}

const DAY_MS = 24 * 60 * 60 * 1000;

export async function gatherStatus(options: StatusOptions): Promise<InstallStatus> {
  const { manifest } = options;
  const roles: RoleStatus[] = [];
  for (const role of installedRoles(manifest)) roles.push(await roleStatus(role, options));
  return { program: await programStatus(options), roles, changed: changedItems(options) };
}

async function programStatus({
  root,
  manifest,
  run,
}: StatusOptions): Promise<ProgramStatus | null> {
  for (const role of installedRoles(manifest)) {
    const path = programPath(savedOptions(manifest, role).prefix);
    const written = manifest.items[path]?.written;
    if (written?.kind !== "file") continue;
    // What is in an image may be for another machine.
    const said = root === "" ? await run([path, "--version"]) : undefined;
    const version = said?.status === 0 ? said.stdout.trim() : null;
    return { path, version, sha256: written.sha256 };
  }
  return null;
}

async function roleStatus(role: Role, options: StatusOptions): Promise<RoleStatus> {
  const { root, manifest, nowMs } = options;
  const saved = savedOptions(manifest, role);
  const isServer = role === "server";
  const units: UnitStatus[] = [];
  for (const { name } of manifest.roles[role]?.units ?? []) {
    units.push(await unitStatus(name, saved, options));
  }
  const certificate = (file: string | undefined): CertificateStatus | null =>
    file === undefined ? null : certificateStatus(root, file, nowMs);
  const configured = isServer || saved.servers.length > 0 ? [] : readConfigured(role, root).urls;
  return {
    role,
    daemon: saved.daemon,
    units,
    certificate: certificate(saved.places?.certificate),
    authority: certificate(saved.places?.authority),
    urls: isServer ? [] : [...saved.servers, ...configured],
    port: isServer ? saved.port : null,
    enrollment: isServer ? saved.enroll : null,
    journals: isServer ? journalsStatus(root, RECEIVED_DIRECTORY) : null,
  };
}

/** What the installation of this role wrote there. */
function savedOptions(manifest: Manifest, role: Role): SavedOptions {
  return manifest.roles[role]?.options as SavedOptions;
}

async function unitStatus(
  name: string,
  { daemon, prefix }: SavedOptions,
  { manager, run }: StatusOptions,
): Promise<UnitStatus> {
  const unknown: UnitStatus = { name, active: null, since: null, problem: null, lastError: null };
  if (manager === undefined) return unknown;
  try {
    const { active, problem } = await manager.state(name);
    const other =
      daemon === "agent" ? await findOtherProgram(run, name, programPath(prefix)) : undefined;
    const values = await showUnit(run, name, ["ActiveEnterTimestamp", "InactiveEnterTimestamp"]);
    const event = active === "active" ? "ActiveEnterTimestamp" : "InactiveEnterTimestamp";
    const [lastError = null] = await lastLines(run, name, 1, "err");
    return {
      name,
      active,
      since: values.get(event) || null,
      problem: problem ?? other?.problem ?? null,
      lastError,
    };
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    return { ...unknown, problem: error.message };
  }
}

function certificateStatus(root: string, file: string, nowMs: number): CertificateStatus {
  try {
    const text = readFileSync(resolveIn(root, file, true), "latin1");
    return { file, ...describeFacts(readCertificate(text, file).facts, nowMs), problem: null };
  } catch (error) {
    const problem = errnoOf(error) === "ENOENT" ? "no such file" : reasonOf(error);
    return { file, name: "", names: [], expires: null, daysLeft: null, isDue: false, problem };
  }
}

function describeFacts(
  { name, names, notBeforeMs, notAfterMs }: CertificateFacts,
  nowMs: number,
): Omit<CertificateStatus, "file" | "problem"> {
  const dueMs = notBeforeMs + ((notAfterMs - notBeforeMs) * 2) / 3;
  return {
    name,
    names: names.map(formatAlternativeName),
    expires: new Date(notAfterMs).toISOString(),
    daysLeft: Math.floor((notAfterMs - nowMs) / DAY_MS),
    isDue: nowMs >= dueMs,
  };
}

function journalsStatus(root: string, directory: string): JournalsStatus {
  const real = resolveIn(root, directory, true);
  let files = 0;
  let bytes = 0;
  for (const name of namesOf(real)) {
    if (!/\.journal~?$/.test(name)) continue;
    // Rotation may be quicker.
    const stat = statSync(`${real}/${name}`, { throwIfNoEntry: false });
    if (stat === undefined) continue;
    files++;
    bytes += stat.blocks * 512;
  }
  return { directory, files, bytes };
}

function namesOf(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function changedItems({ root, manifest }: StatusOptions): InstallStatus["changed"] {
  return Object.entries(manifest.items).flatMap(([path, { written }]): InstallStatus["changed"] => {
    const found = look(root, path);
    if (found.kind === "nothing") return [{ path, what: "gone" }];
    return isSameContent(found, written) ? [] : [{ path, what: "edited" }];
  });
}

/** For people: a line for each thing, those of a role below its name. */
export function formatStatus({ program, roles, changed }: InstallStatus): string {
  if (roles.length === 0) return "Nothing is installed\n";
  const lines: string[] = [];
  if (program !== null) {
    lines.push(`program  ${program.path}  ${program.version ?? "version not known"}`);
    lines.push(`         sha256 ${program.sha256}`);
  }
  for (const role of roles) lines.push(...formatRole(role));
  for (const { path, what } of changed) {
    lines.push(
      what === "gone" ? `gone since it was installed: ${path}` : `edited by hand: ${path}`,
    );
  }
  return `${lines.join("\n")}\n`;
}

function formatRole(status: RoleStatus): string[] {
  const { role, daemon, units, certificate, authority, urls, port, enrollment, journals } = status;
  const daemonText = daemon === "systemd" ? " (systemd's own program)" : "";
  return [
    `${role}${daemonText}`,
    ...units.flatMap(formatUnit),
    ...(certificate === null ? [] : [`  certificate  ${formatCertificate(certificate)}`]),
    ...(authority === null ? [] : [`  authority    ${formatCertificate(authority)}`]),
    ...urls.map((url) => `  sends to     ${url}`),
    ...(port === null ? [] : [`  port         ${port}`]),
    ...(enrollment === null ? [] : [`  enrolment    ${enrollment ? "on" : "off"}`]),
    ...(journals === null ? [] : [`  journals     ${formatJournals(journals)}`]),
  ];
}

function formatUnit({ name, active, since, problem, lastError }: UnitStatus): string[] {
  const state = active ?? "not running here";
  const words = [`  ${name}  ${state}`, ...(since === null ? [] : [`since ${since}`])];
  return [
    problem === null ? words.join(" ") : `${words.join(" ")}: ${problem}`,
    ...(lastError === null ? [] : [`    last error: ${lastError}`]),
  ];
}

function formatCertificate(status: CertificateStatus): string {
  const { file, name, names, expires, daysLeft, isDue, problem } = status;
  if (problem !== null || expires === null || daysLeft === null) return `${file}: ${problem}`;
  const end =
    daysLeft < 0
      ? `expired ${expires.slice(0, 10)}`
      : `expires ${expires.slice(0, 10)}, in ${daysLeft} days`;
  const due = isDue && daysLeft >= 0 ? ", due for renewal" : "";
  return `${name}${names.length === 0 ? "" : ` (${names.join(", ")})`}, ${end}${due}  ${file}`;
}

function formatJournals({ directory, files, bytes }: JournalsStatus): string {
  return `${directory}  ${files} files, ${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}
