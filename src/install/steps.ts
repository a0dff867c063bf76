/** What is done, as data: the same list is carried out, printed by --dry-run and printed when it is done. */
import type { Change, Changes } from "./changes.ts";
import type { Found } from "./disk-state.ts";
import type { Plan, PlanItem, PlannedCommand, PlannedFile, SharedJournals } from "./plan.ts";

export type Step =
  | { do: "stop" | "start" | "restart"; unit: string }
  | { do: "item"; change: Change }
  | { do: "run"; command: PlannedCommand }
  | { do: "share journals"; journals: SharedJournals; count: number }
  | { do: "take back journals"; directory: string; count: number }
  | { do: "reload" }
  | { do: "purge"; path: string; isRemoved: boolean }
  | { do: "take back accounts"; names: readonly string[] };

/** What was changed since the units were started last. */
export function changedPaths({ changes }: Pick<Changes, "changes">): Set<string> {
  return new Set(changes.map(({ path }) => path));
}

export function isUnitFile(path: string): boolean {
  return path.includes("/systemd/system/");
}

/** A template is stopped by its instances. */
export function instancesOf(unit: string): string {
  return unit.replace("@.", "@*.");
}

export function commandsToRun(plan: Plan, { changes }: Changes): PlannedCommand[] {
  const made = new Set(changes.filter(({ kind }) => kind !== "remove").map(({ path }) => path));
  return plan.commands.filter(({ after }) => after.some((path) => made.has(path)));
}

/** "%ROOT%" is where the system is: "" for this machine. */
export function commandLine({ argv }: PlannedCommand, root: string): string[] {
  return argv.map((word) => word.replaceAll("%ROOT%", root));
}

/**
 * Lines for the terminal: `create /etc/a.conf 0644 root:root  the unit's drop-in`.
 * @param withContent followed by what text files will hold, indented
 */
export function describeStep(
  step: Step,
  { root, withContent }: { root: string; withContent: boolean },
): string[] {
  switch (step.do) {
    case "item":
      return describeChange(step.change, withContent);
    case "run":
      return [`run ${commandLine(step.command, root).join(" ")}  ${step.command.purpose}`];
    case "share journals": {
      const { directory, group } = step.journals;
      return [`let group ${group} read ${countJournals(step.count)} in ${directory}`];
    }
    case "take back journals":
      return [`restore group and mode of ${countJournals(step.count)} in ${step.directory}`];
    case "reload":
      return ["run systemctl daemon-reload"];
    case "purge":
      return [`${step.isRemoved ? "remove" : "restore"} ${step.path}`];
    case "take back accounts":
      // Without any, what the tools made beside the files goes.
      return step.names.length === 0
        ? ["restore the files of users and groups"]
        : [`remove users and groups ${step.names.join(", ")}`];
    case "stop":
    case "start":
    case "restart":
      return [`${step.do} ${step.unit}`];
  }
}

function countJournals(count: number): string {
  return count === 1 ? "1 journal" : `${count} journals`;
}

function describeChange(change: Change, withContent: boolean): string[] {
  if (change.kind === "remove") {
    const { before } = change.record;
    if (before.kind === "nothing") return [`remove ${change.path}`];
    return [`restore ${change.path}${accessOf(before)}`];
  }
  const { kind, path, item, written } = change;
  const target = item.kind === "link" ? ` -> ${item.target}` : accessOf(written);
  const line = `${kind} ${path}${item.kind === "directory" ? "/" : ""}${target}  ${item.purpose}`;
  return withContent && kind !== "mode" ? [line, ...contentOf(item)] : [line];
}

function accessOf(state: Found): string {
  if (state.kind === "nothing" || state.kind === "link") return "";
  const { mode, uid, gid } = state;
  const name = (id: number): string => (id === 0 ? "root" : String(id));
  return ` ${mode.toString(8).padStart(4, "0")} ${name(uid)}:${name(gid)}`;
}

function contentOf(item: PlanItem): string[] {
  if (item.kind !== "file") return [];
  const text = textOf(item);
  return text
    .replace(/\n$/, "")
    .split("\n")
    .map((line) => (line === "" ? "" : `    ${line}`));
}

function textOf({ data, isSecret }: PlannedFile): string {
  if (typeof data === "object" && "copyOf" in data) return `(a copy of ${data.copyOf})`;
  const bytes = Buffer.from(data);
  if (isSecret === true) return `(secret, ${bytes.length} bytes)`;
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return `(${bytes.length} bytes)`;
  }
}
