/**
 * Turns entries into objects: finds or appends the DATA of each field, appends the ENTRY, links it into the
 * file's list of entries and into those of its DATA.
 * HOT: guarded by scripts/bench/writer.ts.
 */
import { ID128_SIZE } from "../bytes/id128.ts";
import { hashJenkins, jenkins } from "../bytes/lookup3.ts";
import { viewOf } from "../bytes/view.ts";
import type { Arena } from "./arena.ts";
import { NO_RECORD, RECORD } from "./data-index.ts";
import type { DataTable } from "./data-table.ts";
import { ENTRY_FIELDS_MAX, type Entry } from "./entry.ts";
import type { FieldDictionary } from "./field-dictionary.ts";
import {
  DATA,
  ENTRY,
  ENTRY_ARRAY,
  ENTRY_ITEM_SIZE_COMPACT,
  ENTRY_ITEM_SIZE_REGULAR,
  OBJECT_HEADER_SIZE,
  ObjectType,
} from "./format.ts";
import type { JournalHeader } from "./header.ts";

/** Numbered fields whose hashes are looked up together. */
const FIELDS_AT_ONCE = 64;

/** The entry at hand, shared by all files: its DATA by rising offset, and what its xor-hash is. */
const scratchOffsets = new Uint32Array(ENTRY_FIELDS_MAX);
const scratchRecords = new Int32Array(ENTRY_FIELDS_MAX);
const scratchXor = { low: 0, high: 0 };
/** Its ENTRY object without the object's header: written in one piece, a look for the page costs more than a word. */
const scratchWords = new Int32Array((ENTRY.items + ENTRY_FIELDS_MAX * ENTRY_ITEM_SIZE_REGULAR) / 4);
/** The last entry's bytes and a view on them: a source reuses its buffer. */
let viewed: Uint8Array = new Uint8Array(0);
let view: DataView = viewOf(viewed);

export class EntryAppender {
  /** Entries in the file. */
  entries: number;
  tailEntryOffset: number;
  /** The chain of arrays that lists all entries: its first array, its last and how full that is. */
  entryArrayOffset: number;
  tailArrayOffset: number;
  tailArrayUsed: number;
  #tailArrayCapacity: number;
  readonly #arena: Arena;
  readonly #data: DataTable;
  /** The record of the last entry's first field. */
  #firstRecord = NO_RECORD;

  constructor(arena: Arena, data: DataTable, header: JournalHeader) {
    this.#arena = arena;
    this.#data = data;
    this.entries = header.entries;
    this.tailEntryOffset = header.tailEntryOffset ?? 0;
    this.entryArrayOffset = header.entryArrayOffset;
    this.tailArrayOffset = header.tailEntryArrayOffset ?? 0;
    this.tailArrayUsed = header.tailEntryArrayEntries ?? 0;
    this.#tailArrayCapacity =
      this.tailArrayOffset === 0 ? 0 : arena.requireArray(this.tailArrayOffset, this.tailArrayUsed);
  }

  append(entry: Entry, seqnum: number): void {
    if (entry.fieldCount > ENTRY_FIELDS_MAX) {
      throw new RangeError(`Cannot append ${entry.fieldCount} fields, need ${ENTRY_FIELDS_MAX}`);
    }
    const { dictionary } = entry;
    const count =
      dictionary === undefined
        ? this.#collectItems(entry)
        : this.#collectNumbered(entry, dictionary);
    const offset = this.#writeEntry(entry, seqnum, count);
    this.#linkGlobal(offset);
    this.#data.linkEntry(scratchRecords, count, offset);
    this.entries++;
    this.tailEntryOffset = offset;
  }

