/**
 * What a writer knows of the DATA objects of its file: where each is, and the end of its entry list,
 * so that a repeated field costs neither a walk of the hash chain nor of the entry arrays.
 * Keyed by the Jenkins hash of the payload, which every append needs anyway. A record fills one cache
 * line: most of what appending costs is waiting for memory.
 * HOT: guarded by scripts/bench/writer.ts.
 */

/**
 * Words of a record; it is known by the index of its first word. They are signed, because the engine
 * keeps numbers past 2^31 as doubles: read an offset with `>>> 0`.
 */
export const RECORD = {
  offset: 0,
  /** Size of the payload before compression. */
  payloadSize: 1,
  hashLow: 2,
  hashHigh: 3,
  /** DATA.n_entries. */
  entries: 4,
  /** The last array of the entry chain, how many items it holds and how many it has room for. */
  arrayOffset: 5,
  arrayUsed: 6,
  arrayCapacity: 7,
  /** The record that stood behind this one in the last entry, a guess for the next; or NO_RECORD. */
  successor: 8,
  /** 1 = stored compressed, so that its bytes cannot be compared in place. */
  isCompressed: 9,
  /** 1 = `entries` and the end of the chain are not in the file yet; 2 = nor is `firstEntry`. */
  isChanged: 10,
  /** DATA.entryOffset; known only until it is in the file. */
  firstEntry: 11,
} as const;
const RECORD_WORDS = 16;
export const NO_RECORD = -1;
export const OTHER_RECORD = -2;
/** Smaller indexes are not worth keeping. */
const SPARE_RECORDS_MIN = 2 ** 15;

/**
 * The index of a large file that was closed, for the next one: the collector may take its time with these
 * 17 MB, and a busy sender fills a file in less. If it has taken them, they are free already.
 */
let spare: WeakRef<DataIndex> | undefined;

/** An empty index; give it back with {@link releaseIndex}. */
export function takeIndex(expected: number): DataIndex {
  const index = spare?.deref();
  if (index === undefined || index.capacity < expected || index.capacity > 2 * expected) {
    return new DataIndex(expected);
  }
  spare = undefined;
  index.clear();
  return index;
}

export function releaseIndex(index: DataIndex): void {
  if (index.capacity >= SPARE_RECORDS_MIN) spare = new WeakRef(index);
}

export class DataIndex {
  words: Int32Array;
  /** Word index behind the last record. */
  #end = 0;
  #records = 0;
  /**
   * Open addressing, at most half full: in the low bits, as many as there are slots, record / RECORD_WORDS + 1; above
   * them those of the hash's high half. 0 = empty.
   */
  #table: Int32Array;
  /** What {@link prefetch} read: were it dropped, the engine would find that nothing need be read. */
  prefetched = 0;

  /** @param expected records there will probably be; there may be more */
  constructor(expected: number) {
    this.words = new Int32Array(expected * RECORD_WORDS);
    this.#table = new Int32Array(2 ** Math.ceil(Math.log2(expected * 2)));
  }

  /** First slot to look at; continue with {@link nextSlot}. Halves of a hash are signed. */
  slotOf(low: number, high: number): number {
    return (low ^ Math.imul(high, 31)) & (this.#table.length - 1);
  }

  nextSlot(slot: number): number {
    return (slot + 1) & (this.#table.length - 1);
  }

  /**
   * The record in `slot`; NO_RECORD where the search ends, OTHER_RECORD for one that cannot have this `high`: most
   * are told from the table alone, without a look at the record.
   */
  recordAt(slot: number, high: number): number {
    const table = this.#table;
    const item = table[slot]!;
    if (item === 0) return NO_RECORD;
    const numberMask = table.length - 1;
    if (((item ^ high) & ~numberMask) !== 0) return OTHER_RECORD;
    return ((item & numberMask) - 1) * RECORD_WORDS;
  }

  /**
   * Brings what is known of payloads near the processor, before each is looked up: one by one, each would be a wait
   * for memory; here they are waited for together.
   * @param hashes of payloads [from .. end): low and high half one behind the other
   */
  prefetch(hashes: Int32Array, from: number, end: number): void {
    const table = this.#table;
    const { words } = this;
    const numberMask = table.length - 1;
    let seen = 0;
    for (let i = from; i < end; i++)
      seen ^= table[this.slotOf(hashes[2 * i]!, hashes[2 * i + 1]!)]!;
    for (let i = from; i < end; i++) {
      const high = hashes[2 * i + 1]!;
      const item = table[this.slotOf(hashes[2 * i]!, high)]!;
      if (item === 0 || ((item ^ high) & ~numberMask) !== 0) continue;
      seen ^= words[((item & numberMask) - 1) * RECORD_WORDS]!;
    }
    this.prefetched = seen;
  }

  /** Records there is room for without growing. */
  get capacity(): number {
    return this.words.length / RECORD_WORDS;
  }

  /** Forgets all records. */
  clear(): void {
    this.#end = 0;
    this.#records = 0;
    this.#table.fill(0);
  }

  /** Adds a record and returns it; what is not given is 0. */
  add(low: number, high: number, offset: number, payloadSize: number): number {
    const record = this.#end;
    if (record === this.words.length) this.#growRecords();
    if (this.#records * 2 >= this.#table.length) this.#growTable();
    this.#end = record + RECORD_WORDS;
    this.#records++;
    const { words } = this;
    words[record + RECORD.offset] = offset;
    words[record + RECORD.payloadSize] = payloadSize;
    words[record + RECORD.hashLow] = low;
    words[record + RECORD.hashHigh] = high;
    words[record + RECORD.entries] = 0;
    words[record + RECORD.arrayOffset] = 0;
    words[record + RECORD.arrayUsed] = 0;
    words[record + RECORD.arrayCapacity] = 0;
    words[record + RECORD.successor] = NO_RECORD;
    words[record + RECORD.isCompressed] = 0;
    words[record + RECORD.isChanged] = 0;
    this.#insert(record);
    return record;
  }

  #insert(record: number): void {
    const { words } = this;
    const table = this.#table;
    const high = words[record + RECORD.hashHigh]!;
    let slot = this.slotOf(words[record + RECORD.hashLow]!, high);
    while (table[slot] !== 0) slot = this.nextSlot(slot);
    table[slot] = (record / RECORD_WORDS + 1) | (high & -table.length);
  }

  #growTable(): void {
    this.#table = new Int32Array(this.#table.length * 2);
    for (let record = 0; record < this.#end; record += RECORD_WORDS) this.#insert(record);
  }

  #growRecords(): void {
    const grown = new Int32Array(this.words.length * 2);
    grown.set(this.words);
    this.words = grown;
  }
}
