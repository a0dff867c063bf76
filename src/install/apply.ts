/**
 * Makes a plan so, all of it or nothing: before anything changes, the state of all that will is in the manifest (`run`), with
 * the content of files beside it. A failure takes the run back at once; after a kill the next install or uninstall does. The
 * write of the manifest that drops `run` is the moment from which the change holds.
 */
import { AgentError, reasonOf } from "../errors.ts";
import { type Change, planChanges, refuseEdited } from "./changes.ts";
import { putBack, putDirectory, putFile, putLink, setAccess } from "./disk-write.ts";
import { installFailure } from "./failure.ts";
import type { InstallHost } from "./host.ts";
import {
  backupPaths,
  type Manifest,
  readManifest,
  removeParents,
  removeStrays,
  writeManifest,
} from "./manifest.ts";
import type { Plan, PlannedCommand, SharedJournals } from "./plan.ts";
import { activeUnits, planSteps } from "./plan-steps.ts";
import { recoverRun } from "./recover.ts";
import { resolveIn } from "./rooted-path.ts";
import { beginRun, finalManifest, hasNews, type Run } from "./run-record.ts";
import { findUnshared, shareJournals } from "./shared-journals.ts";
import { commandLine, instancesOf, type Step } from "./steps.ts";

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
  const run: Run = { plan, root, options: options.options, manifest, changes, steps, wasActive };
  const isSettled = steps.length === 0 && !hasNews(run) && options.perform === undefined;
  if (options.dryRun || isSettled) return { steps, warnings, performed: [] };
  const performed = await carryOut(run, host, options);
  return { steps: run.steps, warnings, performed };
}

/** @returns what `perform` did */
async function carryOut(
  run: Run,
  host: InstallHost,
  { perform, start }: ApplyOptions,
): Promise<readonly string[]> {
  const { root, manifest } = run;
  let isBegun = false;
  let performed: Performed = { done: [], changed: [] };
  try {
    beginRun(run);
    isBegun = true;
    if (perform !== undefined) performed = await perform();
    if (start && host.manager !== undefined) restartDependants(run, performed.changed);
    for (const step of run.steps) await carryOutStep(step, host, manifest);
    writeManifest(root, finalManifest(run));
  } catch (error) {
    throw await takeBack(run, host, { error, isBegun });
  }
  removeStrays(root, readManifest(root));
  return performed.done;
}

/** Units that run and need a path that changed, though it is no item. */
function restartDependants(
  { plan, steps, wasActive, manifest }: Run,
  changed: readonly string[],
): void {
  const launched = new Set(steps.flatMap((step) => ("unit" in step ? [step.unit] : [])));
  for (const { name, dependsOn, activation } of plan.units) {
    const isAffected = dependsOn.some((path) => changed.includes(path));
    const isRunning = activation === "start" && wasActive.get(name) === true;
    if (!isAffected || !isRunning || launched.has(name)) continue;
    steps.push({ do: "restart", unit: name });
    for (const unit of manifest.run?.units ?? []) if (unit.name === name) unit.isChanged = true;
  }
}

async function carryOutStep(step: Step, host: InstallHost, manifest: Manifest): Promise<void> {
  const { root, manager } = host;
  switch (step.do) {
    case "item":
      makeChange(root, step.change);
      break;
    case "run":
      await runCommand(host, step.command);
      break;
    case "share journals":
      shareRecorded(root, manifest, step.journals);
      break;
    case "reload":
      await manager?.daemonReload();
      break;
    case "start":
    case "restart":
    case "stop":
      noteUnitsTouched(root, manifest);
      await manager?.[step.do](instancesOf(step.unit));
      break;
    case "purge":
    case "take back accounts":
    case "take back journals":
      throw new RangeError(`Not a step of an installation: ${step.do}`);
  }
}

/** What came since the run was begun is to be shared, too: it is recorded here. */
function shareRecorded(root: string, manifest: Manifest, journals: SharedJournals): void {
  if (manifest.run === null) return;
  const before = findUnshared(root, journals);
  manifest.run.journals[journals.directory] = before;
  writeManifest(root, manifest);
  shareJournals(root, journals, before);
}

/** On disk before the first of them: who takes the run back has to know. */
function noteUnitsTouched(root: string, manifest: Manifest): void {
  if (manifest.run === null || manifest.run.hasUnitsTouched) return;
  manifest.run.hasUnitsTouched = true;
  writeManifest(root, manifest);
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
async function takeBack(
  { plan, root, manifest }: Run,
  host: InstallHost,
  { error, isBegun }: { error: unknown; isBegun: boolean },
): Promise<unknown> {
  const failure = `Cannot install the ${plan.role}`;
  try {
    // Its last write is there, but was not seen to last.
    const isFinal = isBegun && readManifest(root).run === null;
    if (isFinal) writeManifest(root, manifest);
    const problems = (await recoverRun(host)) ?? [];
    removeParents(root, manifest);
    const rest = problems.length === 0 ? "" : `, but for this: ${problems.join("; ")}`;
    return installFailure(error, failure, { consequence: `everything is as it was before${rest}` });
  } catch (again) {
    return installFailure(error, failure, {
      consequence: `this could not be taken back yet: ${reasonOf(again)}`,
      hint: "The next agent install or agent uninstall takes it back",
    });
  }
}
