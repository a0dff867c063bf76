/** What stands in the way of an installation, found before anything is changed. */
import { accessSync, constants, readFileSync, readlinkSync, statfsSync, statSync } from "node:fs";
import { join } from "node:path";
import { AgentError, errnoOf, reasonOf } from "../errors.ts";
import { type RunCommand, runCommand } from "../platform/run.ts";
import { ownMachine, readMachine } from "./elf.ts";
import type { HostFacts } from "./host-facts.ts";
import { mountOf, nearestExisting } from "./mounts.ts";
import type { PlannedCommand } from "./plan.ts";
import { type PortOwner, portOwners } from "./port-owner.ts";
import { resolveIn } from "./rooted-path.ts";

export interface PreflightOptions {
  facts: HostFacts;
  /** "/usr/local": the binary goes to its bin/. */
  prefix: string;
  /** The file that is to be installed; that of this process is known to run. */
  binary: string;
  /** That a server is to listen on; undefined: none is started. */
  port: number | undefined;
  /** Of the plan. */
  unitNames: readonly string[];
  run?: RunCommand;
  /** For tests: where the kernel tells about SELinux, and what is installed. */
  selinuxDirectory?: string;
  findProgram?: (name: string) => string | null;
}

export interface Preflight {
  /** Each with a hint; empty = nothing stands in the way. */
  problems: AgentError[];
  warnings: string[];
  /** What is written then needs `relabelCommand()`. */
  isSelinuxEnforcing: boolean;
}

/** Older ones lack DynamicUser= with state, and more of what the units say. */
const SYSTEMD_VERSION_MIN = 239;
/** IANA's, which SELinux knows as journal_remote_port_t. */
const STANDARD_PORT = 19532;
/** Beside the binary: units, configuration, the manifest with its backups. */
const SMALL_FILES_SIZE = 4 * 1024 * 1024;
/** Where else an installation writes. */
const WRITTEN_DIRECTORIES = ["/etc/systemd", "/etc/ssl", "/var/lib"];
/** Whoever listens there is not in the way. */
const OUR_LISTENERS = ["systemd-journal-remote.socket", "systemd-journal-remote.service"];

/** Changes nothing. */
export async function preflight(options: PreflightOptions): Promise<Preflight> {
  const { facts, port, run = runCommand } = options;
  const { selinuxDirectory = "/sys/fs/selinux" } = options;
  const isSelinuxEnforcing =
    facts.root === "" && readFlag(join(selinuxDirectory, "enforce")) === "1";
  const problems = [
    ...systemdProblems(facts),
    ...maskProblems(facts, options.unitNames),
    ...placeProblems(options),
    ...labelProblems(isSelinuxEnforcing, options.findProgram ?? Bun.which),
    ...(await binaryProblems(options.binary, facts.root, run)),
    ...(port === undefined || facts.root !== "" ? [] : await portProblems(port, run)),
  ];
  const warnings = isSelinuxEnforcing ? portWarnings(port) : [];
  return { problems, warnings, isSelinuxEnforcing };
}

/** Gives what was written the labels that SELinux's policy has for these places. */
export function relabelCommand(paths: readonly string[]): PlannedCommand {
  return {
    argv: ["restorecon", "-R", "-F", ...paths],
    purpose: "SELinux labels of what was written",
    after: paths,
    changes: [],
  };
}

/**
 * That a file is a program of ours for this machine, or for the image, and runs.
 * @param name for the messages
 * @returns its version, as it says it; undefined where it cannot be tried: it is for an image of another machine
 * @throws AgentError E_CONFIG
 */
