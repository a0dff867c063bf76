/**
 * One entry as it lies in a journal file: numbers, and records of a DataCache for its fields. The object is reused
 * by whoever produces it: valid only until the next entry is asked for.
 * HOT: guarded by scripts/bench/read.ts.
 */
import { ID128_SIZE } from "../../bytes/id128.ts";
import { type DataCache, NO_RECORD } from "./data-cache.ts";
import { ENTRY_ITEMS_MAX, type JournalFile } from "./journal-file.ts";

export interface JournalEntry {
  /** 16 bytes each. */
  readonly bootId: Uint8Array;
  readonly seqnumId: Uint8Array;
  /** The same memory, both in this order: to compare. */
  readonly idWords: Int32Array;
  /** 1 .. 2^53-1; 0 = without identity (from an export file). */
  seqnum: number;
  realtimeUsec: number;
  monotonicUsec: number;
  xorHashLow: number;
  xorHashHigh: number;
  /** Whether the two above are set: an export file may not tell. */
  hasXorHash: boolean;
  /** Holds the fields; the same for all entries of a source. */
  readonly cache: DataCache;
  /** Fields in the order of the file, without those that are dropped; `_BOOT_ID` is among them. */
  readonly records: Int32Array;
  recordCount: number;
  /** All tags of its fields, dropped ones included, or-ed. */
  tags: number;
  /** The same for the cache's `moreTags`. */
  readonly moreTags: Int32Array;
}

/** Room for fields that are added to those of the journal. */
export const ADDED_FIELDS_MAX = 256;

export function newJournalEntry(cache: DataCache): JournalEntry {
  const ids = new ArrayBuffer(2 * ID128_SIZE);
  return {
    bootId: new Uint8Array(ids, 0, ID128_SIZE),
    seqnumId: new Uint8Array(ids, ID128_SIZE),
    idWords: new Int32Array(ids),
    seqnum: 0,
    realtimeUsec: 0,
    monotonicUsec: 0,
    xorHashLow: 0,
    xorHashHigh: 0,
    hasXorHash: true,
    cache,
    records: new Int32Array(ENTRY_ITEMS_MAX + ADDED_FIELDS_MAX),
    recordCount: 0,
    tags: 0,
    moreTags: new Int32Array(cache.moreTagCount),
  };
}

/**
 * Reads the entry at `offset`. Damaged fields are left out and counted by the cache.
 * @throws AgentError E_JOURNAL_CORRUPT when the entry itself is damaged; E_IO
 */
export function loadEntry(file: JournalFile, offset: number, entry: JournalEntry): void {
  file.readEntry(offset, true);
  fillEntry(file, entry);
}

/**
 * Makes an entry of what the last readEntry() of the file found, items included. Damaged fields are left out and
 * counted by the cache.
 * @throws AgentError E_JOURNAL_CORRUPT when the file was erased; E_IO
 */
export function fillEntry(file: JournalFile, entry: JournalEntry): void {
  const { cache, records } = entry;
  cache.beginEntry();
  entry.seqnum = file.seqnum;
  entry.realtimeUsec = file.realtimeUsec;
  entry.monotonicUsec = file.monotonicUsec;
  copyId(file.bootId, entry.bootId);
  copyId(file.header.seqnumId, entry.seqnumId);
  entry.xorHashLow = file.xorHashLow;
  entry.xorHashHigh = file.xorHashHigh;
  entry.hasXorHash = true;
  const { items, itemCount } = file;
  const { tags, isDropped, moreTagCount } = cache;
  if (moreTagCount > 0) entry.moreTags.fill(0);
  // Entries in a row share most fields: what the last one had at this place.
  let guess = records[0]!;
  let count = 0;
  let allTags = 0;
  for (let i = 0; i < itemCount; i++) {
    const record = cache.recordOf(file, items[i]!, guess);
    guess = records[i + 1]!;
    if (record === NO_RECORD) continue;
    allTags |= tags[record]!;
    if (moreTagCount > 0) addMoreTags(entry, record);
    if (isDropped[record] === 0) records[count++] = record;
  }
  entry.recordCount = count;
  entry.tags = allTags;
}

/** To be called for each record of an entry whose cache has more tags. */
export function addMoreTags({ cache, moreTags }: JournalEntry, record: number): void {
  const count = cache.moreTagCount;
  for (let i = 0; i < count; i++) moreTags[i]! |= cache.moreTags[record * count + i]!;
}

function copyId(from: Uint8Array, to: Uint8Array): void {
  for (let i = 0; i < 16; i++) to[i] = from[i]!;
}
