/**
 * Configuration files as systemd's daemons read them: one main file, then drop-ins.
 * systemd.syntax(7); for the order of directories, journal-remote.conf(5) of systemd 256.
 */
import { type Dirent, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { errnoOf, reasonOf } from "../errors.ts";

/** One `Key=value` line, not judged yet: keys and sections may be unknown. */
interface Assignment {
  file: string;
  /** Counted from 1; of a continued line, where it begins. */
  line: number;
  section: string;
  key: string;
  /** Without the blanks around it; "" resets the key. */
  value: string;
}

interface SectionHeader {
  file: string;
  line: number;
  section: string;
}

/** What is wrong with a file. Never fatal: the rest of the configuration still holds. */
interface ConfigProblem {
  file: string;
  line: number | undefined;
  message: string;
}

export interface ParsedConfig {
  assignments: Assignment[];
  sections: SectionHeader[];
  problems: ConfigProblem[];
}

export interface LoadedConfig extends ParsedConfig {
  /** The files read, in the order they apply: a later one wins. */
  files: string[];
}

export interface ConfigLocation {
  /** Base name: "journal-remote" stands for journal-remote.conf and journal-remote.conf.d/. */
  name: string;
  /** Read this file alone, no other and no drop-ins (SYSTEMD_…_CONFIG_FILE). */
  onlyFile?: string | undefined;
  /** The directory that stands for `/`. */
  root?: string | undefined;
}

/** Highest precedence first. */
const CONFIG_DIRECTORIES = [
  "etc/systemd",
  "run/systemd",
  "usr/local/lib/systemd",
  "usr/lib/systemd",
];

/** Finds, reads and parses; what cannot be read is a problem in the result, not an exception. */
export function loadConfig(location: ConfigLocation): LoadedConfig {
  const loaded: LoadedConfig = { files: [], assignments: [], sections: [], problems: [] };
  for (const file of listConfigFiles(location, loaded.problems)) {
    const text = readText(file, loaded.problems);
    if (text === undefined) continue;
    loaded.files.push(file);
    const parsed = parseConfig(text, file);
    loaded.assignments.push(...parsed.assignments);
    loaded.sections.push(...parsed.sections);
    loaded.problems.push(...parsed.problems);
  }
  return loaded;
}

/** @param file only named in the result. */
export function parseConfig(text: string, file: string): ParsedConfig {
  const parsed: ParsedConfig = { assignments: [], sections: [], problems: [] };
  // undefined: none yet. null: after a broken header, where keys belong to nothing we know.
  let section: string | null | undefined;
  for (const { line, text: content } of logicalLines(text)) {
    const report = (message: string): void => {
      parsed.problems.push({ file, line, message });
    };
    if (content.startsWith("[")) {
      section = content.endsWith("]") ? content.slice(1, -1) : null;
      if (section === null) report(`Invalid section header "${content}", ignoring what follows it`);
      else parsed.sections.push({ file, line, section });
    } else if (section === undefined) {
      report("Assignment outside of a section, ignoring");
    } else if (section !== null) {
      const equals = content.indexOf("=");
      const key = content.slice(0, Math.max(equals, 0)).trim();
      const value = content.slice(equals + 1).trim();
      if (equals < 0) report('Missing "=", ignoring the line');
      else if (key === "") report('Missing key before "=", ignoring the line');
      else parsed.assignments.push({ file, line, section, key, value });
    }
  }
  return parsed;
}

/** The files that exist and are not masked, in the order they apply. */
function listConfigFiles(location: ConfigLocation, problems: ConfigProblem[]): string[] {
  if (location.onlyFile !== undefined) return [location.onlyFile];
  const directories = CONFIG_DIRECTORIES.map((path) => join(location.root ?? "/", path));
  const main = directories
    .map((directory) => join(directory, `${location.name}.conf`))
    .find((file) => statSync(file, { throwIfNoEntry: false }) !== undefined);
  const dropIns = new Map<string, string>();
  for (const directory of directories) {
    const folder = join(directory, `${location.name}.conf.d`);
    for (const entry of listFolder(folder, problems)) {
      if (!entry.name.endsWith(".conf") || entry.name.startsWith(".")) continue;
      const file = join(folder, entry.name);
      const isFile = statSync(file, { throwIfNoEntry: false })?.isDirectory() === false;
      if (isFile && !dropIns.has(entry.name)) dropIns.set(entry.name, file);
    }
  }
  const byName = [...dropIns].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  const unmasked = byName.map(([, file]) => file).filter((file) => !isEmpty(file));
  return main === undefined ? unmasked : [main, ...unmasked];
}

function listFolder(folder: string, problems: ConfigProblem[]): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") problems.push(unreadable(folder, error));
    return [];
  }
}

/** Empty files and links to /dev/null mask the files of that name in later directories. */
function isEmpty(file: string): boolean {
  const stats = statSync(file);
  return stats.isCharacterDevice() || (stats.isFile() && stats.size === 0);
}

function readText(file: string, problems: ConfigProblem[]): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    problems.push(unreadable(file, error));
    return undefined;
  }
}

function unreadable(file: string, error: unknown): ConfigProblem {
  return { file, line: undefined, message: `Cannot read it, ignoring: ${reasonOf(error)}` };
}

/** Lines joined at a final backslash, without blanks around them, comments and empty lines. */
function* logicalLines(text: string): Generator<{ line: number; text: string }> {
  let pending: { line: number; text: string } | undefined;
  for (const [index, raw] of text
    .replace(/^\uFEFF/, "")
    .split("\n")
    .entries()) {
    // A comment does not end a continued line: it is skipped in the middle of one, too.
    if (/^\s*[#;]/.test(raw)) continue;
    const current = { line: pending?.line ?? index + 1, text: (pending?.text ?? "") + raw };
    pending = undefined;
    // An even number of backslashes is escaped backslashes, not a continuation.
    if (/(?<!\\)(\\\\)*\\\r?$/.test(current.text)) {
      pending = { line: current.line, text: current.text.replace(/\\\r?$/, " ") };
      continue;
    }
    const content = current.text.trim();
    if (content !== "") yield { line: current.line, text: content };
  }
  const rest = pending?.text.trim() ?? "";
  if (pending !== undefined && rest !== "") yield { line: pending.line, text: rest };
}
