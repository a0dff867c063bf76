/** What has to change so that the disk is as a plan says: plan + disk + manifest → changes. Nothing is written here. */
import { AgentError } from "../errors.ts";
import {
  type Found,
  hashBytes,
  hashFile,
  isDirectory,
  isSameAccess,
  isSameContent,
  look,
  ownAccess,
} from "./disk-state.ts";
import type { ItemRecord, Manifest, UnitRecord } from "./manifest.ts";
import type { Plan, PlanItem, Role } from "./plan.ts";
import { parentsOf } from "./rooted-path.ts";

/** "mode": the content is right, mode or owner are not. */
export interface ItemChange {
  kind: "create" | "update" | "mode";
  path: string;
  item: PlanItem;
  found: Found;
  written: Found;
}

/** What was there before comes back. */
export interface ItemRemoval {
  kind: "remove";
  path: string;
  record: ItemRecord;
  found: Found;
}

export type Change = ItemChange | ItemRemoval;

export interface EditedFile {
  path: string;
  found: Found;
  /** Never made by us. */
  isForeign: boolean;
}

export interface Changes {
  /** In the order in which they are made. */
  changes: Change[];
  /** What they would destroy though somebody else wrote it. */
  edited: EditedFile[];
  /** Edited files that need no change: left alone. */
  kept: string[];
  /** Items of the manifest that are as planned, though the role is new to them or somebody else made them so. */
  adopted: { path: string; found: Found }[];
  /** Items of the manifest that the role shares no longer; the disk does not change. */
  released: string[];
  /** Units of the role that the plan no longer has. */
  droppedUnits: UnitRecord[];
}

/**
 * @param force edited files that need no change are made as planned as well
 * @throws AgentError E_CONFIG when something of another kind is in the way
 */
export function planChanges(
  plan: Plan,
  manifest: Manifest,
  { root, force }: { root: string; force: boolean },
): Changes {
  const items = withParents(plan, manifest, root);
  const result: Changes = {
    changes: [],
    edited: [],
    kept: [],
    adopted: [],
    released: [],
    droppedUnits: [],
  };
  for (const item of items) compareItem(item, plan.role, manifest, { root, force }, result);
  const planned = new Set(items.map(({ path }) => path));
  for (const removal of removalsOf(manifest, [plan.role], root)) {
    if (planned.has(removal.path)) continue;
    result.changes.push(removal);
    if (isEdited(removal.found, removal.record)) {
      result.edited.push({ path: removal.path, found: removal.found, isForeign: false });
    }
  }
  for (const [path, { roles }] of Object.entries(manifest.items)) {
    const isShared = roles.length > 1 && roles.includes(plan.role);
    if (isShared && !planned.has(path)) result.released.push(path);
  }
  const units = new Set(plan.units.map(({ name }) => name));
  const known = manifest.roles[plan.role]?.units ?? [];
  result.droppedUnits = known.filter(({ name }) => !units.has(name));
  return result;
}

/** The items that only these roles need, the deepest first. */
export function removalsOf(
  manifest: Manifest,
  roles: readonly Role[],
  root: string,
): ItemRemoval[] {
  return Object.entries(manifest.items)
    .filter(([, record]) => record.roles.every((role) => roles.includes(role)))
    .sort(([a], [b]) => (a < b ? 1 : -1))
    .map(([path, record]) => ({ kind: "remove", path, record, found: look(root, path) }));
}

/** Neither what we wrote nor what was there before. What is gone was not edited, nor were directories. */
export function isEdited(found: Found, record: ItemRecord | undefined): boolean {
  if (found.kind === "nothing" || found.kind === "directory") return false;
  if (record === undefined) return true;
  return !isSameContent(found, record.written) && !isSameContent(found, record.before);
}

