/**
 * Takes an installation back, of a role or all: what `agent uninstall` does. Every step says how things were, not what to
 * change, and the manifest forgets nothing before it is done: killed at any moment, the next `uninstall` goes on.
 */
import { AgentError, reasonOf } from "../errors.ts";
import { addedAccounts, takeBackAccounts } from "./account-files.ts";
import { takeBackByproduct } from "./byproducts.ts";
import { isEdited, refuseEdited, removalsOf } from "./changes.ts";
import { isDirectory, look } from "./disk-state.ts";
import { putBack } from "./disk-write.ts";
import { installFailure } from "./failure.ts";
import type { InstallHost } from "./host.ts";
import {
  type AccountsRecord,
  backupPaths,
  installedRoles,
  type Manifest,
  readManifest,
  removeParents,
  type UnitRecord,
} from "./manifest.ts";
import type { Role } from "./plan.ts";
import { recoverRun, settleManifest } from "./recover.ts";
import { takeBackJournals } from "./shared-journals.ts";
import { instancesOf, isUnitFile, type Step } from "./steps.ts";
import { inStopOrder } from "./unit-order.ts";

export interface RestoreOptions {
  roles: readonly Role[];
  /** Also what daemons have made since, received journals among it, and accounts. */
  purge: boolean;
  /** Also files that were edited by hand. */
  force: boolean;
  dryRun: boolean;
}

export interface RestoreResult {
  steps: Step[];
  warnings: string[];
  /** What --purge would remove as well. */
  kept: string[];
}

/**
 * The caller holds `lockInstallation()`.
 * @throws AgentError E_CONFIG before anything was done when files were edited by hand; E_IO, E_NO_SPACE: then what is done is
 * done, and the next time goes on
 */
export async function restore(host: InstallHost, options: RestoreOptions): Promise<RestoreResult> {
  const { root } = host;
  const warnings = options.dryRun ? [] : ((await recoverRun(host)) ?? []);
  const manifest = readManifest(root);
  if (manifest.run !== null) warnings.push("An interrupted run will be taken back first");
  const plan = planRestore(manifest, options, host);
  if (!options.force) refuseEdited(plan.edited, "remove");
  const { steps } = plan;
  const kept = options.purge ? [] : keptPaths(root, plan);
  if (!options.dryRun) {
    try {
      for (const step of steps) await carryOutStep(step, host, manifest, warnings);
      forget(root, manifest, plan, options);
    } catch (error) {
      const consequence = "the next agent uninstall goes on from here";
      throw installFailure(error, "Cannot uninstall", { consequence });
    }
  }
  return { steps, warnings, kept };
}

interface RestorePlan {
  steps: Step[];
  edited: Parameters<typeof refuseEdited>[0][number][];
  /** Paths by which the manifest knows what it may forget. */
  items: string[];
  byproducts: string[];
  accounts: AccountsRecord | null;
}

function planRestore(
  manifest: Manifest,
  { roles, purge }: RestoreOptions,
  { root, manager }: InstallHost,
): RestorePlan {
  const staying = installedRoles(manifest).filter((role) => !roles.includes(role));
  const isOver = (record: { roles: readonly Role[] }): boolean =>
    !record.roles.some((role) => staying.includes(role));
  const units = unitsOf(manifest, roles, staying);
  const removals = removalsOf(manifest, roles, root);
  const byproducts = Object.keys(manifest.byproducts)
    .filter((path) => isOver(manifest.byproducts[path] as { roles: Role[] }))
    .sort();
  const accounts =
    manifest.accounts !== null && isOver(manifest.accounts) ? manifest.accounts : null;
  const steps: Step[] = [];
  if (manager !== undefined) {
    for (const { name } of inStopOrder(units)) steps.push({ do: "stop", unit: name });
  }
  for (const change of removals) steps.push({ do: "item", change });
  const journals = Object.entries(manifest.journals).filter(([, { role }]) => roles.includes(role));
  for (const [directory, { before }] of journals) {
    steps.push({ do: "take back journals", directory, count: Object.keys(before).length });
  }
  if (manager !== undefined && removals.some(({ path }) => isUnitFile(path))) {
    steps.push({ do: "reload" });
  }
  if (purge) {
    for (const path of [...byproducts].reverse()) {
      const isRemoved = manifest.byproducts[path]?.before.top.kind === "nothing";
      steps.push({ do: "purge", path, isRemoved });
    }
    if (accounts !== null) {
      const names = addedAccounts(root, accounts, backupPaths(root));
      steps.push({ do: "take back accounts", names });
    }
  }
  if (manager !== undefined) {
    const resumed = units.filter(({ wasActive }) => wasActive);
    for (const { name } of resumed) steps.push({ do: "start", unit: name });
  }
  const edited = removals
    .filter(({ found, record }) => isEdited(found, record))
    .map(({ path, found }) => ({ path, found, isForeign: false }));
  return { steps, edited, items: removals.map(({ path }) => path), byproducts, accounts };
}

