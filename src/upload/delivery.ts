/**
 * Brings a batch to a receiver. One entry that is never taken does not hold up the others: a batch that is refused is
 * split until the entry is found, and that one is set aside.
 *
 * A receiver that is misconfigured or in trouble refuses everything, and nothing may be set aside for that. So an
 * entry counts as the culprit only when it is refused right after the receiver has taken others; an entry that is
 * refused with nothing taken since is a suspect. With many suspects in a row, the first of them and one further entry
 * are tried at a time, as rarely as a receiver is tried that is away. Where there is no other entry to try, a request
 * without entries tells whether the receiver takes anything; that is weaker evidence, good for a few entries in a row.
 */
import { type Body, firstCursor, sliceBody, toExport } from "./batch.ts";
import type { Courier, Delivered } from "./courier.ts";
import type { Quarantine } from "./quarantine.ts";
import type { Sent, Target } from "./target.ts";
import { isFromReceiver, type Refused } from "./verdict.ts";

/** Entries in a row that are refused with nothing taken in between; from then on it is the receiver's trouble. */
const SUSPECTS_MAX = 10;

const ONCE = { refusalsMax: 1, cutsMax: 1 } as const;
/** An entry sent alone is taken for the culprit after so many cuts; a refusal by status is enough at once. */
const CUTS_MAX_ALONE = 2;

export type DeliveryEnd = "delivered" | "stopped" | "gave-up";

/** Entries `from` to `to` (not included) of a body. */
interface Range {
  from: number;
  to: number;
}

export interface DeliveryOptions {
  courier: Courier;
  quarantine: Quarantine;
}

/** Goes on from one batch to the next. */
interface Streak {
  /** Entries set aside since something was taken. */
  setAside: number;
}

export class Delivery {
  readonly #options: DeliveryOptions;
  readonly #streak: Streak = { setAside: 0 };

  constructor(options: DeliveryOptions) {
    this.#options = options;
  }

  /** Resolves when all entries are stored or set aside, or there will be no further attempt. Never rejects. */
  async deliver(body: Body, sent: Sent): Promise<DeliveryEnd> {
    const delivered = await this.#options.courier.deliver(body, { sent });
    if (delivered.kind === "accepted") this.#streak.setAside = 0;
    if (delivered.kind !== "refused") return endOf(delivered.kind);
    return await new SplitDelivery(toExport(body), this.#options, this.#streak).run(delivered);
  }
}

/** Of one batch that was refused as a whole. */
class SplitDelivery {
  readonly #body: Body;
  readonly #courier: Courier;
  readonly #quarantine: Quarantine;
  readonly #streak: Streak;
  /** What is still to be sent, the next one last. */
  readonly #rest: Range[] = [];
  /** Refused one by one, with nothing taken since. */
  #suspects: Range | undefined;

  constructor(body: Body, { courier, quarantine }: DeliveryOptions, streak: Streak) {
    this.#body = body;
    this.#courier = courier;
    this.#quarantine = quarantine;
    this.#streak = streak;
  }

  async run(first: Delivered): Promise<DeliveryEnd> {
    const whole = { from: 0, to: this.#body.entryCount };
    let end = await this.#takeResult(whole, first);
    while (end === "delivered") {
      const range = this.#rest.pop();
      if (range === undefined) {
        if (this.#suspects === undefined) break;
        end = await this.#endWithSuspects(this.#suspects);
      } else if (this.#isDoubtful && sizeOf(range) > 1) {
        this.#split(range, range.from + 1);
      } else {
        const alone = sizeOf(range) === 1;
        const limits = { refusalsMax: 1, cutsMax: alone ? CUTS_MAX_ALONE : 1 };
        end = await this.#takeResult(
          range,
          await this.#courier.deliver(this.#slice(range), limits),
        );
      }
    }
    return end;
  }

  /** So many were refused that it is probably not them. */
  get #isDoubtful(): boolean {
    const suspects = this.#suspects === undefined ? 0 : sizeOf(this.#suspects);
    return suspects + this.#streak.setAside > SUSPECTS_MAX;
  }