export async function tryBinary(
  path: string,
  root: string,
  run: RunCommand,
  name = path,
): Promise<string | undefined> {
  const machine = readMachine(path, name);
  const wanted = targetMachine(root);
  if (machine !== wanted) {
    const message = `Cannot install "${name}": wrong architecture: ${machine}, need ${wanted}`;
    throw new AgentError("E_CONFIG", message, { hint: `Take the build for ${wanted}` });
  }
  if (machine !== ownMachine()) return undefined;
  const { status, stdout, stderr } = await run([path, "--version"], { timeoutMs: TRIAL_LIMIT_MS });
  const [, version] = /^agent (\d+\.\d+\.\d+\S*)/.exec(stdout.trim()) ?? [];
  if (status === 0 && version !== undefined) return version;
  const said = (stderr.trim() || stdout.trim()).split("\n", 1)[0] ?? "";
  const problem =
    status === 0 ? `"--version" says "${said}"` : `it does not run (status ${status}: ${said})`;
  throw new AgentError("E_CONFIG", `Cannot install "${name}": ${problem}, need a working agent`, {
    hint:
      status === ILLEGAL_INSTRUCTION
        ? "This processor is older than the build is for: take the baseline build"
        : "Is it the executable for this system's C library?",
  });
}

const TRIAL_LIMIT_MS = 30_000;
/** 128 + SIGILL */
const ILLEGAL_INSTRUCTION = 132;

function systemdProblems({ root, systemdVersion, isSystemdRunning }: HostFacts): AgentError[] {
  const where = root === "" ? "this machine" : `"${root}"`;
  if (systemdVersion > 0 && systemdVersion < SYSTEMD_VERSION_MIN) {
    const problem = `${where} has systemd ${systemdVersion}, need ${SYSTEMD_VERSION_MIN} or later`;
    const hint = 'Without units of ours, "agent serve" and "agent upload" run all the same';
    return [new AgentError("E_CONFIG", `Cannot install: ${problem}`, { hint })];
  }
  if (root === "" && !isSystemdRunning) {
    const message = "Cannot install: systemd does not run on this machine, need it as PID 1";
    const hint = "For an image, give its directory with --root=";
    return [new AgentError("E_CONFIG", message, { hint })];
  }
  if (systemdVersion > 0) return [];
  const hint =
    root === "" ? "Is systemctl installed?" : "Is that the root directory of a whole system?";
  return [new AgentError("E_CONFIG", `Cannot install: no systemd found in ${where}`, { hint })];
}

/** A mask is somebody's decision, and wins over every drop-in. */
function maskProblems(
  { root, foreignUnits }: HostFacts,
  unitNames: readonly string[],
): AgentError[] {
  return unitNames.flatMap((name) => {
    const path = foreignUnits.get(name);
    if (path === undefined || !isMask(resolveIn(root, path))) return [];
    const message = `Cannot install "${name}": it is masked by "${path}", need it free`;
    return [new AgentError("E_CONFIG", message, { hint: `systemctl unmask ${name}` })];
  });
}

/** systemd.unit(5): a link to /dev/null, or an empty file. */
function isMask(path: string): boolean {
  try {
    if (readlinkSync(path) === "/dev/null") return true;
  } catch {
    // No link.
  }
  return statSync(path, { throwIfNoEntry: false })?.size === 0;
}

function placeProblems({ facts, prefix, binary }: PreflightOptions): AgentError[] {
  const { root } = facts;
  const target = `${prefix.replace(/\/+$/, "")}/bin`;
  const problems: AgentError[] = [];
  for (const directory of [target, ...WRITTEN_DIRECTORIES]) {
    const place = nearestExisting(resolveIn(root, directory, true));
    const hint =
      directory === target ? "Choose another place with --prefix=" : "Remount it for writing";
    try {
      accessSync(place, constants.W_OK);
    } catch (error) {
      const what = errnoOf(error) === "EROFS" ? "it is read-only" : reasonOf(error);
      const message = `Cannot install into "${root}${directory}": ${what}, need to write there`;
      problems.push(new AgentError("E_CONFIG", message, { hint, cause: error }));
    }
  }
  if (problems.length > 0) return problems;
  const place = nearestExisting(resolveIn(root, target, true));
  // An image will be mounted in another way.
  const mount = root === "" ? mountOf(place) : undefined;
  if (mount?.isNoexec === true) {
    const problem = `"${mount.point}" is mounted noexec, need a place where programs may run`;
    const hint = "Choose another place with --prefix=";
    problems.push(
      new AgentError("E_CONFIG", `Cannot install into "${target}": ${problem}`, { hint }),
    );
  }
  return [...problems, ...spaceProblems(place, target, binary)];
}