/** Those that no other role needs. */
function unitsOf(
  manifest: Manifest,
  roles: readonly Role[],
  staying: readonly Role[],
): UnitRecord[] {
  const namesOf = (role: Role): string[] =>
    manifest.roles[role]?.units.map(({ name }) => name) ?? [];
  const needed = new Set(staying.flatMap(namesOf));
  const units = roles.flatMap((role) => manifest.roles[role]?.units ?? []);
  const byName = new Map(units.map((unit) => [unit.name, unit]));
  return [...byName.values()].filter(({ name }) => !needed.has(name));
}

async function carryOutStep(
  step: Step,
  { root, manager }: InstallHost,
  manifest: Manifest,
  warnings: string[],
): Promise<void> {
  const backupOf = backupPaths(root);
  switch (step.do) {
    case "item":
      if (step.change.kind !== "remove") throw new RangeError("Not a step of uninstall");
      putBack(root, step.change.path, step.change.record.before, backupOf);
      break;
    case "purge": {
      const before = manifest.byproducts[step.path]?.before;
      if (before !== undefined) {
        takeBackByproduct(root, step.path, before, { isPurge: true, backupOf });
      }
      break;
    }
    case "take back journals": {
      const before = manifest.journals[step.directory]?.before ?? {};
      takeBackJournals(root, step.directory, before);
      break;
    }
    case "take back accounts":
      if (manifest.accounts !== null) takeBackAccounts(root, manifest.accounts, backupOf);
      break;
    case "reload":
      await warnOf(warnings, () => manager?.daemonReload());
      break;
    case "start":
    case "stop":
    case "restart":
      await warnOf(warnings, () => manager?.[step.do](instancesOf(step.unit)));
      break;
    case "run":
    case "share journals":
      throw new RangeError("Not a step of uninstall");
  }
}

/** A unit that does not do as it is told keeps nothing else from being put right. */
async function warnOf(warnings: string[], action: () => Promise<void> | undefined): Promise<void> {
  try {
    await action();
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    warnings.push(reasonOf(error));
  }
}

function forget(
  root: string,
  manifest: Manifest,
  plan: RestorePlan,
  { roles, purge }: RestoreOptions,
): void {
  removeMadeDirectories(root, manifest, plan, purge);
  for (const role of roles) delete manifest.roles[role];
  for (const path of plan.items) delete manifest.items[path];
  for (const [directory, { role }] of Object.entries(manifest.journals)) {
    if (roles.includes(role)) delete manifest.journals[directory];
  }
  for (const record of Object.values(manifest.items)) {
    record.roles = record.roles.filter((role) => !roles.includes(role));
  }
  if (purge) {
    for (const path of plan.byproducts) delete manifest.byproducts[path];
    if (plan.accounts !== null) manifest.accounts = null;
  } else {
    for (const path of plan.byproducts) {
      if (isUntouched(root, path, manifest)) delete manifest.byproducts[path];
    }
  }
  settleManifest(root, manifest);
}

/** Those that were not empty when they were to go perhaps are now; the others are remembered. */
function removeMadeDirectories(
  root: string,
  manifest: Manifest,
  { items, byproducts }: RestorePlan,
  purge: boolean,
): void {
  const made = items.filter((path) => manifest.items[path]?.before.kind === "nothing");
  const above = byproducts.flatMap((path) => manifest.byproducts[path]?.before.parents ?? []);
  const parents = [...new Set([...manifest.parents, ...made, ...(purge ? above : [])])];
  removeParents(root, { parents });
  manifest.parents = parents.filter((path) => isDirectory(root, path));
}

/** It was not there, and is not there. */
function isUntouched(root: string, path: string, manifest: Manifest): boolean {
  const before = manifest.byproducts[path]?.before.top.kind;
  return before === "nothing" && look(root, path).kind === "nothing";
}

function keptPaths(root: string, { byproducts, accounts }: RestorePlan): string[] {
  const paths = byproducts.filter((path) => look(root, path).kind !== "nothing");
  const names = accounts === null ? [] : addedAccounts(root, accounts, backupPaths(root));
  return [...paths, ...names.map((name) => `account ${name}`)];
}
