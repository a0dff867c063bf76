/**
 * Makes a plan so, all of it or nothing: before anything changes, the state of all that will is in the manifest (`run`), with
 * the content of files beside it. A failure takes the run back at once; after a kill the next install or uninstall does. The
 * write of the manifest that drops `run` is the moment from which the change holds.
 */
import { readFileSync } from "node:fs";
import { AgentError, errnoOf, reasonOf } from "../errors.ts";
import { accountFileHash, accountNames, accountPaths } from "./account-files.ts";
import { rememberByproduct } from "./byproducts.ts";
import { type Change, type Changes, planChanges, refuseEdited } from "./changes.ts";
import { putBack, putDirectory, putFile, putLink, setAccess } from "./disk-write.ts";
import type { InstallHost } from "./host.ts";
import {
  type AccountFile,
  backupPaths,
  type Manifest,
  makeStateDirectory,
  missingParents,
  type RunRecord,
  readManifest,
  removeParents,
  removeStrays,
  save,
  saveContent,
  type UnitRecord,
  writeManifest,
} from "./manifest.ts";
import type { Plan, PlannedCommand, PlannedUnit, Role } from "./plan.ts";
import { recoverRun } from "./recover.ts";
import { resolveIn } from "./rooted-path.ts";
import {
  changedPaths,
  commandLine,
  commandsToRun,
  instancesOf,
  isUnitFile,
  type Step,
} from "./steps.ts";

export interface ApplyOptions {
  /** Of the command line: stored with the role. */
  options: unknown;
  /** Overwrite what was edited by hand; its content is kept. */
  force: boolean;
  /** Only say what would be done. */
  dryRun: boolean;
  /** Start units, and restart those whose files changed. */
  start: boolean;
  /** What is no item, like a certificate that an authority issues: done before the items, within what can be taken back. */
  perform?: () => Promise<Performed>;
  /** After the start, before it is final: what it throws takes everything back. */
  verify?: () => Promise<void>;
}

export interface Performed {
  /** In words; none = there was nothing to do. */
  done: readonly string[];
  /** Paths that changed: units that depend on one are restarted. */
  changed: readonly string[];
}

export interface ApplyResult {
  /** By `perform`, in words. */
  performed: readonly string[];
  /** What was done, or would be: nothing if everything is as planned. */
  steps: Step[];
  warnings: string[];
}

/**
 * The caller holds `lockInstallation()`.
 * @throws AgentError E_CONFIG before anything was done when files were edited by hand; any failure later on is thrown as
 * AgentError after all was taken back
 */
export async function applyPlan(
  plan: Plan,
  host: InstallHost,
  options: ApplyOptions,
): Promise<ApplyResult> {
  const { root } = host;
  const warnings = [...plan.warnings];
  if (!options.dryRun) warnings.push(...((await recoverRun(host)) ?? []));
  const manifest = readManifest(root);
  const changes = planChanges(plan, manifest, { root, force: options.force });
  warnings.push(...changes.kept.map((path) => `Left as it is: "${path}", edited by hand`));
  if (manifest.run !== null) warnings.push("An interrupted run will be taken back first");
  if (!options.force) refuseEdited(changes.edited, "replace");
  const wasActive = await activeUnits(host, [...plan.units, ...changes.droppedUnits]);
  const steps = planSteps(plan, changes, { host, start: options.start, wasActive, manifest });
  const progress = { isPrepared: false, performed: [] };
  const run: Run = { plan, host, options, manifest, changes, steps, wasActive, ...progress };
  const isSettled = steps.length === 0 && !hasNews(run) && options.perform === undefined;
  if (!options.dryRun && !isSettled) await carryOut(run);
  return { steps, warnings, performed: run.performed };
}

interface Run {
  /** Is all that it changes in the manifest? */
  isPrepared: boolean;
  performed: readonly string[];
  plan: Plan;
  host: InstallHost;
  options: ApplyOptions;
  manifest: Manifest;
  changes: Changes;
  steps: Step[];
  wasActive: ReadonlyMap<string, boolean>;
}

async function activeUnits(
  { manager }: InstallHost,
  units: readonly { name: string }[],
): Promise<Map<string, boolean>> {
  const result = new Map<string, boolean>();
  for (const { name } of units) {
    const state = await manager?.state(instancesOf(name));
    result.set(name, /^(active|activating|reloading)$/.test(state?.active ?? ""));
  }
  return result;
}

