/**
 * Makes bodies of the batch format from the entries of journal files.
 * HOT: guarded by scripts/bench/batch.ts.
 */
import { viewOf } from "../bytes/view.ts";
import { ENTRY_FIELDS_MAX } from "../journal/entry.ts";
import type { DataCache } from "../journal/reader/data-cache.ts";
import type { JournalEntry } from "../journal/reader/journal-entry.ts";
import {
  BLOCK,
  BLOCK_HEAD_SIZE,
  BLOCK_SIGNATURE,
  BlockFlag,
  DEFINITION,
  DEFINITION_HEAD_SIZE,
  DEFINITIONS_MAX,
  DICTIONARY_SIZE_MAX,
  definitionSize,
  ENTRY_HEAD,
  ENTRY_HEAD_SIZE,
  EntryFlag,
  entrySize,
  ORIGIN_SIZE,
} from "./format.ts";

/** Blocks are closed at this size: what the receiver hands from thread to thread in one piece. */
const BLOCK_SIZE = 128 * 1024;
/** Memory of a body or block: at first, and the most that is kept for the next one. */
const ROOM_INITIAL = 16 * 1024;
const ROOM_KEPT_MAX = 16 * 1024 * 1024;
const RECORDS_INITIAL = 1024;
/** Numbers given since the table of numbers was cleared. */
const BASE_MAX = 2 ** 30;
const NO_NUMBER = -1;
const UNDERSCORE = 0x5f;
/** Longer payloads are copied by the runtime. */
const LOOP_COPY_MAX = 256;
const ORIGIN_WORDS = ORIGIN_SIZE / 4;

export class BatchEncoder {
  /** Entries in the body so far. */
  entries = 0;
  /** Blocks that are done, one behind the other. */
  readonly #body: Area;
  readonly #spare: ArrayBuffer[] = [];
  readonly #spareMax: number;
  /** Origins, definitions and entries of the block at hand. */
  readonly #origins = new Area();
  readonly #definitions = new Area();
  readonly #items = new Area();
  /** Of the last entry. */
  #origin = 0;
  /** The block at hand starts the numbers anew. */
  #isRestart = false;
  #blockDefinitions = 0;
  #blockEntries = 0;
  /** By record: `#base` + its number; not known when below `#floor`. */
  #numbers = new Int32Array(RECORDS_INITIAL).fill(NO_NUMBER);
  #base = 0;
  #floor = 0;
  #generation = NO_NUMBER;
  /** Fields that have numbers, and the bytes of their definitions. */
  #count = 0;
  #dictionarySize = 0;
  /** Records of the entry at hand that got their numbers by it. */
  readonly #fresh: number[] = [];
  #viewed: Uint8Array;
  #view: DataView;

  /**
   * @param sizeUsual bytes that bodies mostly have at most
   * @param spareMax bodies whose memory is kept for others
   */
  constructor(sizeUsual = 0, spareMax = 0) {
    this.#body = new Area(sizeUsual === 0 ? 0 : sizeUsual + 2 * BLOCK_SIZE);
    this.#spareMax = spareMax;
    this.#viewed = this.#body.bytes;
    this.#view = viewOf(this.#viewed);
  }

