/** A time in which one receiver does not take what it is sent: what is logged of it, and when it is tried again. */
import { log } from "../log.ts";
import { retryDelayMs } from "../platform/backoff.ts";
import type { Clock } from "../platform/clock.ts";

/** Different reasons that are logged: one may be worded differently each time. */
const REASONS_MAX = 20;
/** What comes and goes is logged no more often than this. */
const REPEAT_REASON_MS = 600_000;

export interface Setback {
  reason: string;
  hint: string | undefined;
  /** What the receiver asks for; 0 = nothing. */
  retryAfterMs: number;
}

export class Outage {
  readonly #url: string;
  readonly #clock: Pick<Clock, "now" | "random">;
  /** Reason → when it was logged. */
  readonly #toldMs = new Map<string, number>();
  /** Something was logged of this outage. */
  #isTold = false;
  #attempts = 0;
  #startMs = 0;
  #reason: string | undefined;

  /** @param url for messages */
  constructor(url: string, clock: Pick<Clock, "now" | "random">) {
    this.#url = url;
    this.#clock = clock;
  }

  /** Attempts in a row that failed; 0 = it works. */
  get attempts(): number {
    return this.#attempts;
  }

  /** Why the last one failed; undefined when it works. */
  get reason(): string | undefined {
    return this.#reason;
  }

  /** An attempt failed. Returns after how many milliseconds it is to be tried again. */
  add({ reason, hint, retryAfterMs }: Setback): number {
    if (this.#attempts === 0) this.#startMs = this.#clock.now();
    const delayMs = retryDelayMs(this.#attempts, this.#clock.random());
    this.#attempts++;
    this.#reason = reason;
    this.#tell(reason, hint);
    if (retryAfterMs === 0) return delayMs;
    // Not all of those who were told the same come at the same moment.
    return Math.max(retryAfterMs + Math.round(1000 * this.#clock.random()), 1000);
  }

  /** The last attempt that is made failed. */
  giveUp({ reason, hint }: Setback): void {
    this.#reason = reason;
    log.error(`${reason}; giving up attempts=${this.#attempts + 1}`);
    if (hint !== undefined) log.info(hint);
  }

  /** An attempt succeeded. */
  end(): void {
    if (this.#attempts === 0) return;
    const seconds = Math.round((this.#clock.now() - this.#startMs) / 1000);
    if (this.#isTold) {
      log.info(
        `Uploading to "${this.#url}" works again seconds=${seconds} attempts=${this.#attempts}`,
      );
    }
    this.#attempts = 0;
    this.#reason = undefined;
    this.#isTold = false;
    const nowMs = this.#clock.now();
    for (const [reason, toldMs] of this.#toldMs) {
      if (nowMs - toldMs >= REPEAT_REASON_MS) this.#toldMs.delete(reason);
    }
  }

  /** Each reason once in an outage. */
  #tell(reason: string, hint: string | undefined): void {
    if (this.#toldMs.has(reason) || this.#toldMs.size >= REASONS_MAX) {
      log.debug(reason);
      return;
    }
    this.#toldMs.set(reason, this.#clock.now());
    this.#isTold = true;
    log.warn(`${reason}; it is tried again until it works`);
    if (hint !== undefined) log.info(hint);
  }
}