  /** Leaves the entry's DATA in the scratch arrays, by rising offset and once each; returns how many. */
  #collectItems(entry: Entry): number {
    const data = this.#data;
    const { index } = data;
    const offsets = scratchOffsets;
    const records = scratchRecords;
    const view = cachedViewOf(entry.bytes);
    const { fieldStart, fieldEnd, nameLength } = entry;
    let count = 0;
    let xorLow = 0;
    let xorHigh = 0;
    let record = NO_RECORD;
    // Entries of one machine repeat the same fields in the same order: guess before hashing.
    let guess = this.#firstRecord;
    for (let i = 0; i < entry.fieldCount; i++) {
      const start = fieldStart[i]!;
      const end = fieldEnd[i]!;
      const previous = record;
      record = guess;
      if (guess === NO_RECORD || !data.holds(guess, view, start, end)) {
        hashJenkins(view, start, end);
        record = data.findOrAppend(view, start, end, nameLength[i]!, jenkins.low, jenkins.high);
        this.#learn(previous, guess, record);
      }
      const { words } = index;
      guess = words[record + RECORD.successor]!;
      xorLow ^= words[record + RECORD.hashLow]!;
      xorHigh ^= words[record + RECORD.hashHigh]!;
      count = insertItem(offsets, records, count, words[record + RECORD.offset]! >>> 0, record);
    }
    scratchXor.low = entry.hasXorHash ? entry.xorHashLow : xorLow;
    scratchXor.high = entry.hasXorHash ? entry.xorHashHigh : xorHigh;
    return count;
  }

  /** The same for an entry that has its fields by number: each field's bytes are looked at once a file. */
  #collectNumbered(entry: Entry, dictionary: FieldDictionary): number {
    const { index } = this.#data;
    const offsets = scratchOffsets;
    const records = scratchRecords;
    const known = dictionary.recordsOf(this);
    const { numbers, numbersStart, fieldCount } = entry;
    const end = numbersStart + fieldCount;
    let { words } = index;
    let count = 0;
    for (let i = numbersStart; i < end; i++) {
      const number = numbers[i]!;
      let record = known[number]!;
      if (record < 0) {
        record = this.#findNumbered(dictionary, number);
        known[number] = record;
        words = index.words;
      }
      count = insertItem(offsets, records, count, words[record + RECORD.offset]! >>> 0, record);
    }
    scratchXor.low = entry.xorHashLow;
    scratchXor.high = entry.xorHashHigh;
    if (!entry.hasXorHash) this.#xorNumbered(entry, known);
    return count;
  }

  /** As systemd does, over all fields, repeated ones too. */
  #xorNumbered({ numbers, numbersStart, fieldCount }: Entry, known: Int32Array): void {
    const { words } = this.#data.index;
    scratchXor.low = 0;
    scratchXor.high = 0;
    for (let i = numbersStart; i < numbersStart + fieldCount; i++) {
      const record = known[numbers[i]!]!;
      scratchXor.low ^= words[record + RECORD.hashLow]!;
      scratchXor.high ^= words[record + RECORD.hashHigh]!;
    }
  }

  #findNumbered(dictionary: FieldDictionary, number: number): number {
    if (number >= dictionary.hashed) this.#hashSome(dictionary, number);
    const { view, starts, ends, nameLengths, hashes } = dictionary;
    return this.#data.findOrAppend(
      view,
      starts[number]!,
      ends[number]!,
      nameLengths[number]!,
      hashes[2 * number]!,
      hashes[2 * number + 1]!,
    );
  }

  /** The fields from `number` on will be looked up next. */
  #hashSome(dictionary: FieldDictionary, number: number): void {
    const end = Math.min(dictionary.count, number + FIELDS_AT_ONCE);
    dictionary.hashUpTo(end);
    this.#data.index.prefetch(dictionary.hashes, number, end);
  }

  /** Remembers what really came behind `previous`, where `guess` was expected. */
  #learn(previous: number, guess: number, record: number): void {
    const { words } = this.#data.index;
    if (previous === NO_RECORD) this.#firstRecord = record;
    else words[previous + RECORD.successor] = record;
    // A new value of the same field is mostly followed by what followed the old one.
    if (guess !== NO_RECORD && words[record + RECORD.successor] === NO_RECORD) {
      words[record + RECORD.successor] = words[guess + RECORD.successor]!;
    }
  }

  #writeEntry(entry: Entry, seqnum: number, count: number): number {
    const arena = this.#arena;
    const { file, compact } = arena;
    const itemSize = compact ? ENTRY_ITEM_SIZE_COMPACT : ENTRY_ITEM_SIZE_REGULAR;
    const offset = arena.allocate(ObjectType.entry, 0, ENTRY.items + count * itemSize);
    writeHead(entry, seqnum);
    const offsets = scratchOffsets;
    const words = scratchWords;
    let at = wordAt(ENTRY.items);
    for (let i = 0; i < count; i++, at += itemSize >>> 2) {
      words[at] = offsets[i]!;
      if (compact) continue;
      words[at + 1] = 0;
      words[at + 2] = file.get32(offsets[i]! + DATA.hash);
      words[at + 3] = file.get32(offsets[i]! + DATA.hash + 4);
    }
    file.copyWords(offset + OBJECT_HEADER_SIZE, words, at);
    return offset;
  }

  #linkGlobal(entryOffset: number): void {
    const arena = this.#arena;
    if (this.tailArrayUsed === this.#tailArrayCapacity) {
      const capacity = arena.nextArrayCapacity(this.entries, this.#tailArrayCapacity);
      const array = arena.allocateEntryArray(capacity);
      if (this.tailArrayOffset === 0) this.entryArrayOffset = array;
      else arena.file.poke32(this.tailArrayOffset + ENTRY_ARRAY.nextEntryArrayOffset, array);
      this.tailArrayOffset = array;
      this.#tailArrayCapacity = capacity;
      this.tailArrayUsed = 0;
    }
    const items = this.tailArrayOffset + ENTRY_ARRAY.items;
    arena.file.set32(items + this.tailArrayUsed * arena.arrayItemSize, entryOffset);
    this.tailArrayUsed++;
  }
}

