/**
 * What an installation has put on a machine and what was there before: `/var/lib/journal-agent/manifest.json`, mode 0600,
 * with `backup/N`, the content of files that were replaced. It is also the undo log: before a run changes anything, `run`
 * holds the state of all that it is going to change, and everything else in it is as the last complete run left it. The
 * write that drops `run` makes the change final; a manifest that has one belongs to a run that was interrupted (`recover.ts`).
 */
import fs from "node:fs";
import { AgentError, errnoOf } from "../errors.ts";
import { replaceSynced, syncDirectory } from "../platform/synced-file.ts";
import { type Found, isDirectory, look, ownAccess, type Saved } from "./disk-state.ts";
import { putDirectory, removeIfEmpty, writeNewFile } from "./disk-write.ts";
import { ROLES, type Role } from "./plan.ts";
import { parentsOf, resolveIn } from "./rooted-path.ts";

export const STATE_DIRECTORY = "/var/lib/journal-agent";
const MANIFEST = `${STATE_DIRECTORY}/manifest.json`;
const BACKUPS = `${STATE_DIRECTORY}/backup`;
const VERSION = 1;

export interface Manifest {
  version: typeof VERSION;
  /**
   * Directories that were made and are no items: those above `STATE_DIRECTORY`, and what was left of an uninstalled role
   * because something was in them. They go when they are empty.
   */
  parents: string[];
  /** Those that are installed. */
  roles: Partial<Record<Role, RoleRecord>>;
  /** By path. */
  items: Record<string, ItemRecord>;
  /** By path; they outlive their roles until they are purged. */
  byproducts: Record<string, ByproductRecord>;
  /** By directory: what was changed of journals that were there before. */
  journals: Record<string, JournalsRecord>;
  /** Like by-products. */
  accounts: AccountsRecord | null;
  /** Content of files that were edited by hand and overwritten all the same. */
  overwritten: { path: string; sha256: string; backup: number }[];
  run: RunRecord | null;
}

export interface RoleRecord {
  /** Of the command line: the next run lays its own over them. */
  options: unknown;
  units: UnitRecord[];
}

export interface UnitRecord {
  name: string;
  dependsOn: string[];
  /** Before the first installation. */
  wasActive: boolean;
}

export interface ItemRecord {
  roles: Role[];
  written: Found;
  before: Saved;
}

export interface ByproductRecord {
  roles: Role[];
  before: ByproductBefore;
}

/** What was there before the first run, below a directory by relative path. */
export interface ByproductBefore {
  top: Saved;
  /** Directories above that were not there. */
  parents: string[];
  inside: Record<string, Saved>;
  /** File ids of journals: they are never changed back, and known when rotation has renamed them. */
  journals: string[];
  /** Files that are too large to be kept: never touched. */
  untouched: string[];
}

export interface JournalsRecord {
  role: Role;
  /** By file id: names change with rotation. */
  before: Record<string, JournalAccess>;
}

export interface JournalAccess {
  gid: number;
  /** Permissions alone. */
  mode: number;
}

export interface AccountsRecord {
  roles: Role[];
  /** Users and groups that systemd-sysusers was told of. */
  names: string[];
  files: Record<string, AccountFile>;
}

export interface AccountFile {
  before: Saved;
  /** SHA-256 of what the last run left; null = nothing; undefined = it was changed by others since. */
  after?: string | null;
}

/** The state before a run of all that it changes. */
export interface RunRecord {
  items: Record<string, Saved>;
  byproducts: Record<string, ByproductBefore>;
  /** By directory; before the run gets there, none. */
  journals: Record<string, JournalsRecord["before"]>;
  accounts: { names: string[]; files: Record<string, Saved> } | null;
  /** In the order in which they are started. */
  units: { name: string; wasActive: boolean; isChanged: boolean }[];
  /** Did the run get as far as to stop, start or restart units? */
  hasUnitsTouched: boolean;
}

/** @throws AgentError E_CONFIG for one of another version or a damaged one; Error of the file system */
export function readManifest(root: string): Manifest {
  let text: string;
  try {
    text = fs.readFileSync(resolveIn(root, MANIFEST), "utf8");
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw error;
    return newManifest();
  }
  const manifest = parseManifest(root, text);
  if (manifest.version !== VERSION) {
    const found = JSON.stringify(manifest.version);
    const message = `Cannot read "${root}${MANIFEST}": version ${found}, need ${VERSION}`;
    throw new AgentError("E_CONFIG", message, { hint: "Use the version of agent that wrote it" });
  }
  return manifest;
}

