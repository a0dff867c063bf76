/** A run that failed or was killed is taken back: units, files, accounts, by-products are as before it. */
import { reasonOf } from "../errors.ts";
import { lockPath, type ProcessLock } from "../platform/process-lock.ts";
import { expectedAfter, takeBackAccounts } from "./account-files.ts";
import { removeTemporariesInside, takeBackByproduct } from "./byproducts.ts";
import { isDirectory } from "./disk-state.ts";
import { putAllBack, removeTemporary } from "./disk-write.ts";
import { installFailure } from "./failure.ts";
import type { InstallHost } from "./host.ts";
import {
  backupPaths,
  installedRoles,
  type Manifest,
  type RunRecord,
  readManifest,
  removeStateDirectory,
  removeStrays,
  STATE_DIRECTORY,
  writeManifest,
} from "./manifest.ts";
import { takeBackJournals } from "./shared-journals.ts";
import { instancesOf, isUnitFile } from "./steps.ts";
import { inStopOrder, serviceOf } from "./unit-order.ts";

/** Held around `recoverRun()`, `applyPlan()` and `restore()`. @throws AgentError E_CONFIG while another process holds it */
export function lockInstallation(root: string): ProcessLock {
  const hint = "Wait until the other agent install or uninstall is done";
  // Renewal, in its sandbox, may write there too.
  return lockPath(root === "" ? "/run" : root, { purpose: "install", hint });
}

/**
 * What an interrupted run left. It can be repeated: when this is interrupted, too, the next one goes on.
 * @returns what could not be taken back, in words; undefined when there was nothing to do
 * @throws AgentError E_IO, E_NO_SPACE: the manifest still has the run
 */
export async function recoverRun(host: InstallHost): Promise<string[] | undefined> {
  const manifest = readManifest(host.root);
  if (manifest.run !== null) {
    try {
      return await takeBackRun(host, manifest, manifest.run);
    } catch (error) {
      const consequence = "the next agent install or agent uninstall tries it again";
      throw installFailure(error, "Cannot take back an interrupted run", { consequence });
    }
  }
  if (isEmptyManifest(manifest)) {
    removeStateDirectory(host.root, manifest);
  } else {
    removeStrays(host.root, manifest);
    removeTemporaries(host.root, manifest);
  }
  return undefined;
}

/** Of all that an interrupted uninstall may have been about to put back. */
function removeTemporaries(root: string, { items, byproducts, accounts }: Manifest): void {
  for (const path of [items, byproducts, accounts?.files ?? {}].flatMap(Object.keys)) {
    removeTemporary(root, path);
  }
  for (const [path, { before }] of Object.entries(byproducts)) {
    removeTemporariesInside(root, path, before);
  }
}

/** @returns problems of units and service manager: the files are back nevertheless */
async function takeBackRun(
  { root, manager }: InstallHost,
  manifest: Manifest,
  run: RunRecord,
): Promise<string[]> {
  const backupOf = backupPaths(root);
  const problems: string[] = [];
  const units = run.hasUnitsTouched && manager !== undefined ? run.units : [];
  const stopped = unitsToStop(units);
  for (const { name } of stopped) {
    await attempt(problems, () => manager?.stop(instancesOf(name)));
  }
  putAllBack(root, run.items, backupOf);
  for (const [path, before] of Object.entries(run.byproducts)) {
    takeBackByproduct(root, path, before, { isPurge: false, backupOf });
  }
  for (const [directory, before] of Object.entries(run.journals)) {
    takeBackJournals(root, directory, before);
  }
  if (run.accounts !== null) {
    const { names, files } = run.accounts;
    takeBackAccounts(root, { names, files: expectedAfter(root, files) }, backupOf);
  }
  if (manager !== undefined && Object.keys(run.items).some(isUnitFile)) {
    await attempt(problems, () => manager.daemonReload());
  }
  for (const unit of units.filter(({ wasActive }) => wasActive)) {
    const { name } = unit;
    const isRestarted = unit.isChanged && !stopped.includes(unit);
    await attempt(problems, () => (isRestarted ? manager?.restart(name) : manager?.start(name)));
  }
  settleManifest(root, { ...manifest, run: null });
  return problems;
}

/** What did not run before; sockets that were started anew, and their services, which would keep them from the port. */
function unitsToStop(units: RunRecord["units"]): RunRecord["units"] {
  const sockets = units.filter(({ name, isChanged }) => isChanged && serviceOf(name) !== undefined);
  const services = new Set(sockets.map(({ name }) => serviceOf(name)));
  return inStopOrder(
    units.filter((unit) => !unit.wasActive || sockets.includes(unit) || services.has(unit.name)),
  );
}

/** Writes what is left to remember, and removes backups only then; the directory, if there is nothing. */
export function settleManifest(root: string, manifest: Manifest): void {
  const isEmpty = isEmptyManifest(manifest);
  if (!isEmpty || isDirectory(root, STATE_DIRECTORY)) writeManifest(root, manifest);
  if (isEmpty) removeStateDirectory(root, manifest);
  else removeStrays(root, manifest);
}

/** Nothing is installed, nothing is left that could be purged. */
function isEmptyManifest(manifest: Manifest): boolean {
  return (
    installedRoles(manifest).length === 0 &&
    Object.keys(manifest.items).length === 0 &&
    Object.keys(manifest.byproducts).length === 0 &&
    manifest.accounts === null &&
    manifest.run === null
  );
}

/** One unit that does not do as it is told keeps nothing else from being put right. */
async function attempt(problems: string[], action: () => Promise<void> | undefined): Promise<void> {
  try {
    await action();
  } catch (error) {
    problems.push(reasonOf(error));
  }
}
