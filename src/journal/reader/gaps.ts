/** Entries that were deleted before they were read, as far as sequence numbers tell. */
import { isEqualId128 } from "../../bytes/id128.ts";
import { AgentError } from "../../errors.ts";
import { seekSeqnum } from "./seek.ts";
import type { SetFile } from "./set-file.ts";

/**
 * How many entries there were, at most, between the last one read of a sequence and the first one of its next file.
 * journald counts the entries of all files of a directory together, though each user's have an id of their own: numbers
 * that stand in a neighbouring file are not missing.
 */
export function countMissing(file: SetFile, files: Iterable<SetFile>): number {
  const first = file.sequence.seqnum + 1;
  const end = file.header.headEntrySeqnum;
  let missing = end - first;
  for (const other of files) {
    if (missing <= 0) return 0;
    if (other.sequence !== file.sequence && isNeighbour(other, file)) {
      missing -= countBetween(other, first, end);
    }
  }
  return Math.max(0, missing);
}

function isNeighbour(a: SetFile, b: SetFile): boolean {
  return a.directory === b.directory && isEqualId128(a.header.machineId, b.header.machineId);
}

/** Entries with numbers from `first` up to, and without, `end`. */
function countBetween(file: SetFile, first: number, end: number): number {
  const { entries, headEntrySeqnum, tailEntrySeqnum } = file.header;
  if (tailEntrySeqnum < first || headEntrySeqnum >= end) return 0;
  if (headEntrySeqnum >= first && tailEntrySeqnum < end) return entries;
  if (!file.isOpen) return 0;
  try {
    return seekSeqnum(file.file, end) - seekSeqnum(file.file, first);
  } catch (error) {
    if (error instanceof AgentError) return 0;
    throw error;
  }
}
