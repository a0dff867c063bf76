/**
 * What a writer knows of the DATA objects of its file: where each is, and the end of its entry list,
 * so that a repeated field costs neither a walk of the hash chain nor of the entry arrays.
 * A struct of arrays keyed by the Jenkins hash of the payload, which every append needs anyway.
 * HOT: guarded by scripts/bench/writer.ts.
 */

const INITIAL_RECORDS = 1024;

export class DataIndex {
  /** Records made so far; a record's number never changes. */
  count = 0;
  offset = new Uint32Array(INITIAL_RECORDS);
  /** Size of the payload before compression. */
  payloadSize = new Uint32Array(INITIAL_RECORDS);
  hashLow = new Int32Array(INITIAL_RECORDS);
  hashHigh = new Int32Array(INITIAL_RECORDS);
  /** DATA.n_entries. */
  entries = new Uint32Array(INITIAL_RECORDS);
  /** The last array of the entry chain, how many items it holds and how many it has room for. */
  arrayOffset = new Uint32Array(INITIAL_RECORDS);
  arrayUsed = new Uint32Array(INITIAL_RECORDS);
  arrayCapacity = new Uint32Array(INITIAL_RECORDS);
  /** The record that stood behind this one in the last entry: a guess for the next. */
  successor = new Int32Array(INITIAL_RECORDS);
  /** 1 = stored compressed, so that its bytes cannot be compared in place. */
  compressed = new Uint8Array(INITIAL_RECORDS);
  /** 1 = `entries` and the array end are not in the file yet. */
  changed = new Uint8Array(INITIAL_RECORDS);

  /** Open addressing: record number + 1, or 0. */
  #table = new Int32Array(INITIAL_RECORDS * 4);

  /** First slot to look at; continue with {@link nextSlot}. */
  slotOf(low: number, high: number): number {
    return (low ^ (high * 31)) & (this.#table.length - 1);
  }

  nextSlot(slot: number): number {
    return (slot + 1) & (this.#table.length - 1);
  }

  /** The record in `slot`, or -1 where the search ends. */
  recordAt(slot: number): number {
    return this.#table[slot]! - 1;
  }

  /** Adds a record and returns its number; the caller fills in what is not 0. */
  add(low: number, high: number, offset: number, payloadSize: number): number {
    const record = this.count++;
    if (record === this.offset.length) this.#growRecords();
    if (this.count * 2 > this.#table.length) this.#growTable();
    this.offset[record] = offset;
    this.payloadSize[record] = payloadSize;
    this.hashLow[record] = low;
    this.hashHigh[record] = high;
    this.successor[record] = -1;
    this.#insert(record);
    return record;
  }

  #insert(record: number): void {
    let slot = this.slotOf(this.hashLow[record]!, this.hashHigh[record]!);
    while (this.#table[slot] !== 0) slot = this.nextSlot(slot);
    this.#table[slot] = record + 1;
  }

  #growTable(): void {
    this.#table = new Int32Array(this.#table.length * 2);
    // The new record is not in yet: add() inserts it.
    for (let record = 0; record < this.count - 1; record++) this.#insert(record);
  }

  #growRecords(): void {
    const size = this.offset.length * 2;
    this.offset = grown(this.offset, new Uint32Array(size));
    this.payloadSize = grown(this.payloadSize, new Uint32Array(size));
    this.hashLow = grown(this.hashLow, new Int32Array(size));
    this.hashHigh = grown(this.hashHigh, new Int32Array(size));
    this.entries = grown(this.entries, new Uint32Array(size));
    this.arrayOffset = grown(this.arrayOffset, new Uint32Array(size));
    this.arrayUsed = grown(this.arrayUsed, new Uint32Array(size));
    this.arrayCapacity = grown(this.arrayCapacity, new Uint32Array(size));
    this.successor = grown(this.successor, new Int32Array(size));
    this.compressed = grown(this.compressed, new Uint8Array(size));
    this.changed = grown(this.changed, new Uint8Array(size));
  }
}

function grown<T extends Uint32Array | Int32Array | Uint8Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
