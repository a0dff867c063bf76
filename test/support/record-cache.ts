/** Entries as a reader of journal files hands them on, made of those of any other source. */
import type { Entry } from "../../src/journal/entry.ts";
import { DataCache } from "../../src/journal/reader/data-cache.ts";
import { type JournalEntry, newJournalEntry } from "../../src/journal/reader/journal-entry.ts";

export class RecordCache {
  readonly cache = new DataCache();
  /** By the bytes of a field. */
  readonly #records = new Map<string, number>();
  #generation = 0;

  /** The same entry with its fields as records; equal fields have equal records. */
  toJournalEntry(entry: Entry, into: JournalEntry = newJournalEntry(this.cache)): JournalEntry {
    this.cache.beginEntry();
    if (this.cache.generation !== this.#generation) this.#records.clear();
    this.#generation = this.cache.generation;
    for (let i = 0; i < entry.fieldCount; i++) {
      into.records[i] = this.#recordOf(
        entry.bytes.subarray(entry.fieldStart[i], entry.fieldEnd[i]),
      );
    }
    into.recordCount = entry.fieldCount;
    into.bootId.set(entry.bootId);
    into.seqnumId.set(entry.seqnumId);
    const { realtimeUsec, monotonicUsec, seqnum, hasXorHash, xorHashLow, xorHashHigh } = entry;
    return Object.assign(into, {
      ...{ realtimeUsec, monotonicUsec, seqnum, hasXorHash, xorHashLow, xorHashHigh },
    });
  }

  #recordOf(field: Uint8Array): number {
    const bytes = Buffer.from(field);
    const key = bytes.toString("latin1");
    let record = this.#records.get(key);
    if (record === undefined) {
      record = this.cache.add(bytes, 0, bytes.length);
      this.#records.set(key, record);
    }
    return record;
  }
}
