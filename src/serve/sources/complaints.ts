/** What is told of one gateway's troubles: each reason once, and once more when they are over. */
import type { AgentError } from "../../errors.ts";
import { log } from "../../log.ts";
import type { Clock } from "../../platform/clock.ts";
import type { Gateway } from "./gateway.ts";
import { describeError } from "./source.ts";

/** The same reason is told again after this. */
const REPEAT_REASON_MS = 3_600_000;

/** Different reasons told in that time: a refusal may be worded differently each time. */
const REASONS_MAX = 20;

/** Lives as long as its gateway is followed. */
export class Complaints {
  readonly #gateway: Gateway;
  readonly #clock: Pick<Clock, "now">;
  /** Reason → when it was told. */
  readonly #toldMs = new Map<string, number>();
  #recoveryDue = false;
  #current: AgentError | undefined;

  constructor(gateway: Gateway, clock: Pick<Clock, "now">) {
    this.#gateway = gateway;
    this.#clock = clock;
  }

  /** What keeps the gateway from being followed at present. */
  get current(): AgentError | undefined {
    return this.#current;
  }

  /** A connection failed; it is tried again. */
  add(error: AgentError): void {
    this.#current = error;
    const text = describeError(error);
    if (!this.#isNew(error.message)) {
      log.debug(text);
      return;
    }
    log.warn(`${text}; it is tried again until it works`);
    this.#recoveryDue = true;
  }

  /** The gateway starts at another entry than the one asked for. */
  addGap(askedCursor: string, firstCursor: string): void {
    const text = `Entries of "${this.#gateway.name}" may be missing: the gateway no longer has the one stored last`;
    if (this.#isNew(text)) log.warn(`${text} stored="${askedCursor}" first="${firstCursor}"`);
  }

  /** The gateway answers with entries. */
  clear(): void {
    this.#current = undefined;
    if (this.#recoveryDue) log.info(`Pulling from "${this.#gateway.href}" works again`);
    this.#recoveryDue = false;
  }

  #isNew(reason: string): boolean {
    const now = this.#clock.now();
    for (const [told, toldMs] of this.#toldMs) {
      if (now - toldMs >= REPEAT_REASON_MS) this.#toldMs.delete(told);
    }
    if (this.#toldMs.has(reason) || this.#toldMs.size >= REASONS_MAX) return false;
    this.#toldMs.set(reason, now);
    return true;
  }
}
