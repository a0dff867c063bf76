import { type Clock, systemClock } from "../../src/platform/clock.ts";

/** Real time, made faster: sleeps are shorter by `factor`, and the clock runs that much faster. */
export class ScaledClock implements Clock {
  /** All sleeps so far, as asked for. */
  readonly delaysMs: number[] = [];
  readonly #factor: number;
  readonly #startMs = performance.now();

  constructor(factor: number) {
    this.#factor = factor;
  }

  now(): number {
    return (performance.now() - this.#startMs) * this.#factor;
  }

  async sleep(delayMs: number, signal: AbortSignal): Promise<void> {
    this.delaysMs.push(delayMs);
    await systemClock.sleep(delayMs / this.#factor, signal);
  }

  random(): number {
    return 0;
  }
}
