/**
 * Where journal files are: sd-journal.c: add_search_paths(), add_root_directory(), add_directory(). Roots hold files, and
 * directories named by a machine id, those of a namespace by `<machine id>.<namespace>`.
 */
import { type Dirent, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { parseId128 } from "../bytes/id128.ts";
import { AgentError, errnoOf, reasonOf } from "../errors.ts";
import { machineId } from "../platform/host.ts";
import { isGlob } from "./glob.ts";
import { listPaths } from "./path-glob.ts";
import type { PlaceSettings } from "./settings.ts";

/** What was found at one look. */
export interface FoundJournals {
  files: string[];
  /** Those that were looked into: where files may appear. */
  directories: string[];
  /** What could not be looked into. */
  problems: AgentError[];
}

export interface JournalPlaces {
  /** They are journals of this machine, as it runs. */
  readonly isLocal: boolean;
  list(): FoundJournals;
}

/** Facts about this machine. */
export interface PlaceHost {
  /** In front of all paths that are not given by the user. */
  root: string;
  /** 32 hex digits, or something else where there is none. */
  machineId: string;
  uid: number;
}

/** Which directories and files of a root count. */
interface RootRule {
  /** Of directories named by a machine id. */
  acceptsMachine(id: string): boolean;
  acceptsNamespace(name: string | undefined): boolean;
  acceptsFile(name: string): boolean;
}

/** What helps where files or directories may not be read. */
export const READERS_HINT =
  'Journals may be read by root and members of the group "systemd-journal"';

const RUNTIME_ROOT = "/run/log/journal";
const PERSISTENT_ROOT = "/var/log/journal";
/** What systemd-journal-remote, and `agent serve`, receive. */
const REMOTE_ROOT = "/var/log/journal/remote";
const MACHINES = "/run/systemd/machines";

/** @throws AgentError E_CONFIG when there is no such place */
export function openPlaces(settings: PlaceSettings, host: PlaceHost = thisHost()): JournalPlaces {
  if (settings.files.length > 0) return filePlaces(settings.files);
  if (settings.directory !== undefined) return directoryPlaces(settings.directory, settings, host);
  if (settings.machine !== undefined && settings.machine !== ".host") {
    return machinePlaces(settings.machine, settings, host);
  }
  return localPlaces(settings, host);
}

function thisHost(): PlaceHost {
  return { root: "", machineId: machineId(), uid: process.getuid?.() ?? 0 };
}

function localPlaces(settings: PlaceSettings, { root, machineId, uid }: PlaceHost): JournalPlaces {
  const rule = ruleOf(settings, uid);
  const isOwn = (id: string): boolean => settings.merge || id === machineId;
  const persistent = { ...rule, acceptsMachine: isOwn };
  const roots: [string, RootRule][] = [
    [root + RUNTIME_ROOT, rule],
    [root + PERSISTENT_ROOT, persistent],
  ];
  if (settings.merge) roots.push([root + REMOTE_ROOT, rule]);
  return { isLocal: true, list: () => listRoots(roots) };
}

function directoryPlaces(
  directory: string,
  settings: PlaceSettings,
  { uid }: PlaceHost,
): JournalPlaces {
  requirePath(directory, "directory");
  const rule = ruleOf(settings, uid);
  return { isLocal: false, list: () => listRoots([[directory, rule]]) };
}

function machinePlaces(name: string, settings: PlaceSettings, host: PlaceHost): JournalPlaces {
  const root = machineRoot(name, host);
  const rule = ruleOf(settings, host.uid);
  const roots: [string, RootRule][] = [
    [join(root, RUNTIME_ROOT), rule],
    [join(root, PERSISTENT_ROOT), rule],
  ];
  return { isLocal: false, list: () => listRoots(roots) };
}

function filePlaces(patterns: readonly string[]): JournalPlaces {
  for (const pattern of patterns) if (!isGlob(pattern)) requirePath(pattern, "file");
  const list = (): FoundJournals => {
    const files = [...new Set(patterns.flatMap((pattern) => listPaths(pattern)))];
    const directories = [...patterns, ...files].map((path) => normalize(dirname(path)));
    // Of a pattern with wildcards among its directories, only those that match are watched.
    const existing = [...new Set(directories)].filter((path) => !isGlob(path));
    return { files, directories: existing, problems: [] };
  };
  return { isLocal: false, list };
}

function ruleOf({ system, user, namespace }: PlaceSettings, uid: number): RootRule {
  const prefixes = [...(system ? ["system"] : []), ...(user ? [`user-${uid}`] : [])];
  return {
    acceptsMachine: () => true,
    acceptsNamespace: (name): boolean => {
      if (namespace === "*") return true;
      if (namespace?.startsWith("+")) return name === undefined || name === namespace.slice(1);
      return name === namespace;
    },
    acceptsFile: (name): boolean => {
      if (!/\.journal~?$/.test(name)) return false;
      if (prefixes.length === 0) return true;
      return prefixes.some((prefix) => {
        const rest = name.startsWith(prefix) ? name.slice(prefix.length) : "";
        return rest === ".journal" || rest === ".journal~" || rest.startsWith("@");
      });
    },
  };
}

function listRoots(roots: readonly (readonly [string, RootRule])[]): FoundJournals {
  const found: FoundJournals = { files: [], directories: [], problems: [] };
  for (const [root, rule] of roots) {
    for (const entry of listDirectory(root, rule, found)) {
      const [id, namespace, ...rest] = entry.name.split(".");
      const isJournals =
        id !== undefined && id.length === 32 && parseId128(id) !== undefined && rest.length === 0;
      if (!isJournals || entry.isFile()) continue;
      if (!rule.acceptsMachine(id) || !rule.acceptsNamespace(namespace)) continue;
      listDirectory(join(root, entry.name), rule, found);
    }
  }
  return found;
}

/** Takes in the files of one directory. Returns what else is there. */
function listDirectory(directory: string, rule: RootRule, found: FoundJournals): Dirent[] {
  let entries: Dirent[];
  try {
    entries = readdirSync(directory, { withFileTypes: true });
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === "ENOENT" || errno === "ENOTDIR") return [];
    found.problems.push(
      new AgentError("E_IO", `Cannot look for journals in "${directory}": ${reasonOf(error)}`, {
        cause: error,
        hint: READERS_HINT,
      }),
    );
    return [];
  }
  found.directories.push(directory);
  const others: Dirent[] = [];
  for (const entry of entries) {
    if (!entry.isDirectory() && rule.acceptsFile(entry.name)) {
      found.files.push(join(directory, entry.name));
    } else others.push(entry);
  }
  return others;
}