function planSteps(
  plan: Plan,
  changes: Changes,
  context: Pick<Run, "host" | "wasActive" | "manifest"> & { start: boolean },
): Step[] {
  const { host, wasActive, start } = context;
  const steps: Step[] = [];
  if (host.manager !== undefined) {
    const dropped = changes.droppedUnits.filter(({ name }) => wasActive.get(name));
    for (const { name } of dropped.reverse()) steps.push({ do: "stop", unit: name });
  }
  for (const change of changes.changes) steps.push({ do: "item", change });
  for (const command of commandsToRun(plan, changes)) steps.push({ do: "run", command });
  if (host.manager === undefined) return steps;
  if ([...changedPaths(changes)].some(isUnitFile)) steps.push({ do: "reload" });
  if (!start) return steps;
  for (const unit of plan.units) {
    if (unit.activation === "none") continue;
    if (!wasActive.get(unit.name)) steps.push({ do: "start", unit: unit.name });
    else if (isAffected(unit, changes, context)) steps.push({ do: "restart", unit: unit.name });
  }
  return steps;
}

/** By what it depends on, or depended on until now. */
function isAffected(
  { name, dependsOn }: PlannedUnit,
  changes: Changes,
  { manifest }: Pick<Run, "manifest">,
): boolean {
  const changed = changedPaths(changes);
  const records = Object.values(manifest.roles).flatMap(({ units }) => units);
  const before = records.filter((unit) => unit.name === name).flatMap((unit) => unit.dependsOn);
  return [...dependsOn, ...before].some((path) => changed.has(path));
}

/** Is there anything to remember, though nothing is to be done? */
function hasNews({ plan, options, manifest, changes }: Run): boolean {
  const role = manifest.roles[plan.role];
  return (
    role === undefined ||
    changes.adopted.length + changes.released.length + changes.droppedUnits.length > 0 ||
    JSON.stringify(role.options) !== JSON.stringify(options.options) ||
    JSON.stringify(role.units) !== JSON.stringify(unitRecords(plan, manifest, new Map()))
  );
}

async function carryOut(run: Run): Promise<void> {
  const { host } = run;
  try {
    prepare(run);
    run.isPrepared = true;
    await perform(run);
    for (const step of run.steps) await carryOutStep(run, step);
    await run.options.verify?.();
    writeManifest(host.root, finalManifest(run));
  } catch (error) {
    throw await takeBack(run, error);
  }
  removeStrays(host.root, readManifest(host.root));
}

async function perform(run: Run): Promise<void> {
  const { plan, options, steps, wasActive, manifest } = run;
  const { done, changed } = (await options.perform?.()) ?? { done: [], changed: [] };
  run.performed = done;
  if (!options.start || run.host.manager === undefined) return;
  const launched = new Set(steps.flatMap((step) => ("unit" in step ? [step.unit] : [])));
  for (const { name, dependsOn, activation } of plan.units) {
    const isAffected = dependsOn.some((path) => changed.includes(path));
    if (activation === "none" || !isAffected || launched.has(name) || !wasActive.get(name))
      continue;
    steps.push({ do: "restart", unit: name });
    for (const unit of manifest.run?.units ?? []) if (unit.name === name) unit.isChanged = true;
  }
}

