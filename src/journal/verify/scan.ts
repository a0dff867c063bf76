/** What the first pass over a journal file keeps of it, for the second: columns, not objects. */
import { Incompatible } from "../format.ts";
import type { JournalHeader } from "../header.ts";
import type { FileWindow } from "./file-window.ts";
import type { Findings } from "./findings.ts";
import { ObjectIndex, Uint32List } from "./object-index.ts";
import type { Unpacker } from "./payload.ts";

/** Links are slots (offset / 8), 0 where unset. */
export interface DataTable {
  index: ObjectIndex;
  hashLow: Uint32List;
  hashHigh: Uint32List;
  nextHash: Uint32List;
  nextField: Uint32List;
  firstEntry: Uint32List;
  firstArray: Uint32List;
  /** DATA.n_entries. */
  entries: Uint32List;
  /** Offset of the last array, and the items in it. Compact files only. */
  tailArray: Uint32List;
  tailArrayEntries: Uint32List;
  /** Number of the field's name in {@link Scan.names}; 0 = none, or not read. */
  name: Uint32List;
}

export interface FieldTable {
  index: ObjectIndex;
  hashLow: Uint32List;
  hashHigh: Uint32List;
  nextHash: Uint32List;
  headData: Uint32List;
  name: Uint32List;
}

export interface ArrayTable {
  index: ObjectIndex;
  next: Uint32List;
  /** Items it has room for. */
  capacity: Uint32List;
}

/** A hash table as read: bucket i is heads[i] and tails[i], slots. */
export interface Buckets {
  offset: number;
  heads: Uint32Array;
  tails: Uint32Array;
}

export interface EntryStamp {
  seqnum: number;
  realtime: number;
  monotonic: number;
  /** The id as four 32-bit words. */
  bootId: Uint32Array;
}

export interface Scan {
  readonly header: JournalHeader;
  readonly isCompact: boolean;
  /** Of the keyed hash. */
  readonly key: Uint8Array | undefined;
  readonly window: FileWindow;
  readonly unpacker: Unpacker;
  readonly findings: Findings;
  readonly data: DataTable;
  readonly fields: FieldTable;
  readonly entries: ObjectIndex;
  readonly arrays: ArrayTable;
  readonly names: Map<string, number>;
  dataBuckets: Buckets | undefined;
  fieldBuckets: Buckets | undefined;
  objects: number;
  tags: number;
  tagEpoch: number;
  /** The entry scanned last; meaningless before the first. */
  readonly last: EntryStamp;
  /** Entries with an earlier realtime than the one before. */
  realtimeReversals: number;
  unusedData: number;
}

export function newScan(
  header: JournalHeader,
  window: FileWindow,
  unpacker: Unpacker,
  findings: Findings,
): Scan {
  const isKeyed = (header.incompatibleFlags & Incompatible.keyedHash) !== 0;
  return {
    header,
    isCompact: (header.incompatibleFlags & Incompatible.compact) !== 0,
    key: isKeyed ? header.fileId : undefined,
    window,
    unpacker,
    findings,
    data: newDataTable(),
    fields: newFieldTable(),
    entries: new ObjectIndex(),
    arrays: { index: new ObjectIndex(), next: new Uint32List(), capacity: new Uint32List() },
    names: new Map(),
    dataBuckets: undefined,
    fieldBuckets: undefined,
    objects: 0,
    tags: 0,
    tagEpoch: 0,
    last: { seqnum: 0, realtime: 0, monotonic: 0, bootId: new Uint32Array(4) },
    realtimeReversals: 0,
    unusedData: 0,
  };
}

function newDataTable(): DataTable {
  return {
    index: new ObjectIndex(),
    hashLow: new Uint32List(),
    hashHigh: new Uint32List(),
    nextHash: new Uint32List(),
    nextField: new Uint32List(),
    firstEntry: new Uint32List(),
    firstArray: new Uint32List(),
    entries: new Uint32List(),
    tailArray: new Uint32List(),
    tailArrayEntries: new Uint32List(),
    name: new Uint32List(),
  };
}

function newFieldTable(): FieldTable {
  return {
    index: new ObjectIndex(),
    hashLow: new Uint32List(),
    hashHigh: new Uint32List(),
    nextHash: new Uint32List(),
    headData: new Uint32List(),
    name: new Uint32List(),
  };
}
