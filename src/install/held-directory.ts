/**
 * Paths below a directory that is not root's: reached through descriptors of the directories on the way, so that a link which
 * its owner puts in the place of one of them meanwhile leads nowhere.
 */
import fs from "node:fs";
import { AgentError, errnoOf } from "../errors.ts";

/**
 * @param path of a directory; a link at its last part is not followed
 * @param action gets a path that stays that of the directory, whatever is renamed
 * @throws Error of the file system, ENOTDIR where there is something else
 */
export function inDirectory<T>(path: string, action: (held: string) => T): T {
  const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = fs.constants;
  const fd = fs.openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  try {
    return action(`/proc/self/fd/${fd}`);
  } finally {
    fs.closeSync(fd);
  }
}

/**
 * @param name relative to `top`, "a/b/c"
 * @param action gets a path of it that no link leads away from, but perhaps one at its last part
 * @throws AgentError E_CONFIG for a name that leads upwards, as only somebody else's manifest has one
 */
export function inParentOf<T>(top: string, name: string, action: (path: string) => T): T {
  const parts = name.split("/");
  if (parts.some((part) => ["", ".", ".."].includes(part))) {
    const message = `Cannot use the name "${name}": need one of a file below a directory`;
    throw new AgentError("E_CONFIG", message);
  }
  return follow(top, parts, action);
}

function follow<T>(
  directory: string,
  [part = "", ...others]: string[],
  action: (path: string) => T,
): T {
  return inDirectory(directory, (held) => {
    const path = `${held}/${part}`;
    return others.length === 0 ? action(path) : follow(path, others, action);
  });
}

/** Of what was there a moment ago: it is gone, or is something else by now. */
export function isReplaced(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR", "ELOOP"].includes(errnoOf(error) ?? "");
}
