/** What the store does to the directory of its files. Whatever fails is an AgentError. */
import fs from "node:fs";
import { join } from "node:path";
import { AgentError, reasonOf } from "../../errors.ts";
import { journalIoError, journalSyncError } from "../../journal/io-error.ts";
import { syncDirectory as syncNames } from "../../platform/synced-file.ts";
import { archivedFileName, uncleanFileName } from "./names.ts";

/** Names of everything in it. @throws AgentError E_IO */
export function listNames(directory: string): string[] {
  try {
    return fs.readdirSync(directory);
  } catch (error) {
    throw directoryError("list", directory, error);
  }
}

/** Whether anything has this name: a file, a directory, a link that leads nowhere. @throws AgentError E_IO */
export function exists(path: string): boolean {
  try {
    return fs.lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch (error) {
    throw journalIoError("look at", path, error);
  }
}

/** @throws AgentError E_IO, E_NO_SPACE */
export function renameFile(path: string, target: string): void {
  try {
    fs.renameSync(path, target);
  } catch (error) {
    throw journalIoError("rename", path, error);
  }
}

/** Removes a file that holds nothing. Failing is no harm: it will be found, and be empty. */
export function removeFile(path: string): void {
  try {
    fs.rmSync(path, { force: true });
  } catch {
    // The file system is read-only, perhaps.
  }
}

/**
 * Gives a file that is not to be continued the name systemd gives such files; returns the new path.
 * @param isDoubtful nothing in it is to count as stored, not even after a restart
 * @throws AgentError E_IO, E_NO_SPACE
 */
export function setAside(
  path: string,
  directory: string,
  base: string,
  nowUsec: number,
  isDoubtful: boolean,
): string {
  const random = crypto.getRandomValues(new Uint8Array(8));
  const target = join(directory, uncleanFileName(base, nowUsec, random, isDoubtful));
  renameFile(path, target);
  return target;
}

/**
 * Where a file goes when it is archived. The time in its name is moved on by a microsecond while another file
 * has that name: rename() would replace it.
 * @param seqnumId 16 bytes
 */
export function archivePath(
  directory: string,
  base: string,
  seqnumId: Uint8Array,
  headSeqnum: number,
  headRealtimeUsec: number,
): string {
  for (let realtime = headRealtimeUsec; ; realtime++) {
    const path = join(directory, archivedFileName(base, seqnumId, headSeqnum, realtime));
    if (!exists(path)) return path;
  }
}

/**
 * Makes what a file holds durable.
 * @returns why that failed: from then on nobody knows what of it is on disk, and a second try would lie
 * @throws AgentError E_IO, E_NO_SPACE when it cannot be opened, which may be tried again
 */
export function syncFile(path: string): AgentError | undefined {
  let fd: number;
  try {
    fd = fs.openSync(path, "r");
  } catch (error) {
    throw journalIoError("open", path, error);
  }
  try {
    fs.fdatasyncSync(fd);
    return undefined;
  } catch (error) {
    return journalSyncError(path, error);
  } finally {
    fs.closeSync(fd);
  }
}

/** Makes new and changed names durable. @throws AgentError E_IO */
export function syncDirectory(directory: string): void {
  try {
    syncNames(directory);
  } catch (error) {
    throw directoryError("sync", directory, error);
  }
}

function directoryError(verb: string, directory: string, error: unknown): AgentError {
  const message = `Cannot ${verb} "${directory}": ${reasonOf(error)}`;
  return new AgentError("E_IO", message, { cause: error });
}
