/**
 * Brings one body to a receiver, however often that has to be tried: until it is accepted, or it is clear that it is
 * the body and not the receiver or the way there.
 */
import type { Clock } from "../platform/clock.ts";
import type { Body } from "./batch.ts";
import type { RateLimiter } from "./rate-limit.ts";
import type { Route } from "./route.ts";
import type { RetrySettings } from "./settings.ts";
import type { Sent, Target } from "./target.ts";
import type { Refused, Verdict } from "./verdict.ts";

/** A refused body is sent so often before it is taken for the culprit: something else may have been wrong. */
const REFUSALS_MAX = 2;
const CUTS_MAX = 3;

export interface CourierOptions {
  route: Route;
  limiter: RateLimiter;
  retry: RetrySettings;
  /** The first failure ends it. */
  exitOnFailure: boolean;
  clock: Clock;
  signal: AbortSignal;
}

/** How it ended. "stopped": the signal aborted; "gave-up": the settings allow no further attempt. */
export type Delivered =
  | { kind: "accepted" | "stopped" | "gave-up" }
  | { kind: "refused"; verdict: Refused; target: Target };

export interface DeliverOptions {
  /** The first attempt, when it was already made. */
  sent?: Sent | undefined;
  /** How often it may be refused, by the receiver or by a cut; default: a few times. */
  refusalsMax?: number;
  cutsMax?: number;
}

export class Courier {
  readonly #options: CourierOptions;
  /** Attempts in a row that failed, whatever the receiver, and since when. */
  #failures = 0;
  #failingSinceMs = 0;

  constructor(options: CourierOptions) {
    this.#options = options;
  }

  /** Sends a body to the current receiver; does not wait for the answer. */
  async send(body: Body, isPlain = false): Promise<Sent> {
    const { route, limiter, signal } = this.#options;
    return await route.target.send(body, {
      isPlain,
      async beforeSend(sizeBytes) {
        await limiter.take(sizeBytes, body.entryCount, signal);
        return !signal.aborted;
      },
    });
  }

  async deliver(body: Body, options: DeliverOptions = {}): Promise<Delivered> {
    const { signal } = this.#options;
    const attempts = new Attempts(options, this.#options.exitOnFailure);
    let { sent } = options;
    for (;;) {
      sent ??= await this.send(body, attempts.isPlain);
      const current = sent;
      const { target } = current;
      const verdict = await current.verdict;
      sent = undefined;
      if (verdict.kind === "accepted") {
        if (attempts.isPlain) target.preferPlain();
        this.#failures = 0;
        this.#options.route.worked(target);
        return verdict;
      }
      if (signal.aborted) return { kind: "stopped" };
      if (verdict.kind === "refused") {
        const next = attempts.afterRefusal(verdict, current);
        if (next === "refused") return { kind: "refused", verdict, target };
        if (next === "now") continue;
      }
      if (!(await this.setBack(target, verdict))) return { kind: this.endKind };
    }
  }

  /** Why there is no further attempt. */
  get endKind(): "stopped" | "gave-up" {
    return this.#options.signal.aborted ? "stopped" : "gave-up";
  }

  /** An attempt failed. Resolves when the next one may be made, with false when there is to be none. */
  async setBack(target: Target, verdict: Exclude<Verdict, { kind: "accepted" }>): Promise<boolean> {
    const { route, retry, exitOnFailure, clock, signal } = this.#options;
    if (this.#failures === 0) this.#failingSinceMs = clock.now();
    this.#failures++;
    const failingUsec = (clock.now() - this.#failingSinceMs) * 1000;
    const isLast =
      exitOnFailure || this.#failures >= retry.attemptsMax || failingUsec >= retry.durationUsecMax;
    if (isLast) {
      target.outage.giveUp(verdict);
      return false;
    }
    await route.failed(target, verdict);
    return !signal.aborted;
  }
}

/** What was tried with one body. */
class Attempts {
  /** The next one is to be in the form that every receiver takes. */
  isPlain = false;
  readonly #refusalsMax: number;
  readonly #cutsMax: number;
  readonly #exitOnFailure: boolean;
  #refusals = 0;
  #cuts = 0;

  constructor({ refusalsMax, cutsMax }: DeliverOptions, exitOnFailure: boolean) {
    this.#refusalsMax = refusalsMax ?? REFUSALS_MAX;
    this.#cutsMax = cutsMax ?? CUTS_MAX;
    this.#exitOnFailure = exitOnFailure;
  }

  /** What to do after one more refusal: try again at once or later, or take it for final. */
  afterRefusal({ about }: Refused, { target, isPlain }: Sent): "now" | "later" | "refused" {
    if (about === "cut") this.#cuts++;
    // Size and form will not be any other the next time.
    else this.#refusals += about === "entries" ? 1 : this.#refusalsMax;
    // A connection that was idle may have been closed just now: that is nobody's fault.
    const isFirstTrouble = target.outage.attempts === 0;
    if (this.#cuts === 1 && this.#cutsMax > 1 && isFirstTrouble) return "now";
    if (this.#refusals < this.#refusalsMax && this.#cuts < this.#cutsMax) return "later";
    // Some receivers cut the connection over an encoding; ours never does over what it announced.
    const mayBeForm = about !== "size" && !(about === "cut" && target.isOurs);
    this.isPlain = !isPlain && mayBeForm;
    if (this.isPlain) return "now";
    return this.#exitOnFailure ? "later" : "refused";
  }
}
