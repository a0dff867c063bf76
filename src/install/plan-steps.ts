/** Changes of the disk and states of units → what is done, in order. */
import type { Changes } from "./changes.ts";
import type { InstallHost } from "./host.ts";
import type { Manifest } from "./manifest.ts";
import type { Plan, PlannedUnit } from "./plan.ts";
import { findUnshared } from "./shared-journals.ts";
import { changedPaths, commandsToRun, instancesOf, isUnitFile, type Step } from "./steps.ts";
import { inStopOrder, serviceOf } from "./unit-order.ts";

export interface StepContext {
  host: InstallHost;
  manifest: Manifest;
  wasActive: ReadonlyMap<string, boolean>;
  /** Are units started and restarted? */
  start: boolean;
}

/** Those that run now, by name. */
export async function activeUnits(
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

/** In the order in which they are done. */
export function planSteps(plan: Plan, changes: Changes, context: StepContext): Step[] {
  const { host, wasActive, start } = context;
  const steps: Step[] = [];
  if (host.manager !== undefined) {
    const dropped = changes.droppedUnits.filter(({ name }) => wasActive.get(name));
    for (const { name } of inStopOrder(dropped)) steps.push({ do: "stop", unit: name });
  }
  for (const change of changes.changes) steps.push({ do: "item", change });
  for (const command of commandsToRun(plan, changes)) steps.push({ do: "run", command });
  const { sharedJournals: journals } = plan;
  if (journals !== undefined) {
    const count = Object.keys(findUnshared(host.root, journals)).length;
    if (count > 0) steps.push({ do: "share journals", journals, count });
  }
  if (host.manager === undefined) return steps;
  if ([...changedPaths(changes)].some(isUnitFile)) steps.push({ do: "reload" });
  if (!start) return steps;
  return [...steps, ...launches(plan, changes, context)];
}

/** A socket is not started while its service runs: systemd refuses that, or the port is in use. */
function launches(plan: Plan, changes: Changes, { wasActive, manifest }: StepContext): Step[] {
  const steps: Step[] = [];
  const stopped = new Set<string>();
  const stop = (unit: string): void => {
    steps.push({ do: "stop", unit });
    stopped.add(unit);
  };
  const names = new Set(plan.units.map(({ name }) => name));
  for (const unit of plan.units) {
    const { name } = unit;
    if (unit.activation === "none") continue;
    const isRunning = wasActive.get(name) === true;
    const isToRestart = isRunning && isAffected(unit, changes, manifest);
    const service = serviceOf(name);
    // Others start a service for each connection, which has no part in the port.
    if (service !== undefined && names.has(service)) {
      if (isToRestart) stop(name);
      if (isToRestart || (!isRunning && wasActive.get(service) === true)) stop(service);
    }
    if (!isRunning || stopped.has(name)) steps.push({ do: "start", unit: name });
    else if (isToRestart) steps.push({ do: "restart", unit: name });
  }
  return steps;
}

/** By what it depends on, or depended on until now. */
function isAffected(
  { name, dependsOn }: PlannedUnit,
  changes: Changes,
  manifest: Manifest,
): boolean {
  const changed = changedPaths(changes);
  const records = Object.values(manifest.roles).flatMap(({ units }) => units);
  const before = records.filter((unit) => unit.name === name).flatMap((unit) => unit.dependsOn);
  return [...dependsOn, ...before].some((path) => changed.has(path));
}
