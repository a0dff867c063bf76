/**
 * Fields that entries have by number instead of by their bytes: those of one request in the batch format.
 * HOT: guarded by scripts/bench/batch.ts.
 */
import { hashJenkins, jenkins } from "../bytes/lookup3.ts";
import { viewOf } from "../bytes/view.ts";
import type { Entry } from "./entry.ts";

const FIELDS_INITIAL = 256;
const BYTES_INITIAL = 16 * 1024;
const NO_RECORDS = new Int32Array(0);
/** Dictionaries kept for the next request, and how much each may hold on to: one that is being stored, one behind it. */
const SPARES_MAX = 2;
const SPARE_BYTES_MAX = 8 * 1024 * 1024;
const spares: FieldDictionary[] = [];
/** Records kept for all files together, 4 MiB of them; past that all are forgotten, and looked up again. */
const RECORDS_MAX = 2 ** 20;

/** An empty dictionary; give it back with {@link releaseDictionary}. */
export function takeDictionary(): FieldDictionary {
  return spares.pop() ?? new FieldDictionary();
}

export function releaseDictionary(dictionary: FieldDictionary): void {
  if (spares.length === SPARES_MAX || dictionary.bytes.length > SPARE_BYTES_MAX) return;
  dictionary.clear();
  spares.push(dictionary);
}

export class FieldDictionary {
  /** Field n is `bytes[starts[n] .. ends[n])`, its name the first `nameLengths[n]` of them. */
  bytes: Uint8Array = new Uint8Array(BYTES_INITIAL);
  /** The same memory as `bytes`. */
  view: DataView = viewOf(this.bytes);
  starts: Uint32Array = new Uint32Array(FIELDS_INITIAL);
  ends: Uint32Array = new Uint32Array(FIELDS_INITIAL);
  nameLengths: Uint8Array = new Uint8Array(FIELDS_INITIAL);
  /** Jenkins hashes, low and high half one behind the other, of the first `hashed` fields. */
  hashes: Int32Array = new Int32Array(2 * FIELDS_INITIAL);
  hashed = 0;
  count = 0;
  /** Size of the largest field. */
  sizeMax = 0;
  #used = 0;
  /** Whose records were asked for last, and those of all who asked. */
  #owner: object | undefined;
  #records: Int32Array = NO_RECORDS;
  #recordsOf = new WeakMap<object, Int32Array>();
  #recordCount = 0;

  /** Forgets all fields. */
  clear(): void {
    this.count = 0;
    this.hashed = 0;
    this.sizeMax = 0;
    this.#used = 0;
    this.#owner = undefined;
    this.#records = NO_RECORDS;
    this.#forgetRecords();
  }

  /** Copies source[start .. end) and returns where it is from now on; whoever calls defines the fields in it. */
  copyIn(source: Uint8Array, start: number, end: number): number {
    const at = this.#used;
    const size = end - start;
    if (at + size > this.bytes.length) {
      const grown = new Uint8Array(Math.max(at + size, 2 * this.bytes.length));
      grown.set(this.bytes.subarray(0, at));
      this.bytes = grown;
      this.view = viewOf(grown);
    }
    this.bytes.set(source.subarray(start, end), at);
    this.#used = at + size;
    return at;
  }

  /** Gives bytes[start .. end) the next number. */
  define(start: number, end: number, nameLength: number): void {
    const number = this.count++;
    if (number === this.starts.length) this.#grow();
    this.starts[number] = start;
    this.ends[number] = end;
    this.nameLengths[number] = nameLength;
    if (end - start > this.sizeMax) this.sizeMax = end - start;
  }

  /** Hashes the fields below number `end` that are not yet. */
  hashUpTo(end: number): void {
    const { view, starts, ends, hashes } = this;
    for (let number = this.hashed; number < end; number++) {
      hashJenkins(view, starts[number]!, ends[number]!);
      hashes[2 * number] = jenkins.low;
      hashes[2 * number + 1] = jenkins.high;
    }
    this.hashed = Math.max(this.hashed, end);
  }

  /**
   * What `owner` has noted of each field, negative where it has noted nothing: a file, the record it keeps a field
   * under. Valid until the next `define`; at RECORDS_MAX those of all others are forgotten.
   */
  recordsOf(owner: object): Int32Array {
    if (this.#owner === owner && this.#records.length >= this.count) return this.#records;
    const known = this.#recordsOf.get(owner) ?? NO_RECORDS;
    let records = known;
    if (known.length < this.count) {
      records = new Int32Array(Math.max(FIELDS_INITIAL, 2 * this.count)).fill(-1);
      records.set(known);
      this.#keep(owner, records, known.length);
    }
    this.#owner = owner;
    this.#records = records;
    return records;
  }

  /** @param replaced how many were kept of this owner before */
  #keep(owner: object, records: Int32Array, replaced: number): void {
    if (this.#recordCount - replaced + records.length > RECORDS_MAX) this.#forgetRecords();
    else this.#recordCount -= replaced;
    this.#recordsOf.set(owner, records);
    this.#recordCount += records.length;
  }

  #forgetRecords(): void {
    this.#recordsOf = new WeakMap();
    this.#recordCount = 0;
  }

  /** Bytes of an entry's fields. */
  sizeOf({ numbers, numbersStart, fieldCount }: Entry): number {
    let size = 0;
    for (let i = numbersStart; i < numbersStart + fieldCount; i++) {
      size += this.ends[numbers[i]!]! - this.starts[numbers[i]!]!;
    }
    return size;
  }

  #grow(): void {
    const { starts, ends, nameLengths, hashes } = this;
    const size = 2 * starts.length;
    this.hashes = new Int32Array(2 * size);
    this.hashes.set(hashes);
    this.starts = new Uint32Array(size);
    this.starts.set(starts);
    this.ends = new Uint32Array(size);
    this.ends.set(ends);
    this.nameLengths = new Uint8Array(size);
    this.nameLengths.set(nameLengths);
  }
}

/**
 * Gives an entry that has its fields by number the bytes of them, one behind the other and in memory of their own.
 * For whoever looks at fields now and then; from then on the entry is like any other.
 */
export function spellOutFields(entry: Entry): void {
  const { dictionary, numbers, numbersStart, fieldCount } = entry;
  if (dictionary === undefined) return;
  const bytes = new Uint8Array(dictionary.sizeOf(entry));
  let end = 0;
  for (let i = 0; i < fieldCount; i++) {
    const number = numbers[numbersStart + i]!;
    const start = dictionary.starts[number]!;
    const size = dictionary.ends[number]! - start;
    bytes.set(dictionary.bytes.subarray(start, start + size), end);
    entry.fieldStart[i] = end;
    end += size;
    entry.fieldEnd[i] = end;
    entry.nameLength[i] = dictionary.nameLengths[number]!;
  }
  entry.bytes = bytes;
  entry.dictionary = undefined;
}