  async #takeResult(range: Range, delivered: Delivered): Promise<DeliveryEnd> {
    if (delivered.kind === "accepted") {
      this.#streak.setAside = 0;
      return await this.#convict();
    }
    if (delivered.kind !== "refused") return delivered.kind;
    if (sizeOf(range) > 1) {
      this.#split(range, Math.floor((range.from + range.to) / 2));
      return "delivered";
    }
    this.#suspects = { from: this.#suspects?.from ?? range.from, to: range.to };
    if (!this.#isDoubtful) return "delivered";
    const end = await this.#setBack(delivered);
    return end === "delivered" ? await this.#retryFirst(this.#suspects) : end;
  }

  /** When the receiver's trouble is over, the entries go on in their order. */
  async #retryFirst({ from, to }: Range): Promise<DeliveryEnd> {
    const delivered = await this.#courier.deliver(this.#slice({ from, to: from + 1 }), ONCE);
    if (delivered.kind === "accepted") {
      this.#streak.setAside = 0;
      this.#suspects = undefined;
      if (to - from > 1) this.#rest.push({ from: from + 1, to });
      return "delivered";
    }
    return delivered.kind === "refused" ? "delivered" : delivered.kind;
  }

  #split({ from, to }: Range, middle: number): void {
    this.#rest.push({ from: middle, to }, { from, to: middle });
  }

  /** The receiver has just taken something: those it still refuses are the culprits. */
  async #convict(): Promise<DeliveryEnd> {
    const suspects = this.#suspects;
    this.#suspects = undefined;
    if (suspects === undefined) return "delivered";
    for (let index = suspects.from; index < suspects.to; ) {
      const range = { from: index, to: index + 1 };
      const entry = this.#slice(range);
      const delivered = await this.#courier.deliver(entry, ONCE);
      if (delivered.kind === "stopped" || delivered.kind === "gave-up") return delivered.kind;
      if (delivered.kind === "refused") {
        const { verdict, target } = delivered;
        if (verdict.about === "cut" && !isFromReceiver(await target.probe())) {
          const end = await this.#setBack(delivered);
          if (end !== "delivered") return end;
          continue;
        }
        if (verdict.about === "size") target.forgetSizeLimit();
        await this.#setAside(entry, verdict);
      }
      index++;
    }
    return "delivered";
  }

  /** The last entries of the batch are suspects. */
  async #endWithSuspects(suspects: Range): Promise<DeliveryEnd> {
    const delivered = await this.#courier.deliver(this.#slice(suspects), ONCE);
    if (delivered.kind === "accepted") {
      this.#streak.setAside = 0;
      this.#suspects = undefined;
      return "delivered";
    }
    if (delivered.kind !== "refused") return delivered.kind;
    if (!this.#isDoubtful && (await takesEmpty(delivered.target))) return await this.#convict();
    this.#suspects = undefined;
    this.#rest.push(suspects);
    return await this.#setBack(delivered);
  }

  async #setBack({ target, verdict }: RefusedDelivery): Promise<DeliveryEnd> {
    const mayGoOn = await this.#courier.setBack(target, verdict);
    return mayGoOn ? "delivered" : this.#courier.endKind;
  }

  async #setAside(entry: Body, { reason }: Refused): Promise<void> {
    this.#streak.setAside++;
    await this.#quarantine.add({ pieces: entry.pieces, cursor: firstCursor(entry), reason });
  }

  #slice({ from, to }: Range): Body {
    return sliceBody(this.#body, from, to);
  }
}

type RefusedDelivery = Extract<Delivered, { kind: "refused" }>;

function endOf(kind: "accepted" | "stopped" | "gave-up"): DeliveryEnd {
  return kind === "accepted" ? "delivered" : kind;
}

function sizeOf({ from, to }: Range): number {
  return to - from;
}

/** Whether the receiver accepts a request without entries. */
async function takesEmpty(target: Target): Promise<boolean> {
  return (await target.probe()).kind === "accepted";
}
