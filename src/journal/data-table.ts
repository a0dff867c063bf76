/**
 * DATA objects of one file: finds the one that holds a payload or appends it.
 * HOT: guarded by scripts/bench/writer.ts.
 */
import { hashSiphash24, siphash } from "../bytes/siphash24.ts";
import { viewOf } from "../bytes/view.ts";
import { type Arena, requireRising } from "./arena.ts";
import { BucketTable } from "./bucket-table.ts";
import { type DataIndex, NO_RECORD, RECORD, releaseIndex, takeIndex } from "./data-index.ts";
import type { FieldTable } from "./field-table.ts";
import {
  DATA,
  ENTRY_ARRAY,
  HASH_ITEM,
  HASH_ITEM_SIZE,
  OBJECT,
  OBJECT_FLAGS_COMPRESSION,
  ObjectFlag,
  ObjectType,
} from "./format.ts";
import type { JournalHeader } from "./header.ts";
import { bucketOf } from "./payload-hash.ts";

/** Items from which an array is worth having in memory. */
const LONG_ARRAY = 64;
/**
 * Most senders are quiet: their index starts small. A hash table larger than a sender's first one means that
 * it filled files before, so its index has the final size at once.
 */
const QUIET_BUCKETS_MAX = 8191;
const QUIET_RECORDS = 512;

export interface DataTableOptions {
  arena: Arena;
  fields: FieldTable;
  /** The file id when the file's hash is keyed. */
  key: Uint8Array | undefined;
  header: JournalHeader;
  /** zstd for payloads from this size on; undefined = never. */
  compressThresholdBytes: number | undefined;
  /** The file is new: a payload that the index does not know is not in the file either. */
  isNew: boolean;
}

export class DataTable {
  readonly index: DataIndex;
  count: number;
  chainDepth: number;
  /** Most slots of the index looked at for one payload: grows when somebody crafts colliding payloads. */
  probesMax = 0;
  readonly buckets: number;
  readonly #arena: Arena;
  readonly #fields: FieldTable;
  readonly #key: Uint8Array | undefined;
  readonly #itemsOffset: number;
  readonly #compressThreshold: number;
  readonly #payloadStart: number;
  readonly #isNew: boolean;
  /**
   * Objects are counted in their buckets not before they are linked, all in a row, which is a wait for memory less for
   * each. Where there is a key, nobody can craft payloads that fall on one bucket meanwhile.
   */
  readonly #isCountedLate: boolean;
  readonly #table: BucketTable;
  /**
   * Bucket and offset of each DATA object of a new file that is not in its bucket yet. Nothing looks for it there:
   * so its bucket and the object before it, anywhere in the file, are written to once a flush.
   */
  #appended: number[] = [];
  /** How much of that is done. */
  #linked = 0;
  /** Objects in each bucket, up to 255; in a reopened file of the buckets walked so far. */
  readonly #bucketLength: Uint8Array;
  #changed: number[] = [];