/** @throws AgentError E_CONFIG naming all of them */
export function refuseEdited(edited: readonly EditedFile[], verb: "replace" | "remove"): void {
  if (edited.length === 0) return;
  const nameAll = (isForeign: boolean): string[] =>
    edited.filter((file) => file.isForeign === isForeign).map(({ path }) => `"${path}"`);
  const byHand = nameAll(false);
  const foreign = nameAll(true);
  const reasons = [
    ...(byHand.length > 0 ? [`${byHand.join(", ")} edited by hand`] : []),
    ...(foreign.length > 0 ? [`${foreign.join(", ")} not made by this program`] : []),
  ];
  const message = `Cannot ${verb} files: ${reasons.join("; ")}`;
  const hint = `Look at what is in them; --force ${verb}s them all the same`;
  throw new AgentError("E_CONFIG", message, { hint });
}

/** Directories above items that are not there, or that were made earlier for this. */
function withParents(plan: Plan, manifest: Manifest, root: string): PlanItem[] {
  const planned = new Set(plan.items.map(({ path }) => path));
  const items: PlanItem[] = [];
  for (const item of plan.items) {
    for (const path of parentsOf(item.path)) {
      if (planned.has(path)) continue;
      if (manifest.items[path] === undefined && isDirectory(root, path)) continue;
      planned.add(path);
      items.push({ kind: "directory", path, mode: 0o755, purpose: "for what is in it" });
    }
    items.push(item);
  }
  return items;
}

function compareItem(
  item: PlanItem,
  role: Role,
  manifest: Manifest,
  { root, force }: { root: string; force: boolean },
  result: Changes,
): void {
  const { path } = item;
  const record = manifest.items[path];
  const found = look(root, path);
  const written = plannedState(item);
  const kind = changeKind(item, found, written, root);
  if (record !== undefined && kind === undefined) {
    const isKnown = record.roles.includes(role) && isSameContent(found, record.written);
    if (!isKnown) result.adopted.push({ path, found });
  }
  if (kind === undefined) return;
  const change: Change = { kind, path, item, found, written };
  if (kind === "update" && isEdited(found, record)) {
    if (!force && record !== undefined && isSameContent(written, record.written)) {
      result.kept.push(path);
      return;
    }
    result.edited.push({ path, found, isForeign: record === undefined });
  }
  result.changes.push(change);
}

/** @returns undefined when it is as planned */
function changeKind(
  item: PlanItem,
  found: Found,
  written: Found,
  root: string,
): ItemChange["kind"] | undefined {
  if (found.kind === "nothing") return "create";
  if (item.kind === "directory") {
    // Whatever its mode is: it is somebody's decision.
    if (isDirectory(root, item.path)) return undefined;
  } else if (found.kind !== "directory") {
    if (isSuchLink(item, found)) return undefined;
    if (!isSameContent(found, written)) return "update";
    if (found.kind !== "file" || written.kind !== "file") return undefined;
    return isSameAccess(found, written) ? undefined : "mode";
  }
  const message = `Cannot make "${item.path}": a ${found.kind} is there, need a ${item.kind} or nothing`;
  throw new AgentError("E_CONFIG", message);
}

/** Units are enabled by the name of a link, wherever the unit is. */
function isSuchLink(item: PlanItem, found: Found): boolean {
  if (item.kind !== "link" || found.kind !== "link") return false;
  return lastPart(found.target) === lastPart(item.target);
}

function lastPart(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** @throws Error of the file system for a copy whose source cannot be read */
function plannedState(item: PlanItem): Found {
  if (item.kind === "link") {
    const { uid, gid } = ownAccess(0);
    return { kind: "link", target: item.target, uid, gid };
  }
  const access = ownAccess(item.mode);
  if (item.kind === "directory") return { kind: "directory", ...access };
  const { data } = item;
  const isCopy = typeof data === "object" && "copyOf" in data;
  const sha256 = isCopy ? hashFile(data.copyOf) : hashBytes(data);
  return { kind: "file", sha256, ...access, mtimeMs: 0 };
}
