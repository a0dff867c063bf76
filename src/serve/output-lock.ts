/**
 * One process writes to an output: a second one would take the first one's open files for unclean and
 * set them aside. The lock is an abstract UNIX socket named after the directory's device and inode, which
 * the kernel removes with the process, however that ends.
 */
import { statSync } from "node:fs";
import { basename, dirname } from "node:path";
import { AgentError, errnoOf } from "../errors.ts";

export interface OutputLock {
  release(): void;
}

/**
 * @param output directory or file that journals are written to
 * @throws AgentError E_CONFIG when another process holds it
 */
export function lockOutput(output: string): OutputLock {
  const name = lockName(output);
  try {
    const listener = Bun.listen({
      unix: `\0${name}`,
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
    throw new AgentError("E_CONFIG", `Cannot write to "${output}": another process does`, {
      cause: error,
      hint: "Give each receiver an --output= of its own",
    });
  }
}

/** The same by whatever path: a directory is known by its inode, a file by its directory and name. */
function lockName(output: string): string {
  const isDirectory = statSync(output, { throwIfNoEntry: false })?.isDirectory() === true;
  const directory = isDirectory ? output : dirname(output);
  const stat = statSync(directory, { throwIfNoEntry: false });
  const place = stat === undefined ? directory : `${stat.dev}:${stat.ino}`;
  return `journal-agent/serve/${place}${isDirectory ? "" : `/${basename(output)}`}`;
}