/** Everything of the ENTRY object that comes before its items. */
function writeHead(entry: Entry, seqnum: number): void {
  const words = scratchWords;
  write64(ENTRY.seqnum, seqnum);
  write64(ENTRY.realtime, entry.realtimeUsec);
  write64(ENTRY.monotonic, entry.monotonicUsec);
  for (let i = 0; i < ID128_SIZE; i += 4) {
    words[wordAt(ENTRY.bootId + i)] = wordOf(entry.bootId, i);
  }
  words[wordAt(ENTRY.xorHash)] = scratchXor.low;
  words[wordAt(ENTRY.xorHash + 4)] = scratchXor.high;
}

function write64(offset: number, value: number): void {
  scratchWords[wordAt(offset)] = value;
  scratchWords[wordAt(offset + 4)] = Math.floor(value / 2 ** 32);
}

/** Where in {@link scratchWords} a place in the object is. */
function wordAt(offset: number): number {
  return (offset - OBJECT_HEADER_SIZE) >>> 2;
}

/** Puts an item in its place among `count` others, unless it is there; returns how many there are. */
function insertItem(
  offsets: Uint32Array,
  records: Int32Array,
  count: number,
  offset: number,
  record: number,
): number {
  let at = count - 1;
  while (at >= 0 && offsets[at]! > offset) at--;
  if (at >= 0 && offsets[at] === offset) return count;
  for (let move = count; move > at + 1; move--) {
    offsets[move] = offsets[move - 1]!;
    records[move] = records[move - 1]!;
  }
  offsets[at + 1] = offset;
  records[at + 1] = record;
  return count + 1;
}

function cachedViewOf(bytes: Uint8Array): DataView {
  if (bytes !== viewed) {
    viewed = bytes;
    view = viewOf(bytes);
  }
  return view;
}

function wordOf(bytes: Uint8Array, i: number): number {
  return bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
}
