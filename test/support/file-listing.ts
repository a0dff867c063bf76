/** Everything below a directory, to be compared: kind, mode, owner and content of each file. */
import { createHash } from "node:crypto";
import { lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";

export interface ListingOptions {
  /** Relative paths that are left out, with all that is below them. */
  without?: readonly string[];
  /** Whether a file that was written anew is another one; default: it is. */
  times?: boolean;
}

/** Lines by relative path; "." is the directory itself. */
export function listFiles(directory: string, options: ListingOptions = {}): Map<string, string> {
  const { without = [], times = true } = options;
  const lines = new Map<string, string>();
  const visit = (name: string): void => {
    if (without.includes(name)) return;
    const path = join(directory, name);
    lines.set(name, describe(path, times));
    if (!lstatSync(path).isDirectory()) return;
    for (const entry of readdirSync(path).sort()) visit(join(name, entry));
  };
  visit(".");
  return lines;
}

/** What is new, gone or other, by path. */
export function changedFiles(
  before: ReadonlyMap<string, string>,
  after: ReadonlyMap<string, string>,
): string[] {
  const names = new Set([...before.keys(), ...after.keys()]);
  return [...names].filter((name) => before.get(name) !== after.get(name)).sort();
}

function describe(path: string, times: boolean): string {
  const stat = lstatSync(path);
  const access = `${(stat.mode & 0o7777).toString(8)} ${stat.uid}:${stat.gid}`;
  if (stat.isSymbolicLink()) return `link ${access} ${readlinkSync(path)}`;
  if (stat.isDirectory()) return `directory ${access}`;
  if (!stat.isFile()) return `other ${access} ${stat.mode >> 12}`;
  const hash = createHash("sha256").update(readFileSync(path)).digest("hex");
  return `file ${access} ${times ? `${stat.mtimeMs} ` : ""}${hash}`;
}
