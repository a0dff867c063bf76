/**
 * Which of several receivers gets the next request: the first that works, in the order they were named. A batch that
 * one of them was given, and did not answer, goes to the next one: then both may have stored it.
 */
import { log } from "../log.ts";
import type { Clock } from "../platform/clock.ts";
import type { Setback } from "./outage.ts";
import type { Target } from "./target.ts";
import { isFromReceiver } from "./verdict.ts";

/** A receiver that failed so often in a row, or asks for more patience than this, is passed over. */
const ATTEMPTS_MAX = 2;
const PATIENCE_MS = 10_000;
/** Between two looks whether a receiver that is named before the current one is back. */
const PROBE_INTERVAL_MS = 60_000;

export interface RouteOptions {
  /** At least one, in the order of preference. */
  targets: readonly Target[];
  clock: Clock;
  signal: AbortSignal;
}

export class Route {
  readonly #options: RouteOptions;
  #current: Target;
  /** Those that are passed over, and until when. */
  readonly #passedOver = new Map<Target, number>();
  #isProbing = false;
  /** The one that accepted the last request, as far as is logged. */
  #worksWith: Target;

  constructor(options: RouteOptions) {
    this.#options = options;
    this.#current = firstOf(options.targets);
    this.#worksWith = this.#current;
  }

  get target(): Target {
    return this.#current;
  }

  /** A request was accepted. */
  worked(target: Target): void {
    target.outage.end();
    this.#passedOver.delete(target);
    if (target === this.#worksWith) return;
    log.warn(`Uploading to "${target.url}" instead of "${this.#worksWith.url}"`);
    this.#worksWith = target;
  }

  /** A request failed. Resolves when the next one is to be sent, to `target`, or the signal aborts. */
  async failed(target: Target, setback: Setback): Promise<void> {
    const { clock, signal } = this.#options;
    const delayMs = target.outage.add(setback);
    if (target !== this.#current) return;
    const isPatient = target.outage.attempts < ATTEMPTS_MAX && delayMs <= PATIENCE_MS;
    if (isPatient || this.#options.targets.length === 1) {
      await clock.sleep(delayMs, signal);
      return;
    }
    this.#passedOver.set(target, clock.now() + delayMs);
    const next = this.#nextTarget();
    const waitMs = (this.#passedOver.get(next) ?? 0) - clock.now();
    if (waitMs > 0) await clock.sleep(waitMs, signal);
    this.#switchTo(next);
  }

  close(): void {
    for (const target of this.#options.targets) target.close();
  }

  /** The first that is not passed over, or else the one that is soonest to be tried again. */
  #nextTarget(): Target {
    const nowMs = this.#options.clock.now();
    const untilMs = (target: Target): number =>
      Math.max(nowMs, this.#passedOver.get(target) ?? nowMs);
    return this.#options.targets.reduce((best, target) =>
      untilMs(target) < untilMs(best) ? target : best,
    );
  }

  #switchTo(target: Target): void {
    if (target === this.#current) return;
    this.#current = target;
    void this.#probe();
  }

  /** Looks now and then, beside the uploading, whether a preferred receiver is back. */
  async #probe(): Promise<void> {
    if (this.#isProbing) return;
    this.#isProbing = true;
    const { targets, clock, signal } = this.#options;
    while (this.#current !== targets[0] && !signal.aborted) {
      await clock.sleep(PROBE_INTERVAL_MS, signal);
      for (const target of targets.slice(0, targets.indexOf(this.#current))) {
        const verdict = signal.aborted ? undefined : await target.probe();
        if (verdict === undefined || !isFromReceiver(verdict)) continue;
        this.worked(target);
        this.#switchTo(target);
        break;
      }
    }
    this.#isProbing = false;
  }
}

function firstOf(targets: readonly Target[]): Target {
  const [target] = targets;
  if (target === undefined) throw new RangeError("Cannot upload: no target");
  return target;
}
