/** What comes out of an EntrySource. */
import type { JournalEntry } from "../../src/journal/reader/journal-entry.ts";
import type { EntrySource } from "../../src/upload/delivery-types.ts";

/** An entry as plain values; bytes are shown one character each. */
export interface ReadEntry {
  seqnum: number;
  realtimeUsec: number;
  fields: string[];
}

export function readEntry({ cache, records, recordCount, ...entry }: JournalEntry): ReadEntry {
  const fields = Array.from(records.subarray(0, recordCount), (record) => {
    const start = cache.start[record] ?? 0;
    return cache.bytesOf(record).toString("latin1", start, start + (cache.size[record] ?? 0));
  });
  return { seqnum: entry.seqnum, realtimeUsec: entry.realtimeUsec, fields };
}

/** All entries to the end. */
export async function readAll(source: EntrySource, signal?: AbortSignal): Promise<ReadEntry[]> {
  const entries: ReadEntry[] = [];
  for (;;) {
    for (let entry = source.next(); entry !== undefined; entry = source.next()) {
      entries.push(readEntry(entry));
    }
    if (source.isEnded || signal?.aborted === true) return entries;
    await source.wait(signal ?? new AbortController().signal);
  }
}
