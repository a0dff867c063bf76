/** Paths of the system that is set up, as paths of this machine: no link in an image leads out of the image. */
import { lstatSync, readlinkSync } from "node:fs";
import { AgentError } from "../errors.ts";

/** As many as the kernel follows. */
const LINKS_MAX = 40;

/**
 * Where `path` is below `root` ("" = this machine). Links on the way to its last part are followed as the system below
 * `root` would: absolute ones begin at `root`, ".." ends there. The last part is only followed if asked for, and need not be there.
 * @throws AgentError E_CONFIG for links in a circle
 */
export function resolveIn(root: string, path: string, isLastFollowed = false): string {
  if (root === "") return path;
  const waiting = partsOf(path);
  const done: string[] = [];
  let links = 0;
  for (let part = waiting.shift(); part !== undefined; part = waiting.shift()) {
    if (part === "..") {
      done.pop();
      continue;
    }
    done.push(part);
    if (waiting.length === 0 && !isLastFollowed) break;
    const here = `${root}/${done.join("/")}`;
    if (lstatSync(here, { throwIfNoEntry: false })?.isSymbolicLink() !== true) continue;
    if (++links > LINKS_MAX) {
      throw new AgentError("E_CONFIG", `Cannot use "${path}": links in a circle below "${root}"`);
    }
    const target = readlinkSync(here);
    if (target.startsWith("/")) done.length = 0;
    else done.pop();
    waiting.unshift(...partsOf(target));
  }
  return `${root}/${done.join("/")}`;
}

/** "/a/b/c" → "/a", "/a/b". */
export function parentsOf(path: string): string[] {
  const parts = partsOf(path);
  return parts.slice(0, -1).map((_, index) => `/${parts.slice(0, index + 1).join("/")}`);
}

function partsOf(path: string): string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".");
}
