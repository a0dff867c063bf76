/**
 * The order of entries of several files: sd-journal.c: compare_entry_order() of systemd 252, and 258 again. (254 to
 * 257 put all of one boot before the next one of the same machine, by the newest file of each, which tears apart what
 * several hosts sent.) It is not a total order: numbers, monotonic times and wall clock may contradict each other.
 */

/** Where an entry stands among others. */
export interface Location {
  /** The same object for the same seqnum id. */
  readonly sequence: object;
  seqnum: number;
  /** The boot id, 4 words. */
  readonly bootWords: Int32Array;
  monotonicUsec: number;
  realtimeUsec: number;
  /** u32 each. */
  xorHashHigh: number;
  xorHashLow: number;
}

/** Below 0 when `a` comes first, above 0 when `b` does. */
export function compareLocations(a: Location, b: Location): number {
  if (a.sequence === b.sequence && a.seqnum !== b.seqnum) return a.seqnum - b.seqnum;
  if (a.monotonicUsec !== b.monotonicUsec && isSameBoot(a.bootWords, b.bootWords)) {
    return a.monotonicUsec - b.monotonicUsec;
  }
  if (a.realtimeUsec !== b.realtimeUsec) return a.realtimeUsec - b.realtimeUsec;
  if (a.xorHashHigh !== b.xorHashHigh) return a.xorHashHigh - b.xorHashHigh;
  return a.xorHashLow - b.xorHashLow;
}

/**
 * Whether it is one entry in two files. sd-journal does not ask for the number, and so loses one of two equal lines of
 * the same moment.
 */
export function isSameEntry(a: Location, b: Location): boolean {
  return (
    a.sequence === b.sequence &&
    a.seqnum === b.seqnum &&
    a.realtimeUsec === b.realtimeUsec &&
    a.monotonicUsec === b.monotonicUsec &&
    a.xorHashHigh === b.xorHashHigh &&
    a.xorHashLow === b.xorHashLow &&
    isSameBoot(a.bootWords, b.bootWords)
  );
}

export function isSameBoot(a: Int32Array, b: Int32Array): boolean {
  return a[0] === b[0] && a[1] === b[1] && a[2] === b[2] && a[3] === b[3];
}

export function copyBoot(from: Int32Array, to: Int32Array): void {
  to[0] = from[0]!;
  to[1] = from[1]!;
  to[2] = from[2]!;
  to[3] = from[3]!;
}