/** @throws AgentError E_CONFIG */
function requirePath(path: string, kind: "file" | "directory"): void {
  try {
    const stat = statSync(path);
    if (kind === "file" || stat.isDirectory()) return;
  } catch (error) {
    throw new AgentError("E_CONFIG", `Cannot read journals of "${path}": ${reasonOf(error)}`, {
      cause: error,
    });
  }
  throw new AgentError("E_CONFIG", `Cannot read journals of "${path}": it is no ${kind}`, {
    hint: "Name single files with --file=",
  });
}

/** Where the files of a running container are. systemd-machined keeps a file of variables about each. */
function machineRoot(name: string, { root }: PlaceHost): string {
  const unusable = (problem: string, cause?: unknown): AgentError =>
    new AgentError("E_CONFIG", `Cannot read the journal of machine "${name}": ${problem}`, {
      cause,
      hint: 'Running containers are listed by "machinectl list"',
    });
  if (!/^[a-zA-Z0-9_.-]+$/.test(name) || name.startsWith(".")) {
    throw unusable("that is no name of a machine");
  }
  let text: string;
  try {
    text = readFileSync(join(root, MACHINES, name), "utf8");
  } catch (error) {
    throw unusable(errnoOf(error) === "ENOENT" ? "it does not run" : reasonOf(error), error);
  }
  const values = new Map<string, string>();
  for (const line of text.split("\n")) {
    const [, key, value] = /^([A-Z_]+)=(.*)$/.exec(line) ?? [];
    if (key !== undefined && value !== undefined) values.set(key, value.replace(/^"(.*)"$/, "$1"));
  }
  if (values.get("CLASS") !== "container") throw unusable("it is not a container");
  const leader = values.get("LEADER");
  if (leader !== undefined && /^\d+$/.test(leader)) return join(root, "/proc", leader, "root");
  const own = values.get("ROOT");
  if (own === undefined || own === "") throw unusable("nothing tells where its files are");
  return join(root, own);
}
