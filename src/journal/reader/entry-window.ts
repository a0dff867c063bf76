/** Which entries are returned, by their numbers alone: those of some time and some boots. HOT: guarded by scripts/bench/read.ts. */
import { isSameBoot, type Location } from "./order.ts";

/** May be changed while reading. */
export interface EntryWindow {
  fromUsec: number;
  /** The last moment. */
  untilUsec: number;
  /** Undefined = all boots. */
  bootWords: Int32Array | undefined;
}

export function isInWindow(
  { realtimeUsec, bootWords }: Pick<Location, "realtimeUsec" | "bootWords">,
  window: EntryWindow,
): boolean {
  if (realtimeUsec < window.fromUsec || realtimeUsec > window.untilUsec) return false;
  return window.bootWords === undefined || isSameBoot(window.bootWords, bootWords);
}
