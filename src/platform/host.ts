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