  /** Begins a body; one that was not finished is forgotten. */
  begin(): void {
    this.entries = 0;
    if (this.#body.bytes.length === 0) this.#body.give(this.#spare.pop());
    this.#body.clear();
    this.#clearBlock();
    this.#forgetNumbers();
    this.#isRestart = false;
  }

  /** Bytes of the body so far. */
  get size(): number {
    const block = this.#blockSize;
    return this.#body.size + (block === BLOCK_HEAD_SIZE ? 0 : block);
  }

  /**
   * Appends an entry.
   * @returns false when it cannot, because its fields are too many or too large: it has to go as export text, and the
   * entries of the body are what they were
   */
  add(entry: JournalEntry): boolean {
    const { cache } = entry;
    if (cache.generation !== this.#generation) {
      this.#generation = cache.generation;
      this.#floor = this.#base + this.#count;
    }
    if (cache.recordCount > this.#numbers.length) this.#growNumbers(cache.recordCount);
    const items = this.#items;
    items.reserve(entrySize(entry.recordCount));
    let fieldCount = this.#writeNumbers(entry);
    let freshSize = this.#freshSize(cache);
    if (!this.#hasRoom(freshSize)) {
      this.#forgetFresh();
      this.#restart();
      fieldCount = this.#writeNumbers(entry);
      freshSize = this.#freshSize(cache);
    }
    if (fieldCount > ENTRY_FIELDS_MAX || !this.#hasRoom(freshSize)) {
      this.#forgetFresh();
      return false;
    }
    const size = entrySize(fieldCount);
    if (freshSize > 0) this.#defineFresh(cache, freshSize, size);
    if (this.#blockSize + size + ORIGIN_SIZE > BLOCK_SIZE) this.#endBlock(size);
    writeHead(items, entry, fieldCount, this.#originOf(entry));
    items.size += size;
    this.#blockEntries++;
    this.entries++;
    return true;
  }

  /** Ends the body and returns it, in memory that {@link recycle} may take back; the next one begins. */
  finish(): Uint8Array {
    if (this.#blockSize > BLOCK_HEAD_SIZE) this.#endBlock(0);
    const body = this.#body.take();
    this.begin();
    return body;
  }

  /** Takes back the memory of a body that is no longer needed. */
  recycle(body: Uint8Array): void {
    if (this.#spare.length < this.#spareMax) this.#spare.push(body.buffer as ArrayBuffer);
  }

  get #blockSize(): number {
    return BLOCK_HEAD_SIZE + this.#origins.size + this.#definitions.size + this.#items.size;
  }

  /** Numbers begin with 0 again, in a block of their own. */
  #restart(): void {
    this.#endBlock(0);
    this.#isRestart = this.#body.size > 0;
    this.#forgetNumbers();
  }

  #forgetNumbers(): void {
    this.#base += this.#count;
    if (this.#base > BASE_MAX) {
      this.#base = 0;
      this.#numbers.fill(NO_NUMBER);
    }
    this.#floor = this.#base;
    this.#count = 0;
    this.#dictionarySize = 0;
  }

  /**
   * Writes the numbers of the entry's fields behind the entries of the block, where they count once the entry is
   * admitted; returns how many.
   */
  #writeNumbers({ records, recordCount, cache }: JournalEntry): number {
    const { halves, size } = this.#items;
    const numbers = this.#numbers;
    const base = this.#base;
    const floor = this.#floor;
    const first = (size + ENTRY_HEAD_SIZE) >>> 1;
    let at = first;
    for (let i = 0; i < recordCount; i++) {
      const record = records[i]!;
      let number = numbers[record]!;
      if (number < floor) {
        // The export format leaves them out as well: no receiver takes them.
        if (isReserved(cache, record)) continue;
        number = base + this.#count + this.#fresh.length;
        numbers[record] = number;
        this.#fresh.push(record);
      }
      halves[at++] = number - base;
    }
    const end = (size + entrySize(at - first)) >>> 1;
    for (let i = at; i < end; i++) halves[i] = 0;
    return at - first;
  }

  /** Bytes of the definitions of the fields that are new. */
  #freshSize(cache: DataCache): number {
    let size = 0;
    for (const record of this.#fresh) size += definitionSize(cache.size[record]!);
    return size;
  }

  /** Whether they can have numbers beside the others. */
  #hasRoom(freshSize: number): boolean {
    return (
      this.#count + this.#fresh.length <= DEFINITIONS_MAX &&
      this.#dictionarySize + freshSize <= DICTIONARY_SIZE_MAX
    );
  }

  #forgetFresh(): void {
    for (const record of this.#fresh) this.#numbers[record] = NO_NUMBER;
    this.#fresh.length = 0;
  }

  #defineFresh(cache: DataCache, size: number, entryBytes: number): void {
    const fresh = this.#fresh;
    if (this.#blockSize + size + entryBytes + ORIGIN_SIZE > BLOCK_SIZE) this.#endBlock(entryBytes);
    for (const record of fresh) this.#define(cache, record, entryBytes);
    this.#count += fresh.length;
    this.#dictionarySize += size;
    fresh.length = 0;
  }

  #define(cache: DataCache, record: number, entryBytes: number): void {
    const payloadSize = cache.size[record]!;
    const size = definitionSize(payloadSize);
    // What does not fit behind others gets a block of its own.
    if (this.#blockSize + size > BLOCK_SIZE) this.#endBlock(entryBytes);
    const definitions = this.#definitions;
    definitions.reserve(size);
    const at = definitions.size;
    const { words } = definitions;
    words[(at + size - 8) >>> 2] = 0;
    words[(at + size - 4) >>> 2] = 0;
    words[(at + DEFINITION.payloadSize) >>> 2] = payloadSize;
    words[(at + DEFINITION.nameLength) >>> 2] = cache.nameLength[record]!;
    this.#copyPayload(cache.bytesOf(record), cache.start[record]!, payloadSize, at);
    definitions.size = at + size;
    this.#blockDefinitions++;
  }

  #copyPayload(source: Uint8Array, start: number, size: number, at: number): void {
    const { bytes, words } = this.#definitions;
    const to = at + DEFINITION_HEAD_SIZE;
    if (size > LOOP_COPY_MAX) {
      bytes.set(source.subarray(start, start + size), to);
      return;
    }
    if (source !== this.#viewed) {
      this.#viewed = source;
      this.#view = viewOf(source);
    }
    const view = this.#view;
    const wholeWords = size >>> 2;
    const first = to >>> 2;
    for (let i = 0; i < wholeWords; i++) words[first + i] = view.getInt32(start + (i << 2), true);
    for (let i = wholeWords << 2; i < size; i++) bytes[to + i] = source[start + i]!;
  }

