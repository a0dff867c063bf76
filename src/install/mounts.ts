/** How the file system that holds a path is mounted: proc_pid_mountinfo(5). */
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { dirname } from "node:path";

export interface Mount {
  /** Where. */
  point: string;
  isNoexec: boolean;
}

/** The path itself, or the nearest directory above it that is there, without links. */
export function nearestExisting(path: string): string {
  let candidate = path;
  while (!existsSync(candidate)) candidate = dirname(candidate);
  return realpathSync(candidate);
}

/** @param path without links. @returns undefined where the kernel does not tell */
export function mountOf(path: string): Mount | undefined {
  let table: string;
  try {
    table = readFileSync("/proc/self/mountinfo", "utf8");
  } catch {
    return undefined;
  }
  let found: Mount | undefined;
  for (const line of table.split("\n")) {
    const [, , , , where = "", options = ""] = line.split(" ");
    const point = where.replace(/\\(\d{3})/g, (_, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    );
    const isAbove = point === "/" || path === point || path.startsWith(`${point}/`);
    // Of two at one place, the later one is on top.
    if (point === "" || !isAbove || point.length < (found?.point.length ?? 0)) continue;
    found = { point, isNoexec: options.split(",").includes("noexec") };
  }
  return found;
}
