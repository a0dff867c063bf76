/**
 * One process writes to a place: a second receiver would take the first one's open files for unclean and set them
 * aside, a second uploader send everything once more. The lock is an abstract UNIX socket named after the
 * directory's device and inode, which the kernel removes with the process, however that ends.
 */
import { statSync } from "node:fs";
import { basename, dirname } from "node:path";
import { AgentError, errnoOf } from "../errors.ts";

export interface ProcessLock {
  release(): void;
}

export interface ProcessLockOptions {
  /** Locks for different purposes do not see each other. */
  purpose: "serve" | "upload" | "certs" | "install";
  /** What the operator can do when another process holds it. */
  hint: string;
}

/**
 * @param path directory or file that is written to; its directory exists
 * @throws AgentError E_CONFIG when another process holds it
 */
export function lockPath(path: string, { purpose, hint }: ProcessLockOptions): ProcessLock {
  try {
    const listener = Bun.listen({
      unix: `\0${lockName(path, purpose)}`,
      socket: {
        open(socket) {
          socket.end();
        },
        data() {},
      },
    });
    listener.unref();
    return { release: () => listener.stop(true) };
  } catch (error) {
    if (errnoOf(error) !== "EADDRINUSE") throw error;
    const message = `Cannot write to "${path}": another process does`;
    throw new AgentError("E_CONFIG", message, { cause: error, hint });
  }
}

/** The same by whatever path: a directory is known by its inode, a file by its directory and name. */
function lockName(path: string, purpose: string): string {
  const isDirectory = statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  const directory = isDirectory ? path : dirname(path);
  const stat = statSync(directory, { throwIfNoEntry: false });
  const place = stat === undefined ? directory : `${stat.dev}:${stat.ino}`;
  return `journal-agent/${purpose}/${place}${isDirectory ? "" : `/${basename(path)}`}`;
}
