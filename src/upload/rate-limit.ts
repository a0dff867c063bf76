/** How fast entries may go out: token buckets that hold what one second allows. */
import type { Clock } from "../platform/clock.ts";

export interface RateLimits {
  /** 0 = no limit. */
  bytesPerSec: number;
  entriesPerSec: number;
}

/**
 * Delays what would be too fast. What is taken may be more than a bucket holds: it is then in debt, and the next one
 * waits until that is paid, so that the mean rate is kept whatever the size of batches.
 */
export class RateLimiter {
  readonly #limits: RateLimits;
  readonly #clock: Clock;
  #bytes: number;
  #entries: number;
  #refilledMs: number;

  constructor(limits: RateLimits, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
    this.#bytes = limits.bytesPerSec;
    this.#entries = limits.entriesPerSec;
    this.#refilledMs = clock.now();
  }

  /** Resolves when so much may be sent, or the signal aborts. */
  async take(bytes: number, entries: number, signal: AbortSignal): Promise<void> {
    const { bytesPerSec, entriesPerSec } = this.#limits;
    if (bytesPerSec === 0 && entriesPerSec === 0) return;
    for (;;) {
      this.#refill();
      const delayMs = Math.max(
        delayOf(this.#bytes, Math.min(bytes, bytesPerSec), bytesPerSec),
        delayOf(this.#entries, Math.min(entries, entriesPerSec), entriesPerSec),
      );
      if (delayMs === 0 || signal.aborted) break;
      await this.#clock.sleep(delayMs, signal);
    }
    this.#bytes -= bytes;
    this.#entries -= entries;
  }

  #refill(): void {
    const nowMs = this.#clock.now();
    const seconds = Math.max(0, nowMs - this.#refilledMs) / 1000;
    this.#refilledMs = nowMs;
    const { bytesPerSec, entriesPerSec } = this.#limits;
    this.#bytes = Math.min(bytesPerSec, this.#bytes + seconds * bytesPerSec);
    this.#entries = Math.min(entriesPerSec, this.#entries + seconds * entriesPerSec);
  }
}

/** Milliseconds until `wanted` is there; 0 without a limit. */
function delayOf(there: number, wanted: number, perSec: number): number {
  if (perSec === 0 || there >= wanted) return 0;
  return Math.max(1, Math.ceil(((wanted - there) / perSec) * 1000));
}
