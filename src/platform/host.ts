/** Facts about this machine. */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";

/** The machine id, or the host name where there is none: stays the same over restarts. */
export function machineId(): string {
  try {
    const text = readFileSync("/etc/machine-id", "utf8").trim();
    if (/^[0-9a-f]{32}$/.test(text)) return text;
  } catch {
    // A container without one.
  }
  return hostname();
}

/** Files that this process may have open at a time, sockets included; undefined where nothing tells. */
export function openFilesLimit(): number | undefined {
  try {
    const text = readFileSync("/proc/self/limits", "latin1");
    const [, soft] = /^Max open files +(\d+)/m.exec(text) ?? [];
    return soft === undefined ? undefined : Number(soft);
  } catch {
    return undefined;
  }
}