  /**
   * Puts the block, should there be one, behind the body.
   * @param entryBytes of the entry at hand, whose numbers stand behind those of the block: they move to the next one
   */
  #endBlock(entryBytes: number): void {
    const definitions = this.#definitions;
    const items = this.#items;
    const body = this.#body;
    const size = this.#blockSize;
    if (size === BLOCK_HEAD_SIZE) return;
    body.reserve(size);
    const { words } = body;
    const at = body.size;
    words[(at + BLOCK.signature) >>> 2] = BLOCK_SIGNATURE;
    words[(at + BLOCK.size) >>> 2] = size;
    words[(at + BLOCK.flags) >>> 2] = this.#isRestart ? BlockFlag.restart : 0;
    words[(at + BLOCK.originCount) >>> 2] = this.#origins.size / ORIGIN_SIZE;
    words[(at + BLOCK.definitionCount) >>> 2] = this.#blockDefinitions;
    words[(at + BLOCK.entryCount) >>> 2] = this.#blockEntries;
    body.size = at + BLOCK_HEAD_SIZE;
    body.append(this.#origins);
    body.append(definitions);
    body.append(items);
    items.bytes.copyWithin(0, items.size, items.size + entryBytes);
    this.#clearBlock();
    this.#isRestart = false;
  }

