/** Users and groups of this machine, as its files name them: accounts of system services are nowhere else. */
import { readFileSync } from "node:fs";

/** @returns the number, undefined for a user that is not there */
export function findUser(name: string): number | undefined {
  return findId("/etc/passwd", name);
}

/** @param file of another system than this one */
export function findGroup(name: string, file = "/etc/group"): number | undefined {
  return findId(file, name);
}

/** passwd(5) and group(5): name, password and number come first in both. */
function findId(file: string, name: string): number | undefined {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
  const line = text.split("\n").find((candidate) => candidate.startsWith(`${name}:`));
  const id = line?.split(":")[2] ?? "";
  return /^\d+$/.test(id) ? Number(id) : undefined;
}