  constructor(options: DataTableOptions) {
    this.#arena = options.arena;
    this.#fields = options.fields;
    this.#key = options.key;
    const { header } = options;
    this.#itemsOffset = header.dataHashTableOffset;
    this.buckets = header.dataHashTableSize / HASH_ITEM_SIZE;
    this.count = header.data ?? 0;
    this.chainDepth = header.dataHashChainDepth ?? 0;
    this.#compressThreshold = options.compressThresholdBytes ?? Number.POSITIVE_INFINITY;
    this.#payloadStart = options.arena.compact ? DATA.compactPayload : DATA.regularPayload;
    this.#isNew = options.isNew;
    this.#isCountedLate = options.isNew && options.key !== undefined;
    this.#bucketLength = new Uint8Array(this.buckets);
    const isBusy = this.buckets > QUIET_BUCKETS_MAX;
    this.#table = new BucketTable(
      options.arena.file,
      this.#itemsOffset,
      this.buckets,
      this.#isNew && isBusy,
    );
    // The file is rotated when its hash table is three quarters full.
    this.index = takeIndex(isBusy ? this.buckets : QUIET_RECORDS);
  }

  /** Whether record `guess` holds exactly [start .. end) of `view`. */
  holds(guess: number, view: DataView, start: number, end: number): boolean {
    const { words } = this.index;
    if (words[guess + RECORD.payloadSize] !== end - start) return false;
    const offset = words[guess + RECORD.offset]! >>> 0;
    if (words[guess + RECORD.isCompressed] === 1) {
      return equalBytes(this.#decompress(offset), view, start, end);
    }
    return this.#arena.file.equals(offset + this.#payloadStart, view, start, end);
  }

  /**
   * The record of the payload [start .. end) of `view`, appended if the file does not have it.
   * @param low and `high`: its Jenkins hash
   */
  findOrAppend(
    view: DataView,
    start: number,
    end: number,
    nameLength: number,
    low: number,
    high: number,
  ): number {
    const { index } = this;
    const { words } = index;
    let probes = 0;
    for (let slot = index.slotOf(low, high); ; slot = index.nextSlot(slot)) {
      const record = index.recordAt(slot, high);
      if (record === NO_RECORD) break;
      probes++;
      if (record < 0) continue;
      if (words[record + RECORD.hashLow] !== low || words[record + RECORD.hashHigh] !== high)
        continue;
      if (this.holds(record, view, start, end)) return record;
    }
    if (probes > this.probesMax) this.probesMax = probes;
    return this.#findInFileOrAppend(view, start, end, nameLength, low, high);
  }

  /** Adds an entry to the lists of those that hold the payload of each of `count` records. */
  linkEntry(records: Int32Array, count: number, entryOffset: number): void {
    const { words } = this.index;
    const { file, arrayItemSize } = this.#arena;
    for (let i = 0; i < count; i++) {
      const record = records[i]!;
      const entries = words[record + RECORD.entries]!;
      if (entries === 0) {
        this.#linkFirstEntry(record, entryOffset);
        continue;
      }
      let used = words[record + RECORD.arrayUsed]!;
      if (used === words[record + RECORD.arrayCapacity]) {
        this.#extendArrays(record, entries - 1);
        used = 0;
      }
      const item =
        (words[record + RECORD.arrayOffset]! >>> 0) + ENTRY_ARRAY.items + used * arrayItemSize;
      // The pages of a long array are written again soon; a short one may not be seen for long.
      if (words[record + RECORD.arrayCapacity]! > LONG_ARRAY) file.set32(item, entryOffset);
      else file.poke32(item, entryOffset);
      words[record + RECORD.arrayUsed] = used + 1;
      words[record + RECORD.entries] = entries + 1;
      if (words[record + RECORD.isChanged] !== 0) continue;
      words[record + RECORD.isChanged] = 1;
      this.#changed.push(record);
    }
  }

  #linkFirstEntry(record: number, entryOffset: number): void {
    const { words } = this.index;
    words[record + RECORD.entries] = 1;
    words[record + RECORD.firstEntry] = entryOffset;
    if (this.#isNew) {
      // Nothing leads to the object yet.
      this.#writeFirstEntry(record);
      return;
    }
    words[record + RECORD.isChanged] = 2;
    this.#changed.push(record);
  }

  /** Hands what changed to the file, before it is flushed. */
  writeChanges(): void {
    for (const record of this.#changed) this.#writeChange(record);
    this.#changed = [];
    this.#linkAppended();
  }

  /** Writes what leads to the objects, which have been flushed. @throws the runtime's error */
  flushTable(): void {
    this.#table.flush();
  }

  /**
   * Both at once: readers refuse a DATA object with a first entry but no count, and the page cache may have pages
   * written at any time. So what may have to be read comes first.
   */
  #writeFirstEntry(record: number): void {
    const { words } = this.index;
    const { file } = this.#arena;
    const offset = words[record + RECORD.offset]! >>> 0;
    file.get32(offset + DATA.entryOffset);
    file.set32(offset + DATA.entries, words[record + RECORD.entries]!);
    file.set32(offset + DATA.entryOffset, words[record + RECORD.firstEntry]!);
  }

  #writeChange(record: number): void {
    const { words } = this.index;
    const { file, compact } = this.#arena;
    const offset = words[record + RECORD.offset]! >>> 0;
    if (words[record + RECORD.isChanged] === 2) this.#writeFirstEntry(record);
    else file.poke32(offset + DATA.entries, words[record + RECORD.entries]!);
    const array = words[record + RECORD.arrayOffset]! >>> 0;
    if (compact && array !== 0) {
      file.poke32(offset + DATA.tailEntryArrayOffset, array);
      file.poke32(offset + DATA.tailEntryArrayEntries, words[record + RECORD.arrayUsed]!);
    }
    words[record + RECORD.isChanged] = 0;
  }

  /** The file is closed. */
  release(): void {
    releaseIndex(this.index);
    this.#table.release();
  }

  #extendArrays(record: number, items: number): void {
    const { words } = this.index;
    const capacity = this.#arena.nextArrayCapacity(items, words[record + RECORD.arrayCapacity]!);
    const array = this.#arena.allocateEntryArray(capacity);
    const last = words[record + RECORD.arrayOffset]! >>> 0;
    if (last === 0) {
      this.#arena.file.poke32(
        (words[record + RECORD.offset]! >>> 0) + DATA.entryArrayOffset,
        array,
      );
    } else {
      this.#arena.file.poke32(last + ENTRY_ARRAY.nextEntryArrayOffset, array);
    }
    words[record + RECORD.arrayOffset] = array;
    words[record + RECORD.arrayCapacity] = capacity;
  }

  #findInFileOrAppend(
    view: DataView,
    start: number,
    end: number,
    nameLength: number,
    low: number,
    high: number,
  ): number {
    let storedLow = low;
    let storedHigh = high;
    if (this.#key !== undefined) {
      hashSiphash24(this.#key, view, start, end);
      storedLow = siphash.low;
      storedHigh = siphash.high;
    }
    const bucket = bucketOf(storedLow, storedHigh, this.buckets);
    if (!this.#isNew) {
      const found = this.#findInFile(bucket, storedLow, storedHigh, view, start, end);
      if (found !== 0) return this.#remember(found, low, high, end - start);
    }
    const offset = this.#append(view, start, end, storedLow, storedHigh);
    if (!this.#isCountedLate) this.#countInBucket(bucket);
    if (this.#isNew) this.#appended.push(bucket, offset);
    else this.#table.append(bucket, offset);
    this.#fields.link(view, start, start + nameLength, offset);
    this.count++;
    const record = this.index.add(low, high, offset, end - start);
    if (this.#isCompressed(offset)) this.index.words[record + RECORD.isCompressed] = 1;
    return record;
  }

  /** Walks a bucket of a reopened file. 0 = not there. */
  #findInFile(
    bucket: number,
    low: number,
    high: number,
    view: DataView,
    start: number,
    end: number,
  ): number {
    const arena = this.#arena;
    const { file } = arena;
    let depth = 0;
    let offset = file.get32(this.#itemsOffset + bucket * HASH_ITEM_SIZE + HASH_ITEM.head);
    while (offset !== 0) {
      arena.requireObject(offset, ObjectType.data);
      const sameHash =
        (file.get32(offset + DATA.hash) | 0) === low &&
        (file.get32(offset + DATA.hash + 4) | 0) === high;
      if (sameHash && this.#payloadEquals(offset, view, start, end)) return offset;
      const next = file.get32(offset + DATA.nextHashOffset);
      requireRising(offset, next);
      offset = next;
      depth++;
    }
    this.#bucketLength[bucket] = Math.min(depth, 255);
    return 0;
  }

  #payloadEquals(offset: number, view: DataView, start: number, end: number): boolean {
    const { file } = this.#arena;
    const stored = file.get32(offset + OBJECT.size) - this.#payloadStart;
    if (this.#isCompressed(offset)) {
      return equalBytes(this.#decompress(offset), view, start, end);
    }
    return stored === end - start && file.equals(offset + this.#payloadStart, view, start, end);
  }

  #isCompressed(offset: number): boolean {
    return ((this.#arena.file.get32(offset + OBJECT.type) >>> 8) & OBJECT_FLAGS_COMPRESSION) !== 0;
  }

  #decompress(offset: number): Uint8Array {
    const { file } = this.#arena;
    const stored = file.get32(offset + OBJECT.size) - this.#payloadStart;
    return Bun.zstdDecompressSync(file.copyOut(offset + this.#payloadStart, stored));
  }

  /** Takes a DATA object of a reopened file into the index. */
  #remember(offset: number, low: number, high: number, payloadSize: number): number {
    const { file, compact } = this.#arena;
    const record = this.index.add(low, high, offset, payloadSize);
    const { words } = this.index;
    const entries = file.get32(offset + DATA.entries);
    words[record + RECORD.entries] = entries;
    if (this.#isCompressed(offset)) words[record + RECORD.isCompressed] = 1;
    let array = file.get32(offset + DATA.entryArrayOffset);
    let used = Math.max(0, entries - 1);
    const tail = compact ? file.get32(offset + DATA.tailEntryArrayOffset) : 0;
    if (tail !== 0) {
      array = tail;
      used = file.get32(offset + DATA.tailEntryArrayEntries);
    }
    while (array !== 0) {
      const capacity = this.#arena.requireArray(array, 1);
      words[record + RECORD.arrayOffset] = array;
      words[record + RECORD.arrayCapacity] = capacity;
      words[record + RECORD.arrayUsed] = Math.min(used, capacity);
      if (used <= capacity) break;
      used -= capacity;
      const next = file.get32(array + ENTRY_ARRAY.nextEntryArrayOffset);
      requireRising(array, next);
      array = next;
    }
    return record;
  }

  #append(view: DataView, start: number, end: number, low: number, high: number): number {
    let source = view;
    let from = start;
    let to = end;
    let flags = 0;
    if (end - start >= this.#compressThreshold) {
      const compressed = Bun.zstdCompressSync(bytesOf(view, start, end), { level: 3 });
      if (compressed.length < end - start) {
        source = viewOf(compressed);
        from = 0;
        to = compressed.length;
        flags = ObjectFlag.zstd;
      }
    }
    const { file } = this.#arena;
    const offset = this.#arena.allocate(ObjectType.data, flags, this.#payloadStart + to - from);
    file.set32(offset + DATA.hash, low);
    file.set32(offset + DATA.hash + 4, high);
    file.copyIn(offset + this.#payloadStart, source, from, to);
    return offset;
  }

  #countInBucket(bucket: number): void {
    const length = Math.min(255, this.#bucketLength[bucket]! + 1);
    this.#bucketLength[bucket] = length;
    if (length - 1 > this.chainDepth) this.chainDepth = length - 1;
  }

  /** May be repeated after it threw: goes on where it was. */
  #linkAppended(): void {
    const appended = this.#appended;
    for (; this.#linked < appended.length; this.#linked += 2) {
      const bucket = appended[this.#linked]!;
      this.#table.append(bucket, appended[this.#linked + 1]!);
      if (this.#isCountedLate) this.#countInBucket(bucket);
    }
    this.#appended = [];
    this.#linked = 0;
  }
}

function bytesOf(view: DataView, start: number, end: number): Uint8Array {
  return new Uint8Array(view.buffer as ArrayBuffer, view.byteOffset + start, end - start);
}

function equalBytes(stored: Uint8Array, view: DataView, start: number, end: number): boolean {
  return Buffer.compare(stored, bytesOf(view, start, end)) === 0;
}
