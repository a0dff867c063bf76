/**
 * "Never silent": whatever is refused, cut or dropped at the network front is counted by reason
 * and logged: the first time at once, after that at most once a minute with the count.
 */

const LOG_INTERVAL_MS = 60_000;
/** Reasons are few and fixed; the ceiling only guards against a reason built from peer's text. */
const REASONS_MAX = 256;

export interface CountersOptions {
  /** Writes one line of log. */
  warn(line: string): void;
  nowMs(): number;
}

interface Tally {
  count: number;
  /** Occurrences no line of log speaks of yet. */
  unreported: number;
  loggedMs: number;
  lastMessage: string;
}

/** Counts by reason. `flush()` has to be called now and then, so that the last burst is reported. */
export class Counters {
  readonly #options: CountersOptions;
  readonly #tallies = new Map<string, Tally>();

  constructor(options: CountersOptions) {
    this.#options = options;
  }

  /**
   * @param reason short and fixed: "request-path".
   * @param message what happened to whom; text from the peer has to be quoted in it.
   */
  count(reason: string, message: string): void {
    const tally = this.#tallyOf(reason);
    tally.count++;
    tally.unreported++;
    tally.lastMessage = message;
    this.#report(reason, tally);
  }

  /** Reports what has been held back for a minute. */
  flush(): void {
    for (const [reason, tally] of this.#tallies) {
      if (tally.unreported > 0) this.#report(reason, tally);
    }
  }

  /** Occurrences since the start, by reason. */
  counts(): ReadonlyMap<string, number> {
    return new Map([...this.#tallies].map(([reason, tally]) => [reason, tally.count]));
  }

  #tallyOf(reason: string): Tally {
    const name = this.#tallies.size < REASONS_MAX || this.#tallies.has(reason) ? reason : "other";
    let tally = this.#tallies.get(name);
    if (tally === undefined) {
      tally = { count: 0, unreported: 0, loggedMs: Number.NEGATIVE_INFINITY, lastMessage: "" };
      this.#tallies.set(name, tally);
    }
    return tally;
  }

  #report(reason: string, tally: Tally): void {
    const nowMs = this.#options.nowMs();
    if (nowMs - tally.loggedMs < LOG_INTERVAL_MS) return;
    const repeated = tally.count > 1 ? ` new=${tally.unreported} total=${tally.count}` : "";
    this.#options.warn(`${tally.lastMessage} reason=${reason}${repeated}`);
    tally.loggedMs = nowMs;
    tally.unreported = 0;
  }
}
