/** Whatever ended an installation, as an error for users. */
import { AgentError, errnoOf, reasonOf } from "../errors.ts";

/**
 * @param failure "Cannot install the server"
 * @param consequence what is so now
 * @returns the error itself if it is a bug
 */
export function installFailure(
  error: unknown,
  failure: string,
  { consequence, hint }: { consequence: string; hint?: string },
): unknown {
  const errno = errnoOf(error);
  if (!(error instanceof AgentError) && errno === undefined) return error;
  const message = `${failure}: ${reasonOf(error)}; ${consequence}`;
  const ownHint = error instanceof AgentError ? error.hint : undefined;
  const shown = hint ?? ownHint;
  const isFull = errno === "ENOSPC" || errno === "EDQUOT";
  const code = error instanceof AgentError ? error.code : isFull ? "E_NO_SPACE" : "E_IO";
  const details = shown === undefined ? {} : { hint: shown };
  return new AgentError(code, message, { cause: error, ...details });
}
