/** Errors of journal files, worded once: callers decide by the code. */
import { AgentError, errnoOf, reasonOf } from "../errors.ts";

/** @returns E_NO_SPACE for a full disk or quota, E_IO for the rest; an AgentError as it is */
export function journalIoError(verb: string, path: string, error: unknown): AgentError {
  return wrap(isFull(error) ? "E_NO_SPACE" : "E_IO", verb, path, error);
}

/**
 * The error of an fsync or fdatasync: E_IO whatever it is. Linux tells of pages that it could not write once
 * and then takes them for clean, so the next sync succeeds without them: the file is beyond repair, even
 * where space comes back.
 */
export function journalSyncError(path: string, error: unknown): AgentError {
  return wrap("E_IO", "sync", path, error);
}

/** @returns E_JOURNAL_CORRUPT: what is wrong at `offset` of a file that is read */
export function journalCorrupt(path: string, offset: number, what: string): AgentError {
  const message = `Cannot read "${path}" at ${offset}: ${what}`;
  return new AgentError("E_JOURNAL_CORRUPT", message, { offset });
}

function wrap(code: "E_IO" | "E_NO_SPACE", verb: string, path: string, error: unknown): AgentError {
  if (error instanceof AgentError) return error;
  const message = `Cannot ${verb} journal file "${path}": ${reasonOf(error)}`;
  if (!isFull(error)) return new AgentError(code, message, { cause: error });
  const hint = "Free space on this file system or lower MaxUse=";
  return new AgentError(code, message, { cause: error, hint });
}

function isFull(error: unknown): boolean {
  const errno = errnoOf(error);
  return errno === "ENOSPC" || errno === "EDQUOT";
}
