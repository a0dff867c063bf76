/**
 * How often a thing may fail: of one owner, and of all together, within a minute. An attempt counts from its beginning, and
 * is taken back when it succeeds, so that those under way cannot exceed the limit together.
 */
import { isIPv6 } from "node:net";

export interface AttemptLimits {
  perOwnerMax: number;
  /** As well the bound of what is remembered: an owner is known by its attempts. */
  totalMax: number;
}

export interface Attempt {
  /** It was none of those that are limited. */
  takeBack(): void;
}

export const ATTEMPT_WINDOW_MS = 60_000;

interface Mark {
  owner: string;
  timeMs: number;
}

export class AttemptLimit {
  readonly #limits: AttemptLimits;
  readonly #nowMs: () => number;
  /** Of the last minute, oldest first; never more than `totalMax`. */
  #marks: Mark[] = [];

  /** @param nowMs monotonic */
  constructor(limits: AttemptLimits, nowMs: () => number) {
    this.#limits = limits;
    this.#nowMs = nowMs;
  }

  /** @returns in how many seconds the next attempt may begin; 0 = now */
  waitSec(owner: string): number {
    const nowMs = this.#nowMs();
    this.#marks = this.#marks.filter(({ timeMs }) => timeMs > nowMs - ATTEMPT_WINDOW_MS);
    const { perOwnerMax, totalMax } = this.#limits;
    const own = this.#marks.filter((mark) => mark.owner === owner);
    const oldest = own.length >= perOwnerMax ? own[0] : this.#marks[0];
    const isFull = own.length >= perOwnerMax || this.#marks.length >= totalMax;
    if (!isFull || oldest === undefined) return 0;
    return Math.max(1, Math.ceil((oldest.timeMs + ATTEMPT_WINDOW_MS - nowMs) / 1000));
  }

  /** @returns undefined when the limit is reached */
  begin(owner: string): Attempt | undefined {
    if (this.waitSec(owner) > 0) return undefined;
    const mark: Mark = { owner, timeMs: this.#nowMs() };
    this.#marks.push(mark);
    return {
      takeBack: (): void => {
        this.#marks = this.#marks.filter((each) => each !== mark);
      },
    };
  }
}

/** Who counts as one: an address, or of IPv6 the network of a line, whose owner has all addresses in it. */
export function networkOf(address: string): string {
  const bare = address.replace(/^\[|\]$/g, "").split("%", 1)[0] ?? "";
  if (!isIPv6(bare)) return address;
  const [head = "", tail] = bare.split("::");
  const first = head.split(":").filter(Boolean);
  const last = (tail ?? "").split(":").filter(Boolean);
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - first.length - last.length);
  const groups = [...first, ...Array.from({ length: zeros }, () => "0"), ...last];
  return `${groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(":")}::/64`;
}
