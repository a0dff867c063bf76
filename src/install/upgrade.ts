/**
 * `agent install --upgrade`: another binary in place of the one that is there, in one step; the services go on with it, or,
 * when they do not, with the old one.
 */
import { chmodSync, copyFileSync, linkSync, renameSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { AgentError, reasonOf } from "../errors.ts";
import type { RunCommand } from "../platform/run.ts";
import { syncDirectory } from "../platform/synced-file.ts";
import type { CheckResult } from "./check.ts";
import { hashFile } from "./disk-state.ts";
import { fetchChecksum, fetchFile, isUrl } from "./download.ts";
import { tryBinary } from "./preflight.ts";
import type { ServiceManager } from "./service-manager.ts";

export interface UpgradeOptions {
  /** A path, or a URL. */
  source: string;
  /** Of the new binary, in hexadecimal digits; undefined: what is published beside a URL, and a file is taken as it is. */
  sha256: string | undefined;
  /** PREFIX/bin/agent. */
  target: string;
  /** Services that run it: restarted if they run. */
  units: readonly string[];
  manager: ServiceManager;
  run: RunCommand;
  /** Before and after: what did not work before is no reason to go back. */
  check(): Promise<readonly CheckResult[]>;
  /** In the manifest: what the binary is from now on. */
  recordBinary(sha256: string): void;
  say(line: string): void;
}

export interface UpgradeOutcome {
  /** False: it was there already, nothing was restarted. */
  isChanged: boolean;
  /** Undefined where the binary would not say. */
  fromVersion: string | undefined;
  toVersion: string | undefined;
  /** The binary before, kept. */
  previous: string | undefined;
  checks: readonly CheckResult[];
}

const SHA256 = /^[0-9a-fA-F]{64}$/;

/** Where the binary before is kept. */
export function previousPath(target: string): string {
  return `${target}.previous`;
}

/** @throws AgentError: nothing is changed then, or it was changed back, which the message says */
export async function upgrade(options: UpgradeOptions): Promise<UpgradeOutcome> {
  const { source, target, run, say } = options;
  const before = hashInstalled(target);
  const fromVersion = await versionOf(target, run);
  const unchanged: UpgradeOutcome = {
    isChanged: false,
    fromVersion,
    toVersion: fromVersion,
    previous: undefined,
    checks: [],
  };
  const wanted = await wantedHash(options);
  if (wanted === before) return unchanged;
  const fresh = `${target}.new`;
  try {
    const hash = await fetchFile({ source, target: fresh });
    if (wanted !== undefined && hash !== wanted) {
      const message = `Cannot upgrade to "${source}": its SHA-256 is ${hash}, need ${wanted}`;
      throw new AgentError("E_CONFIG", message, { hint: "Nothing was changed; fetch it again" });
    }
    if (hash === before) return unchanged;
    chmodSync(fresh, 0o755);
    const toVersion = await tryBinary(fresh, "", run, source);
    if (isOlder(toVersion, fromVersion)) {
      say(`Warning: ${toVersion} is older than ${fromVersion}, which is installed`);
    }
    const knownProblems = await problemsBefore(options);
    keepPrevious(target);
    putInPlace(fresh, target);
    const checks = await goOn(options, { before, hash, fromVersion, toVersion, knownProblems });
    return { isChanged: true, fromVersion, toVersion, previous: previousPath(target), checks };
  } finally {
    rmSync(fresh, { force: true });
  }
}

function hashInstalled(target: string): string {
  try {
    return hashFile(target);
  } catch (error) {
    const message = `Cannot upgrade "${target}": ${reasonOf(error)}, need an installed agent`;
    const hint = "Install it: agent install --role=server or --role=client";
    throw new AgentError("E_CONFIG", message, { cause: error, hint });
  }
}

interface Step {
  /** SHA-256 of the old binary, and of the new one. */
  before: string;
  hash: string;
  fromVersion: string | undefined;
  toVersion: string | undefined;
  /** What was tried in vain with the old one. */
  knownProblems: ReadonlySet<string>;
}

async function problemsBefore({ check, say }: UpgradeOptions): Promise<Set<string>> {
  const failing = (await check()).filter(({ problem }) => problem !== undefined);
  for (const { problem } of failing) say(`Warning: before the upgrade: ${problem}`);
  return new Set(failing.map(({ what }) => what));
}

/** Restarts what runs, and looks whether it is well; if not, goes back. @throws AgentError when it went back */
async function goOn(options: UpgradeOptions, step: Step): Promise<readonly CheckResult[]> {
  const { manager, units, target } = options;
  const running: string[] = [];
  let failure: AgentError;
  try {
    options.recordBinary(step.hash);
    for (const unit of units) {
      if ((await manager.state(unit)).active !== "inactive") running.push(unit);
    }
    for (const unit of running) await manager.restart(unit);
    const checks = await options.check();
    const bad = checks.find(
      ({ what, problem }) => problem !== undefined && !step.knownProblems.has(what),
    );
    if (bad === undefined) return checks;
    failure = new AgentError("E_CONFIG", bad.problem ?? "", {
      ...(bad.hint === undefined ? {} : { hint: bad.hint }),
    });
  } catch (error) {
    const isKnown = error instanceof AgentError;
    failure = isKnown ? error : new AgentError("E_IO", reasonOf(error), { cause: error });
  }
  const name = step.toVersion ?? options.source;
  options.say(`${name} does not work: ${failure.message}; going back`);
  putInPlace(previousPath(target), target);
  options.recordBinary(step.before);
  const problems = await restartAll(manager, running);
  const back = `rolled back to ${step.fromVersion ?? "the binary before"}`;
  const end = problems.length === 0 ? back : `${back}, with which ${problems.join("; ")}`;
  throw new AgentError(failure.code, `Cannot upgrade to ${name}: ${failure.message}; ${end}`, {
    cause: failure,
    ...(failure.hint === undefined ? {} : { hint: failure.hint }),
  });
}

async function restartAll(manager: ServiceManager, units: readonly string[]): Promise<string[]> {
  const problems: string[] = [];
  for (const unit of units) {
    try {
      await manager.restart(unit);
    } catch (error) {
      problems.push(reasonOf(error));
    }
  }
  return problems;
}

/** @throws AgentError */
async function wantedHash({ source, sha256, say }: UpgradeOptions): Promise<string | undefined> {
  if (sha256 === undefined && isUrl(source)) {
    if (/^http:/i.test(source)) {
      const problem = "whoever is on the way can change it together with its SHA-256";
      say(`Warning: "${source}" is not https: ${problem}; --sha256= says what it has to be`);
    }
    return await fetchChecksum(source);
  }
  if (sha256 === undefined) return undefined;
  if (SHA256.test(sha256)) return sha256.toLowerCase();
  const message = `Cannot use "--sha256=${sha256}": need 64 hexadecimal digits`;
  throw new AgentError("E_USAGE", message, { hint: "sha256sum(1) prints them" });
}

async function versionOf(target: string, run: RunCommand): Promise<string | undefined> {
  try {
    return await tryBinary(target, "", run);
  } catch (error) {
    // A broken one is what is replaced.
    if (error instanceof AgentError) return undefined;
    throw error;
  }
}

/** A second name for the same file: the first stays in place meanwhile. */
function keepPrevious(target: string): void {
  const temporary = `${previousPath(target)}.new`;
  rmSync(temporary, { force: true });
  try {
    linkSync(target, temporary);
  } catch {
    // A file system without hard links.
    copyFileSync(target, temporary);
  }
  renameSync(temporary, previousPath(target));
}

function putInPlace(from: string, target: string): void {
  renameSync(from, target);
  syncDirectory(dirname(target));
}

/** By their numbers; what follows them ("-rc1") makes no difference. */
function isOlder(version: string | undefined, than: string | undefined): boolean {
  if (version === undefined || than === undefined) return false;
  const numbers = (text: string): number[] => text.split(/[.+-]/).slice(0, 3).map(Number);
  const [a, b] = [numbers(version), numbers(than)];
  for (const [i, number] of a.entries()) {
    if (number !== (b[i] ?? 0)) return number < (b[i] ?? 0);
  }
  return false;
}
