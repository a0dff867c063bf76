/** Opens a file, pipe or standard input to be read from where it stands. */
import { closeSync, constants, fstatSync, openSync, type Stats } from "node:fs";
import { type FileHandle, open, stat } from "node:fs/promises";
import { AgentError, reasonOf } from "../errors.ts";

export const STDIN_FD = 0;
const RELEASE_INTERVAL_MS = 20;

/** An open descriptor. */
export interface Input {
  fd: number;
  stats: Stats;
  /** Standard input stays open. */
  close(): Promise<void>;
}

/**
 * @param path "-" is standard input
 * @throws AgentError E_IO, for a directory too; a signal that aborts while a FIFO waits for its writer gives it an end
 */
export async function openInput(path: string, signal: AbortSignal): Promise<Input> {
  try {
    if (path === "-")
      return { fd: STDIN_FD, stats: fstatSync(STDIN_FD), close: () => Promise.resolve() };
    const handle = await openPath(path, signal);
    const stats = await handle.stat();
    if (!stats.isDirectory()) return { fd: handle.fd, stats, close: () => handle.close() };
    await handle.close();
  } catch (cause) {
    throw new AgentError("E_IO", `Cannot open "${path}": ${reasonOf(cause)}`, { cause });
  }
  throw new AgentError("E_IO", `Cannot open "${path}": it is a directory, a file is needed`, {
    hint: "export a directory's journals with: journalctl -D DIR -o export",
  });
}

/** Opening a FIFO waits for its writer; the signal ends that wait. */
async function openPath(path: string, signal: AbortSignal): Promise<FileHandle> {
  if (!(await stat(path)).isFIFO()) return open(path, "r");
  const opening = open(path, "r");
  let timer: ReturnType<typeof setInterval> | undefined;
  const release = (): void => {
    // Again and again: the thread that opens it may not have come to its wait yet.
    timer = setInterval(() => releaseFifoReader(path), RELEASE_INTERVAL_MS);
    releaseFifoReader(path);
  };
  signal.addEventListener("abort", release, { once: true });
  if (signal.aborted) release();
  try {
    return await opening;
  } finally {
    signal.removeEventListener("abort", release);
    clearInterval(timer);
  }
}

/** An open(2) that waits cannot be cancelled, but being the writer it waits for ends it. */
function releaseFifoReader(path: string): void {
  try {
    closeSync(openSync(path, constants.O_WRONLY | constants.O_NONBLOCK));
  } catch {
    // Nobody waits any more, or we may not write to it: then the wait ends with the real writer.
  }
}
