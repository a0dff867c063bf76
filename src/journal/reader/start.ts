/** Where reading begins in each file of a set. */
import { formatId128, isEqualId128 } from "../../bytes/id128.ts";
import type { Cursor } from "../cursor.ts";
import type { JournalFile } from "./journal-file.ts";
import { readNumbersAt, seekAfter, seekCursor, seekRealtime } from "./seek.ts";
import type { SetFile } from "./set-file.ts";

/** The last entry read of one seqnum id. */
export interface SequenceTail {
  seqnum: number;
  realtimeUsec: number;
  /** 32 hex digits. */
  bootId: string;
}

/** What was read before, or else from where on; times in microseconds of the wall clock. */
export interface StartPoint {
  /** By seqnum id, 32 hex digits: what follows these is read, wherever it is. */
  tails: ReadonlyMap<string, SequenceTail>;
  /** For files that are there at the beginning, of other ids. */
  cursor: Cursor | undefined;
  /** The entry of the cursor was read, too. */
  isAfterCursor: boolean;
  /** For all files of other ids. */
  sinceUsec: number | undefined;
  /** So many wanted entries before the end. */
  lines: number | undefined;
}

/**
 * Finds the entry to begin with in a file.
 * @param isFirst it was there at the beginning
 * @throws AgentError E_IO
 */
export function startIndex(file: SetFile, start: StartPoint, isFirst: boolean): number {
  const { sequence } = file;
  const { entries, headEntrySeqnum, tailEntryRealtime } = file.header;
  if (isFirst ? sequence.isRestored : sequence.seqnum > 0) {
    if (headEntrySeqnum > sequence.seqnum) return 0;
    return seekAfter(file.file, sequence, !isFirst || sequence.mayReuse);
  }
  if (isFirst && start.cursor !== undefined) {
    const index = seekCursor(file.file, start.cursor);
    return start.isAfterCursor && isCursor(file.file, index, start.cursor) ? index + 1 : index;
  }
  if (start.sinceUsec === undefined) return 0;
  return tailEntryRealtime < start.sinceUsec ? entries : seekRealtime(file.file, start.sinceUsec);
}

/** Everything before where reading begins counts as read, so that it is known later what is new. */
export function noteStart(file: SetFile): void {
  const { sequence, index } = file;
  if (index === 0 || !readNumbersAt(file.file, index - 1)) return;
  if (file.file.seqnum > sequence.seqnum) sequence.note(file.file);
}

/** Whether the entry at `index` is the one a cursor names, by all that it tells. */
function isCursor(file: JournalFile, index: number, cursor: Cursor): boolean {
  if (index >= file.entries || !readNumbersAt(file, index)) return false;
  const { seqnumId, seqnum, bootId, monotonicUsec, realtimeUsec, xorHash } = cursor;
  return (
    (seqnumId === undefined || isEqualId128(seqnumId, file.header.seqnumId)) &&
    (seqnum === undefined || seqnum === file.seqnum) &&
    (bootId === undefined || isEqualId128(bootId, file.bootId)) &&
    (monotonicUsec === undefined || monotonicUsec === file.monotonicUsec) &&
    (realtimeUsec === undefined || realtimeUsec === file.realtimeUsec) &&
    (xorHash === undefined ||
      (xorHash.high === file.xorHashHigh && xorHash.low === file.xorHashLow))
  );
}

/** The tail that a cursor is for its own sequence, if it tells enough. */
export function tailOf(cursor: Cursor): [string, SequenceTail] | undefined {
  const { seqnumId, seqnum, bootId, realtimeUsec } = cursor;
  if (seqnumId === undefined || seqnum === undefined) return undefined;
  if (bootId === undefined || realtimeUsec === undefined) return undefined;
  return [formatId128(seqnumId), { seqnum, realtimeUsec, bootId: formatId128(bootId) }];
}
