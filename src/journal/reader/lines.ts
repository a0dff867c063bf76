/** Begins so many entries before the end, counted over all files in their common order. */
import { compareLocations, type Location } from "./order.ts";
import type { SetFile } from "./set-file.ts";

/** Entries that are looked at together: the last ones, then twice as many before these. */
const STRETCH_FIRST = 1024;

interface Found extends Location {
  file: SetFile;
  index: number;
}

export interface LinesOptions {
  /** Opens a file for a look; one that cannot be read is set aside. */
  visit(file: SetFile, look: () => void): void;
  /** Asked when a file was moved to an entry. */
  isWanted(file: SetFile): boolean;
}

/**
 * Moves the beginning of each file to the first of the last `lines` wanted entries that it has; one without any to its
 * end.
 */
export function beginLines(
  files: readonly SetFile[],
  lines: number,
  { visit, isWanted }: LinesOptions,
): void {
  let last: Found[] = [];
  const newestFirst = [...files].sort(
    (a, b) => b.header.tailEntryRealtime - a.header.tailEntryRealtime,
  );
  for (const file of newestFirst) {
    visit(file, () => {
      last = mergeLast(last, findLast(file, lines, last, isWanted), lines);
    });
  }
  for (const file of files) file.index = file.header.entries;
  for (const { file, index } of last) file.index = Math.min(file.index, index);
}

/** Of one file, in order; none that come before all of `known`, if these are enough. */
function findLast(
  file: SetFile,
  lines: number,
  known: readonly Found[],
  isWanted: (file: SetFile) => boolean,
): Found[] {
  const found: Found[] = [];
  const first = known.length < lines ? undefined : known[0];
  for (const index of indicesFromEnd(file, file.index)) {
    if (found.length === lines) break;
    if (!file.moveTo(index)) continue;
    if (first !== undefined && compareLocations(file, first) < 0) break;
    if (isWanted(file)) found.push(locationOf(file));
  }
  return found.reverse();
}

/** Those that may be wanted, the last one first. */
function* indicesFromEnd(file: SetFile, begin: number): Generator<number> {
  let end = file.header.entries;
  for (let size = STRETCH_FIRST; end > begin; size *= 2) {
    const start = Math.max(begin, end - size);
    yield* file.candidates(start, end).reverse();
    end = start;
  }
}

function locationOf(file: SetFile): Found {
  const { index, sequence, seqnum, monotonicUsec, realtimeUsec, xorHashHigh, xorHashLow } = file;
  const bootWords = new Int32Array(file.bootWords);
  const numbers = { seqnum, monotonicUsec, realtimeUsec, xorHashHigh, xorHashLow };
  return { file, index, sequence, bootWords, ...numbers };
}

/** The last `count` of two lists in order. */
function mergeLast(a: readonly Found[], b: readonly Found[], count: number): Found[] {
  const merged: Found[] = [];
  let [i, j] = [a.length - 1, b.length - 1];
  while (merged.length < count && (i >= 0 || j >= 0)) {
    const [left, right] = [a[i], b[j]];
    const takeLeft =
      right === undefined || (left !== undefined && compareLocations(left, right) >= 0);
    const next = takeLeft ? a[i--] : b[j--];
    if (next !== undefined) merged.push(next);
  }
  return merged.reverse();
}
