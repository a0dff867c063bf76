/**
 * Finds where to begin in one file, by bisection: sd-journal.c: find_location_with_matches(). All return the index of
 * an entry, `file.entries` for the end.
 */
import { formatId128, isEqualId128 } from "../../bytes/id128.ts";
import { AgentError } from "../../errors.ts";
import type { Cursor } from "../cursor.ts";
import { DataLookup } from "./data-lookup.ts";
import { EntryList } from "./entry-list.ts";
import type { JournalFile } from "./journal-file.ts";
import { isSameBoot } from "./order.ts";

/** Where entries are damaged, so many of the next ones are tried. */
const NEIGHBOURS_MAX = 64;
const WINDOW_SIZE = 1024;

/** The first entry with this number or a higher one. @throws AgentError E_IO */
export function seekSeqnum(file: JournalFile, seqnum: number): number {
  return bisect(file, () => file.seqnum < seqnum);
}

/** The first entry of this time or a later one, if times rise. @throws AgentError E_IO */
export function seekRealtime(file: JournalFile, realtimeUsec: number): number {
  return bisect(file, () => file.realtimeUsec < realtimeUsec);
}

/**
 * The first entry of a boot at this monotonic time or later; behind the last of the boot when there is none such;
 * undefined when the file knows nothing of this boot, or its index is damaged.
 * @throws AgentError E_IO
 */
export function seekMonotonic(
  file: JournalFile,
  bootId: Uint8Array,
  monotonicUsec: number,
): number | undefined {
  return unlessDamaged(() => {
    const list = listBoot(file, bootId);
    if (list === undefined) return undefined;
    let [low, high] = [0, list.count];
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      file.readEntry(list.at(middle), false);
      if (file.monotonicUsec < monotonicUsec) low = middle + 1;
      else high = middle;
    }
    if (low < list.count) return indexOf(file, list.at(low));
    return indexOf(file, list.at(list.count - 1)) + 1;
  });
}

/** The first entry of a boot, or one before it where the index is damaged. @throws AgentError E_IO */
export function seekBoot(file: JournalFile, bootId: Uint8Array): number {
  const index = unlessDamaged(() => {
    const list = listBoot(file, bootId);
    return list === undefined ? file.entries : indexOf(file, list.at(0));
  });
  return index ?? 0;
}

/** The last entry that was read of a seqnum id. */
export interface LastRead {
  seqnum: number;
  realtimeUsec: number;
  bootWords: Int32Array;
}

/** Whether the file has this very entry. @throws AgentError E_IO */
export function hasEntry(file: JournalFile, last: LastRead): boolean {
  const { headEntrySeqnum, tailEntrySeqnum } = file.header;
  if (last.seqnum < headEntrySeqnum || last.seqnum > tailEntrySeqnum) return false;
  const index = seekSeqnum(file, last.seqnum);
  if (index >= file.entries || !readNumbersAt(file, index)) return false;
  return file.seqnum === last.seqnum && isSameBoot(file.bootWords, last.bootWords);
}

/**
 * What follows `last`. After a loss of power journald gives the last numbers, which it had not stored safely, to other
 * entries: of another boot, and later.
 * @param mayReuse whether that can have happened: nobody has that last entry any more
 * @throws AgentError E_IO
 */
export function seekAfter(file: JournalFile, last: LastRead, mayReuse: boolean): number {
  let index = seekSeqnum(file, last.seqnum + 1);
  if (!mayReuse || file.header.tailEntryRealtime <= last.realtimeUsec) return index;
  const isReused = (): boolean =>
    file.realtimeUsec > last.realtimeUsec && !isSameBoot(file.bootWords, last.bootWords);
  while (index > 0 && readNumbersAt(file, index - 1) && isReused()) index--;
  return index;
}

/** Where sd-journal goes on: at the entry itself if the file has it. @throws AgentError E_IO */
export function seekCursor(file: JournalFile, cursor: Cursor): number {
  const { seqnumId, seqnum, bootId, monotonicUsec, realtimeUsec } = cursor;
  if (seqnumId !== undefined && seqnum !== undefined) {
    if (isEqualId128(seqnumId, file.header.seqnumId)) return seekSeqnum(file, seqnum);
  }
  if (bootId !== undefined && monotonicUsec !== undefined) {
    const index = seekMonotonic(file, bootId, monotonicUsec);
    if (index !== undefined) return index;
  }
  return realtimeUsec === undefined ? 0 : seekRealtime(file, realtimeUsec);
}

/**
 * Reads the numbers of the entry at `index` into the file.
 * @returns whether there is a sound one
 * @throws AgentError E_IO
 */
export function readNumbersAt(file: JournalFile, index: number): boolean {
  const isSound = unlessDamaged(() => {
    const offset = file.entryOffset(index);
    if (offset === 0) return false;
    file.readEntry(offset, false);
    return true;
  });
  return isSound === true;
}

/** The first index whose entry is not before the place; one that cannot be read is not before it. */
function bisect(file: JournalFile, isBefore: () => boolean): number {
  let [low, high] = [0, file.entries];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const probe = nearestSound(file, middle, high);
    if (probe < high && isBefore()) low = probe + 1;
    else high = middle;
  }
  return low;
}

/** Index of a sound entry from `index` on, whose numbers were read; `end` when there is none near. */
function nearestSound(file: JournalFile, index: number, end: number): number {
  const limit = Math.min(end, index + NEIGHBOURS_MAX);
  for (let i = index; i < limit; i++) if (readNumbersAt(file, i)) return i;
  return end;
}

/** The index of the entry at `offset`: offsets rise with the index. */
function indexOf(file: JournalFile, offset: number): number {
  let [low, high] = [0, file.entries];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const found = file.entryOffset(middle);
    if (found !== 0 && found < offset) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The entries of a boot, by the field that each of them has; undefined when there are none. */
function listBoot(file: JournalFile, bootId: Uint8Array): EntryList | undefined {
  const payload = Buffer.from(`_BOOT_ID=${formatId128(bootId)}`, "latin1");
  const data = new DataLookup(file, Number.POSITIVE_INFINITY).find(payload);
  if (data === undefined) return undefined;
  const list = new EntryList(file, data, Number.POSITIVE_INFINITY, WINDOW_SIZE);
  return list.count === 0 ? undefined : list;
}

/** @throws AgentError E_IO */
function unlessDamaged<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof AgentError && error.code === "E_JOURNAL_CORRUPT") return undefined;
    throw error;
  }
}
