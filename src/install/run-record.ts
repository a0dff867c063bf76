/** A run in the manifest: what was there before it, and what is when it is done. */
import { readFileSync } from "node:fs";
import { accountFileHash, accountNames, accountPaths } from "./account-files.ts";
import { rememberByproduct } from "./byproducts.ts";
import type { Changes } from "./changes.ts";
import type { Saved } from "./disk-state.ts";
import {
  type AccountFile,
  type Manifest,
  makeStateDirectory,
  missingParents,
  type RunRecord,
  save,
  saveContent,
  type UnitRecord,
  writeManifest,
} from "./manifest.ts";
import type { Plan, PlannedCommand, Role } from "./plan.ts";
import { changedPaths, commandsToRun, type Step } from "./steps.ts";

export interface Run {
  plan: Plan;
  root: string;
  /** Of the command line. */
  options: unknown;
  manifest: Manifest;
  changes: Changes;
  steps: Step[];
  wasActive: ReadonlyMap<string, boolean>;
}

/** Is there anything to remember, though nothing is to be done? */
export function hasNews({ plan, options, manifest, changes }: Run): boolean {
  const role = manifest.roles[plan.role];
  return (
    role === undefined ||
    changes.adopted.length + changes.released.length + changes.droppedUnits.length > 0 ||
    JSON.stringify(role.options) !== JSON.stringify(options) ||
    JSON.stringify(role.units) !== JSON.stringify(unitRecords(plan, manifest, new Map()))
  );
}

/**
 * Writes the manifest with the state of all that will be changed: from here on everything can be taken back.
 * @param manifest of the last run; gets the record
 */
export function beginRun({ plan, root, manifest, changes, steps, wasActive }: Run): void {
  const parents = missingParents(root);
  manifest.parents = [...new Set([...manifest.parents, ...parents])];
  makeStateDirectory(root, parents);
  const commands = commandsToRun(plan, changes);
  const paths = accountPaths(commands.flatMap((command) => command.changes));
  const touched = new Set(steps.flatMap((step) => ("unit" in step ? [step.unit] : [])));
  const units = [...plan.units, ...changes.droppedUnits];
  const record: RunRecord = {
    items: saveAll(root, [...changedPaths(changes)]),
    byproducts: Object.fromEntries(
      plan.byproducts
        .filter((path) => manifest.byproducts[path] === undefined)
        .map((path) => [path, rememberByproduct(root, path)]),
    ),
    journals: {},
    accounts:
      paths.length === 0
        ? null
        : { names: sysusersNames(plan, commands), files: saveAll(root, paths) },
    units: units.map(({ name }) => ({
      name,
      wasActive: wasActive.get(name) === true,
      isChanged: touched.has(name),
    })),
    hasUnitsTouched: false,
  };
  for (const { path, found, isForeign } of changes.edited) {
    if (isForeign || found.kind !== "file") continue;
    const { sha256 } = found;
    if (manifest.overwritten.some((old) => old.path === path && old.sha256 === sha256)) continue;
    manifest.overwritten.push({ path, sha256, backup: saveContent(root, path) });
  }
  manifest.run = record;
  writeManifest(root, manifest);
}

function saveAll(root: string, paths: readonly string[]): RunRecord["items"] {
  return Object.fromEntries(paths.map((path) => [path, save(root, path)]));
}

/** Accounts that the commands are told of by the files they run for. */
function sysusersNames(plan: Plan, commands: readonly PlannedCommand[]): string[] {
  const sources = new Set(commands.flatMap(({ after }) => after));
  const files = plan.items.filter((item) => item.kind === "file");
  const texts = files
    .filter(({ path }) => sources.has(path) && path.includes("/sysusers.d/"))
    .map(({ data }) => {
      const isCopy = typeof data === "object" && "copyOf" in data;
      return isCopy ? readFileSync(data.copyOf, "utf8") : Buffer.from(data).toString("utf8");
    });
  return [...new Set(texts.flatMap(accountNames))];
}

/** As it is when all is done. */
export function finalManifest(run: Run): Manifest {
  const { plan, root, options, manifest, changes, wasActive } = run;
  const next: Manifest = structuredClone({ ...manifest, run: null });
  const record = manifest.run;
  if (record === null) throw new RangeError("A run that was not prepared");
  for (const change of changes.changes) {
    const { path } = change;
    if (change.kind === "remove") {
      delete next.items[path];
      continue;
    }
    const old = next.items[path];
    const before = old?.before ?? record.items[path] ?? { kind: "nothing" };
    next.items[path] = { roles: withRole(old?.roles, plan.role), written: change.written, before };
  }
  for (const { path, found } of changes.adopted) {
    const item = next.items[path];
    if (item === undefined) continue;
    item.roles = withRole(item.roles, plan.role);
    item.written = found;
  }
  for (const path of changes.released) {
    const item = next.items[path];
    if (item !== undefined) item.roles = item.roles.filter((role) => role !== plan.role);
  }
  for (const path of plan.byproducts) {
    const old = next.byproducts[path];
    const before = old?.before ?? record.byproducts[path];
    if (before === undefined) continue;
    next.byproducts[path] = { roles: withRole(old?.roles, plan.role), before };
  }
  for (const [directory, before] of Object.entries(record.journals)) {
    const old = next.journals[directory]?.before;
    next.journals[directory] = { role: plan.role, before: { ...before, ...old } };
  }
  addAccounts(next, record, { role: plan.role, root });
  const units = unitRecords(plan, next, wasActive);
  next.roles[plan.role] = { options, units };
  return next;
}

/** A unit that is running because the other role's installation started it was not active before. */
function unitRecords(
  plan: Plan,
  manifest: Manifest,
  wasActive: ReadonlyMap<string, boolean>,
): UnitRecord[] {
  const known = Object.values(manifest.roles).flatMap(({ units }) => units);
  return plan.units.map(({ name, dependsOn }) => {
    const old = known.find((unit) => unit.name === name);
    const isActive = old?.wasActive ?? wasActive.get(name) === true;
    return { name, dependsOn: [...dependsOn], wasActive: isActive };
  });
}

/** What was there before the first run stays remembered; what others changed between two runs is theirs. */
function addAccounts(
  next: Manifest,
  { accounts }: RunRecord,
  { role, root }: { role: Role; root: string },
): void {
  if (accounts === null) return;
  const files: Record<string, AccountFile> = { ...next.accounts?.files };
  for (const [path, found] of Object.entries(accounts.files)) {
    const old = files[path];
    const hash = hashOf(found);
    // As the last run left it, or as an interrupted uninstall put it back.
    const isOurs = old === undefined || old.after === hash || hashOf(old.before) === hash;
    const before = old?.before ?? found;
    files[path] = isOurs ? { before, after: accountFileHash(root, path) } : { before };
  }
  next.accounts = {
    roles: withRole(next.accounts?.roles, role),
    names: [...new Set([...(next.accounts?.names ?? []), ...accounts.names])],
    files,
  };
}

function hashOf(state: Saved): string | null {
  return state.kind === "file" ? state.sha256 : null;
}

function withRole(roles: readonly Role[] | undefined, role: Role): Role[] {
  return [...new Set([...(roles ?? []), role])];
}
