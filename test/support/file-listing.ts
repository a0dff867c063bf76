/** Everything below a directory, to be compared: kind, mode, owner and content of each file. */
import { createHash } from "node:crypto";
import { lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";

/** Lines by relative path; "." is the directory itself. */
export function listFiles(directory: string): Map<string, string> {
  const names = readdirSync(directory, { recursive: true, encoding: "utf8" });
  return new Map([".", ...names.sort()].map((name) => [name, describe(join(directory, name))]));
}

/** What is new, gone or other, by path. */
export function changedFiles(
  before: ReadonlyMap<string, string>,
  after: ReadonlyMap<string, string>,
): string[] {
  const names = new Set([...before.keys(), ...after.keys()]);
  return [...names].filter((name) => before.get(name) !== after.get(name)).sort();
}

function describe(path: string): string {
  const stat = lstatSync(path);
  const access = `${(stat.mode & 0o7777).toString(8)} ${stat.uid}:${stat.gid}`;
  if (stat.isSymbolicLink()) return `link ${access} ${readlinkSync(path)}`;
  if (stat.isDirectory()) return `directory ${access}`;
  const hash = createHash("sha256").update(readFileSync(path)).digest("hex");
  return `file ${access} ${stat.mtimeMs} ${hash}`;
}