  #clearBlock(): void {
    this.#origins.clear();
    this.#definitions.clear();
    this.#items.size = 0;
    this.#blockDefinitions = 0;
    this.#blockEntries = 0;
  }

  /** The place of the entry's boot and sequence among those of the block. */
  #originOf({ idWords }: JournalEntry): number {
    const { size } = this.#origins;
    const count = size / ORIGIN_SIZE;
    if (this.#origin < count && this.#isOrigin(this.#origin, idWords)) return this.#origin;
    for (let origin = 0; origin < count; origin++) {
      if (!this.#isOrigin(origin, idWords)) continue;
      this.#origin = origin;
      return origin;
    }
    this.#origins.reserve(ORIGIN_SIZE);
    this.#origins.words.set(idWords, size >>> 2);
    this.#origins.size = size + ORIGIN_SIZE;
    this.#origin = count;
    return count;
  }

  #isOrigin(origin: number, idWords: Int32Array): boolean {
    const { words } = this.#origins;
    const first = origin * ORIGIN_WORDS;
    for (let i = 0; i < ORIGIN_WORDS; i++) if (words[first + i] !== idWords[i]) return false;
    return true;
  }

  #growNumbers(recordCount: number): void {
    const grown = new Int32Array(Math.max(recordCount, 2 * this.#numbers.length)).fill(NO_NUMBER);
    grown.set(this.#numbers);
    this.#numbers = grown;
  }
}

/** Bytes that grow, at a multiple of 8. */
class Area {
  bytes: Uint8Array = new Uint8Array(0);
  /** The same memory as `bytes`. */
  halves: Uint16Array = new Uint16Array(0);
  words: Int32Array = new Int32Array(0);
  doubles: Float64Array = new Float64Array(0);
  /** Bytes in use. */
  size = 0;
  readonly #roomUsual: number;

  /** @param roomUsual it does not grow beyond before it has to */
  constructor(roomUsual = 0) {
    this.#roomUsual = roomUsual;
  }

  /** What is in use, which is no longer the area's. */
  take(): Uint8Array {
    const bytes = this.bytes.subarray(0, this.size);
    this.#use(new ArrayBuffer(0));
    this.size = 0;
    return bytes;
  }

  give(buffer: ArrayBuffer | undefined): void {
    if (buffer !== undefined) this.#use(buffer);
  }

  /** Makes room for so many more bytes. */
  reserve(count: number): void {
    const size = this.size + count;
    if (size <= this.bytes.length) return;
    const old = this.bytes;
    const doubled = Math.max(size, 2 * old.length, ROOM_INITIAL);
    const room = size <= this.#roomUsual ? Math.min(doubled, this.#roomUsual) : doubled;
    this.#use(new ArrayBuffer(Math.ceil(room / 8) * 8));
    this.bytes.set(old.subarray(0, this.size));
  }

  append(other: Area): void {
    this.reserve(other.size);
    this.bytes.set(other.bytes.subarray(0, other.size), this.size);
    this.size += other.size;
  }

  clear(): void {
    this.size = 0;
    if (this.bytes.length > ROOM_KEPT_MAX) this.#use(new ArrayBuffer(0));
  }

  #use(buffer: ArrayBuffer): void {
    this.bytes = new Uint8Array(buffer);
    this.halves = new Uint16Array(buffer);
    this.words = new Int32Array(buffer);
    this.doubles = new Float64Array(buffer);
  }
}

/** Everything of an entry but its numbers, at the end of the area. */
function writeHead(
  { halves, words, doubles, size }: Area,
  entry: JournalEntry,
  fieldCount: number,
  origin: number,
): void {
  const word = size >>> 2;
  const double = size >>> 3;
  doubles[double + (ENTRY_HEAD.realtimeUsec >>> 3)] = entry.realtimeUsec;
  doubles[double + (ENTRY_HEAD.monotonicUsec >>> 3)] = entry.monotonicUsec;
  doubles[double + (ENTRY_HEAD.seqnum >>> 3)] = entry.seqnum;
  words[word + (ENTRY_HEAD.xorHashLow >>> 2)] = entry.xorHashLow;
  words[word + (ENTRY_HEAD.xorHashHigh >>> 2)] = entry.xorHashHigh;
  words[word + (ENTRY_HEAD.fieldCount >>> 2)] = fieldCount;
  halves[(size + ENTRY_HEAD.origin) >>> 1] = origin;
  halves[(size + ENTRY_HEAD.flags) >>> 1] = entry.hasXorHash ? 0 : EntryFlag.noXorHash;
}

/** Whether the record's name begins with "__". */
function isReserved(cache: DataCache, record: number): boolean {
  const bytes = cache.bytesOf(record);
  const start = cache.start[record]!;
  return bytes[start] === UNDERSCORE && bytes[start + 1] === UNDERSCORE;
}