export function installedRoles(manifest: Manifest): Role[] {
  return ROLES.filter((role) => manifest.roles[role] !== undefined);
}

/** Whole, and on disk when this returns. Backups that it does not mention are removed then. */
export function writeManifest(root: string, manifest: Manifest): void {
  const text = `${JSON.stringify(manifest, undefined, 1)}\n`;
  replaceSynced(resolveIn(root, MANIFEST), text, { mode: 0o600 });
}

/** Directories above `STATE_DIRECTORY` that are not there. */
export function missingParents(root: string): string[] {
  return parentsOf(STATE_DIRECTORY).filter((parent) => !isDirectory(root, parent));
}

/** Makes the directory of manifest and backups. */
export function makeStateDirectory(root: string, parents: readonly string[]): void {
  for (const parent of parents) putDirectory(root, parent, ownAccess(0o755));
  if (!isDirectory(root, STATE_DIRECTORY)) putDirectory(root, STATE_DIRECTORY, ownAccess(0o700));
  fs.mkdirSync(resolveIn(root, BACKUPS), { recursive: true, mode: 0o700 });
}

/** Nothing is left to be remembered. */
export function removeStateDirectory(root: string, manifest: Manifest): void {
  if (isDirectory(root, STATE_DIRECTORY)) {
    const directory = resolveIn(root, STATE_DIRECTORY, true);
    fs.rmSync(resolveIn(root, BACKUPS), { recursive: true, force: true });
    for (const name of strayNames(root)) fs.rmSync(`${directory}/${name}`, { force: true });
    // Last: until then this can be repeated if it is interrupted.
    fs.rmSync(resolveIn(root, MANIFEST), { force: true });
    removeIfEmpty(directory);
  }
  removeParents(root, manifest);
}

/** If nothing is in them. */
export function removeParents(root: string, { parents }: Pick<Manifest, "parents">): void {
  for (const parent of [...parents].sort().reverse()) {
    if (isDirectory(root, parent)) removeIfEmpty(resolveIn(root, parent));
  }
}

/** What is at a path, its content kept if it is a file. @param real its path on this machine */
export function save(root: string, path: string, real: string = resolveIn(root, path)): Saved {
  const found = look("", real, path);
  if (found.kind !== "file") return found;
  return { ...found, backup: saveContent(root, path, real) };
}

/** @returns the number of the backup */
export function saveContent(
  root: string,
  path: string,
  copyOf: string = resolveIn(root, path),
): number {
  const directory = resolveIn(root, BACKUPS, true);
  const numbers = fs.readdirSync(directory).map(Number);
  const backup = Math.max(0, ...numbers) + 1;
  writeNewFile(`${directory}/${backup}`, { copyOf, isLinkRefused: true }, ownAccess(0o600));
  syncDirectory(directory);
  return backup;
}

/** The real paths of backups by their numbers; an image may have brought anything in place of a number. */
export function backupPaths(root: string): (backup: number) => string {
  return (backup) => resolveIn(root, `${BACKUPS}/${Number(backup)}`);
}

/** Removes backups that nothing refers to, and what a killed process left beside the manifest. */
export function removeStrays(root: string, manifest: Manifest): void {
  if (!isDirectory(root, BACKUPS)) return;
  const directory = resolveIn(root, STATE_DIRECTORY, true);
  for (const name of strayNames(root)) fs.rmSync(`${directory}/${name}`, { force: true });
  const needed = new Set<string>();
  JSON.stringify(manifest, (key, value: unknown) => {
    if (key === "backup") needed.add(String(value));
    return value;
  });
  for (const name of fs.readdirSync(resolveIn(root, BACKUPS))) {
    if (!needed.has(name)) fs.rmSync(`${directory}/backup/${name}`, { force: true });
  }
}

/** Half-written manifests. */
function strayNames(root: string): string[] {
  const names = fs.readdirSync(resolveIn(root, STATE_DIRECTORY, true));
  return names.filter((name) => /^manifest\.json\.\d+\.tmp$/.test(name));
}

/** Of a machine on which nothing is installed. */
export function newManifest(): Manifest {
  return {
    version: VERSION,
    parents: [],
    roles: {},
    items: {},
    byproducts: {},
    journals: {},
    accounts: null,
    overwritten: [],
    run: null,
  };
}

function parseManifest(root: string, text: string): Manifest {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && "version" in value) return value as Manifest;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  const message = `Cannot read "${root}${MANIFEST}": damaged, need a manifest of this program`;
  const hint = `Restore it from a backup; "${root}${BACKUPS}" holds the files that were replaced`;
  throw new AgentError("E_CONFIG", message, { hint });
}
