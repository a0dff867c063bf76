/**
 * When a file that could not be read is tried again: what failed may pass, as descriptors and memory that ran out or a
 * server that is away. Counted in regular looks at the directories, which come every few seconds: at the 1st, the 3rd,
 * the 7th, … and from then on every 16th.
 */
import { type AgentError, errnoOf } from "../../errors.ts";

/** With a look every 2 seconds these take 3.7 minutes. */
const RETRIES_MAX = 10;
const LOOKS_MAX = 16;

/** Of a file that was never opened: others, such as ENXIO, do not pass. */
const PASSING_ERRORS = ["EMFILE", "ENFILE", "ENOMEM", "EIO", "ESTALE", "EACCES"];

export class Retry {
  #failures = 0;
  #looksLeft = 0;

  /** It is given up: what waits for it need not wait longer. */
  get isUsedUp(): boolean {
    return this.#failures > RETRIES_MAX;
  }

  get isDue(): boolean {
    return this.#looksLeft <= 0;
  }

  /** It was tried and failed. */
  fail(): void {
    this.#looksLeft = Math.min(2 ** this.#failures, LOOKS_MAX);
    this.#failures++;
  }

  /** There was a regular look. */
  pass(): void {
    this.#looksLeft--;
  }
}

export function isPassing(error: AgentError): boolean {
  return PASSING_ERRORS.includes(errnoOf(error.cause) ?? "");
}