function spaceProblems(place: string, target: string, binary: string): AgentError[] {
  const size = statSync(binary, { throwIfNoEntry: false });
  const there = statSync(join(place, "agent"), { throwIfNoEntry: false });
  // It is there already.
  if (size === undefined || (size.ino === there?.ino && size.dev === there.dev)) return [];
  const { bavail, bsize } = statfsSync(place);
  const needed = size.size + SMALL_FILES_SIZE;
  if (bavail * bsize >= needed) return [];
  const megabytes = (bytes: number): string => `${Math.ceil(bytes / 1024 / 1024)} MiB`;
  const problem = `${megabytes(bavail * bsize)} are free, need ${megabytes(needed)}`;
  return [
    new AgentError("E_NO_SPACE", `Cannot install into "${target}": ${problem}`, {
      hint: "Make room, or choose another place with --prefix=",
    }),
  ];
}

async function binaryProblems(
  binary: string,
  root: string,
  run: RunCommand,
): Promise<AgentError[]> {
  try {
    if (binary !== process.execPath || targetMachine(root) !== ownMachine()) {
      await tryBinary(binary, root, run);
    }
    return [];
  } catch (error) {
    if (error instanceof AgentError) return [error];
    throw error;
  }
}

/** An image is for the machine that its systemd is for. */
function targetMachine(root: string): string {
  if (root === "") return ownMachine();
  for (const candidate of ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"]) {
    const path = resolveIn(root, candidate, true);
    if (statSync(path, { throwIfNoEntry: false })?.isFile() === true)
      return readMachine(path, path);
  }
  return ownMachine();
}

async function portProblems(port: number, run: RunCommand): Promise<AgentError[]> {
  const owners = await portOwners(port, run);
  const isOurs = ({ unit }: PortOwner): boolean =>
    unit !== undefined && OUR_LISTENERS.includes(unit);
  const [other] = owners.filter((owner) => !isOurs(owner));
  // A socket of ours is held by the service manager and by the service.
  if (other === undefined) return [];
  const message = `Cannot listen on port ${port}: ${describeOwner(other)} does, need it free`;
  const stop =
    other.unit === undefined ? "Stop it" : `Stop it (systemctl disable --now ${other.unit})`;
  return [
    new AgentError("E_CONFIG", message, { hint: `${stop}, or choose another one with --port=` }),
  ];
}

function describeOwner({ pid, program, unit }: PortOwner): string {
  if (unit?.endsWith(".socket") === true) return `"${unit}"`;
  if (pid === 0) return "a process that cannot be seen from here";
  return `process ${pid} ("${program}"${unit === undefined ? "" : `, ${unit}`})`;
}

/** Without it files keep the labels of where they were made, and the service manager may not run or read them. */
function labelProblems(
  isSelinuxEnforcing: boolean,
  findProgram: (name: string) => string | null,
): AgentError[] {
  if (!isSelinuxEnforcing || findProgram("restorecon") !== null) return [];
  const message =
    'Cannot install: SELinux is enforcing and "restorecon" is not there, need it for the labels of files';
  const hint = "It comes with the package policycoreutils";
  return [new AgentError("E_CONFIG", message, { hint })];
}

function portWarnings(port: number | undefined): string[] {
  if (port === undefined || port === STANDARD_PORT) return [];
  const command = `semanage port -a -t journal_remote_port_t -p tcp ${port}`;
  return [`SELinux is enforcing and may forbid port ${port}; allow it with: ${command}`];
}

function readFlag(path: string): string | undefined {
  try {
    return readFileSync(path, "latin1").trim();
  } catch {
    return undefined;
  }
}
