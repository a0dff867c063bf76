/**
 * One process writes to an output: a second one would take the first one's open files for unclean and
 * set them aside. The lock is an abstract UNIX socket named after the directory's device and inode, which
 * the kernel removes with the process, however that ends.
 */
import { statSync } from "node:fs";
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

/** A file that does not exist yet is known by its path. */
function lockName(output: string): string {
  const stat = statSync(output, { throwIfNoEntry: false });
  const identity = stat?.isDirectory() ? `${stat.dev}:${stat.ino}` : output;
  return `journal-agent/serve/${identity}`;
}
