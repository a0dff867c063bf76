/** Errors of the file system, wrapped once: callers decide by the code. */
import { AgentError, errnoOf, reasonOf } from "../errors.ts";

/** @returns E_NO_SPACE for a full disk or quota, E_IO for the rest; an AgentError as it is */
export function journalIoError(verb: string, path: string, error: unknown): AgentError {
  if (error instanceof AgentError) return error;
  const errno = errnoOf(error);
  const isFull = errno === "ENOSPC" || errno === "EDQUOT";
  const message = `Cannot ${verb} journal file "${path}": ${reasonOf(error)}`;
  if (!isFull) return new AgentError("E_IO", message, { cause: error });
  const hint = "Free space on this file system or lower MaxUse=";
  return new AgentError("E_NO_SPACE", message, { cause: error, hint });
}
