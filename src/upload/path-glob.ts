/** Paths by pattern, as glob(7): wildcards within names, and names with a dot in front only where it is written. */
import { type Dirent, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { compileGlob, isGlob } from "./glob.ts";

/** The paths of files that match, in no order; relative ones for a relative pattern. */
export function listPaths(pattern: string): string[] {
  const names = pattern.split("/").filter((name) => name !== "");
  const start = pattern.startsWith("/") ? "/" : "";
  return listBelow(start, names).filter((path) => isThere(path));
}

function listBelow(base: string, [name, ...rest]: readonly string[]): string[] {
  if (name === undefined) return base === "" ? [] : [base];
  if (!isGlob(name)) return listBelow(join(base, name), rest);
  const matches = compileGlob(name);
  return entriesOf(base === "" ? "." : base)
    .filter((entry) => rest.length === 0 || !entry.isFile())
    .filter((entry) => matches(entry.name) && (name.startsWith(".") || !entry.name.startsWith(".")))
    .flatMap((entry) => listBelow(join(base, entry.name), rest));
}

function entriesOf(directory: string): Dirent[] {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch {
    // Not a directory, or none that may be looked into: nothing matches there.
    return [];
  }
}

function isThere(path: string): boolean {
  try {
    return !(statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? true);
  } catch {
    return false;
  }
}
