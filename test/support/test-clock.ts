import { setImmediate as nextTurn } from "node:timers/promises";
import type { Clock } from "../../src/platform/clock.ts";

/** A clock whose sleeps take no time and are written down. */
export class TestClock implements Clock {
  readonly delaysMs: number[] = [];
  nowMs: number;
  readonly #random: number;

  constructor(nowMs = 0, random = 0) {
    this.nowMs = nowMs;
    this.#random = random;
  }

  now(): number {
    return this.nowMs;
  }

  async sleep(delayMs: number): Promise<void> {
    this.delaysMs.push(delayMs);
    this.nowMs += delayMs;
    await nextTurn();
  }

  random(): number {
    return this.#random;
  }
}
