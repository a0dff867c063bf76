/**
 * One process writes to a place: a second receiver would take the first one's open files for unclean and set them
 * aside, a second uploader send everything once more. The lock is one that the kernel holds on a file and drops with the
 * process, however that ends; SQLite takes it, as the runtime has no lock of files of its own. Unlike a socket's name it is
 * the same in every network namespace, and nobody holds it who may not write there.
 */
import { Database } from "bun:sqlite";
import { closeSync, constants, openSync, rmSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { AgentError, errnoOf, reasonOf } from "../errors.ts";

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
 * @throws AgentError E_CONFIG when another process holds it, E_IO when nothing can be written there
 */
export function lockPath(path: string, { purpose, hint }: ProcessLockOptions): ProcessLock {
  const file = lockFile(path, purpose);
  for (;;) {
    const inode = makeLockFile(path, file);
    let database: Database | undefined;
    try {
      database = new Database(file, { readwrite: true, create: false });
      // Nothing is ever written, so no second file for a roll-back.
      database.run("PRAGMA journal_mode = MEMORY");
      database.run("BEGIN EXCLUSIVE");
    } catch (error) {
      database?.close();
      if (inodeOf(file) !== inode) continue;
      if (errnoOf(error) !== "SQLITE_BUSY") throw unusable(path, error);
      const message = `Cannot write to "${path}": another process does`;
      throw new AgentError("E_CONFIG", message, { cause: error, hint });
    }
    const held = database;
    if (inodeOf(file) === inode) return { release: () => release(file, held) };
    // Whoever held it until now has removed it.
    held.close();
  }
}

/** Removed while it is held: who waits for it sees that it is another one then. */
function release(file: string, database: Database): void {
  rmSync(file, { force: true });
  database.close();
}

/** By whatever path, the same file. */
function lockFile(path: string, purpose: string): string {
  const isDirectory = statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  if (isDirectory) return join(path, `.agent-${purpose}.lock`);
  return join(dirname(path), `.${basename(path)}.agent-${purpose}.lock`);
}

/** Makes it if it is not there, for its owner alone: readers could hold it, too. */
function makeLockFile(path: string, file: string): number | undefined {
  try {
    const { O_CREAT, O_WRONLY, O_NOFOLLOW } = constants;
    closeSync(openSync(file, O_CREAT | O_WRONLY | O_NOFOLLOW, 0o600));
    return inodeOf(file);
  } catch (error) {
    throw unusable(path, error);
  }
}

function inodeOf(file: string): number | undefined {
  return statSync(file, { throwIfNoEntry: false })?.ino;
}

function unusable(path: string, error: unknown): AgentError {
  const message = `Cannot write to "${path}": ${reasonOf(error)}`;
  return new AgentError("E_IO", message, { cause: error });
}