/** From here on everything can be taken back. */
function prepare({ plan, host, manifest, changes, steps, wasActive }: Run): void {
  const { root } = host;
  const parents = missingParents(root);
  manifest.parents = [...new Set([...manifest.parents, ...parents])];
  makeStateDirectory(root, parents);
  const commands = commandsToRun(plan, changes);
  const paths = accountPaths(commands.flatMap((command) => command.changes));
  const restarted = new Set(steps.flatMap((step) => (step.do === "restart" ? [step.unit] : [])));
  const units = [...plan.units, ...changes.droppedUnits];
  const record: RunRecord = {
    items: saveAll(root, [...changedPaths(changes)]),
    byproducts: Object.fromEntries(
      plan.byproducts
        .filter((path) => manifest.byproducts[path] === undefined)
        .map((path) => [path, rememberByproduct(root, path)]),
    ),
    accounts:
      paths.length === 0
        ? null
        : { names: sysusersNames(plan, commands), files: saveAll(root, paths) },
    units: units.map(({ name }) => ({
      name,
      wasActive: wasActive.get(name) === true,
      isChanged: restarted.has(name),
    })),
    hasUnitsTouched: steps.some((step) => step.do === "stop"),
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

async function carryOutStep({ host, manifest }: Run, step: Step): Promise<void> {
  const { root, manager } = host;
  switch (step.do) {
    case "item":
      makeChange(root, step.change);
      break;
    case "run":
      await runCommand(host, step.command);
      break;
    case "reload":
      await manager?.daemonReload();
      break;
    case "start":
    case "restart":
    case "stop":
      if (manifest.run !== null && !manifest.run.hasUnitsTouched) {
        manifest.run.hasUnitsTouched = true;
        writeManifest(root, manifest);
      }
      await manager?.[step.do](instancesOf(step.unit));
      break;
    case "purge":
    case "take back accounts":
      throw new RangeError(`Not a step of an installation: ${step.do}`);
  }
}

function makeChange(root: string, change: Change): void {
  const { path } = change;
  if (change.kind === "remove") {
    putBack(root, path, change.record.before, backupPaths(root));
    return;
  }
  const { item, written } = change;
  if (written.kind === "link") putLink(root, path, written);
  else if (written.kind === "directory") putDirectory(root, path, written);
  else if (change.kind === "mode" && written.kind === "file") {
    setAccess(resolveIn(root, path), written);
  } else if (written.kind === "file" && item.kind === "file") {
    putFile(root, path, item.data, written);
  }
}

async function runCommand({ root, run }: InstallHost, command: PlannedCommand): Promise<void> {
  const argv = commandLine(command, root);
  const { status, stdout, stderr } = await run(argv);
  if (status === 0) return;
  const said = (stderr.trim() || stdout.trim()).split("\n").slice(-3).join("; ");
  const message = `Cannot run "${argv.join(" ")}": exit status ${status}, need 0`;
  throw new AgentError("E_CONFIG", said === "" ? message : `${message}: ${said}`);
}

/** @returns what to throw: an error for users, or the bug that escaped */
async function takeBack(run: Run, error: unknown): Promise<unknown> {
  const { host, plan } = run;
  const failure = `Cannot install the ${plan.role}: ${reasonOf(error)}`;
  const hint = error instanceof AgentError && error.hint !== undefined ? { hint: error.hint } : {};
  const code = codeOf(error);
  try {
    // Its last write is there, but was not seen to last.
    const isFinal = run.isPrepared && readManifest(host.root).run === null;
    if (isFinal) writeManifest(host.root, run.manifest);
    const problems = (await recoverRun(host)) ?? [];
    removeParents(host.root, run.manifest);
    if (!(error instanceof AgentError) && errnoOf(error) === undefined) return error;
    const rest = problems.length === 0 ? "" : `, but for this: ${problems.join("; ")}`;
    const message = `${failure}; everything is as it was before${rest}`;
    return new AgentError(code, message, { cause: error, ...hint });
  } catch (again) {
    const message = `${failure}; this could not be taken back yet: ${reasonOf(again)}`;
    const repeat = "The next agent install or agent uninstall takes it back";
    return new AgentError(code, message, { cause: error, hint: repeat });
  }
}

function codeOf(error: unknown): AgentError["code"] {
  if (error instanceof AgentError) return error.code;
  const errno = errnoOf(error);
  return errno === "ENOSPC" || errno === "EDQUOT" ? "E_NO_SPACE" : "E_IO";
}

function finalManifest(run: Run): Manifest {
  const { plan, host, options, manifest, changes, wasActive } = run;
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
  for (const path of changes.adopted) {
    const item = next.items[path];
    if (item !== undefined) item.roles = withRole(item.roles, plan.role);
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
  addAccounts(next, record, { role: plan.role, root: host.root });
  const units = unitRecords(plan, next, wasActive);
  next.roles[plan.role] = { options: options.options, units };
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
    const hash = found.kind === "file" ? found.sha256 : null;
    const isOurs = old === undefined || old.after === hash;
    const before = old?.before ?? found;
    files[path] = isOurs ? { before, after: accountFileHash(root, path) } : { before };
  }
  next.accounts = {
    roles: withRole(next.accounts?.roles, role),
    names: [...new Set([...(next.accounts?.names ?? []), ...accounts.names])],
    files,
  };
}

function withRole(roles: readonly Role[] | undefined, role: Role): Role[] {
  return [...new Set([...(roles ?? []), role])];
}
