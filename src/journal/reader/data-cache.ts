/**
 * The fields that entries refer to, each under a small number, its record: most entries share nearly all of their
 * fields with others, so each DATA object is read, checked and unpacked once. Shared by all files of a reader.
 * HOT: guarded by scripts/bench/read.ts.
 *
 * Payloads lie in one arena; when it or the table of records is nearly full, between two entries, all is forgotten and
 * record numbers start anew (`generation` changes).
 */
import { AgentError } from "../../errors.ts";
import { isFieldName } from "../field-name.ts";
import { fileIdRound } from "./file-ids.ts";
import type { JournalFile } from "./journal-file.ts";

const ARENA_SIZE = 8 * 1024 * 1024;
/** Records there are at a time: 0 .. RECORDS_MAX-1. */
export const RECORDS_MAX = 64 * 1024;
/** Twice the records, so that a search ends soon. */
const SLOTS = 2 * RECORDS_MAX;
/** Larger payloads, and those for which the arena has no room left, have memory of their own. */
const ARENA_PAYLOAD_MAX = 64 * 1024;
/** Room kept for one entry. */
const RECORDS_RESERVE = 8 * 1024;
const ARENA_RESERVE = 1024 * 1024;
/** Bytes of payloads outside of the arena past which all is forgotten before the next entry. */
const LARGE_BYTES_MAX = 16 * 1024 * 1024;

/** Offsets of one file, divided by 8: half a terabyte. */
const KEYS_PER_FILE = 2 ** 36;

const LF = 0x0a;
const EQUALS = 0x3d;

/** Results of {@link DataCache.recordOf} that are not records. */
export const NO_RECORD = -1;

/** What is done with a field before it is used. */
export interface FieldHooks {
  /**
   * A number kept with the record as `tags[record]`, computed from the field as it is in the journal.
   * @param bytes the field is `bytes[start .. end)`, its name `nameLength` bytes
   */
  tag?(bytes: Buffer, start: number, end: number, nameLength: number): number;
  /** Where one number has too few bits: the further ones that the last call of `tag` made. */
  readonly moreTags?: Int32Array;
  /** What is sent instead of a field: `NAME=value`, or undefined for nothing; "same" to leave it. */
  rewrite?(
    bytes: Buffer,
    start: number,
    end: number,
    nameLength: number,
  ): Buffer | undefined | "same";
}

export class DataCache {
  /** Counts how often everything was forgotten. */
  generation = 0;
  /** Payloads: `NAME=value` of record r is `bytesOf(r)[start[r] .. start[r] + size[r])`, and a LF follows. */
  readonly arena = Buffer.alloc(ARENA_SIZE);
  readonly start = new Uint32Array(RECORDS_MAX);
  readonly size = new Uint32Array(RECORDS_MAX);
  readonly nameLength = new Uint8Array(RECORDS_MAX);
  /** What `hooks.tag` returned. */
  readonly tags = new Int32Array(RECORDS_MAX);
  /** Further numbers that `hooks.tag` made of each record, so many. */
  readonly moreTagCount: number;
  /** Those of record r from `r * moreTagCount` on. */
  readonly moreTags: Int32Array;
  /** 1 = the field is dropped: it has tags only. */
  readonly isDropped = new Uint8Array(RECORDS_MAX);
  /** Records in use: 0 .. recordCount. */
  recordCount = 0;
  /** DATA objects that cannot be used, by reason; each as often as an entry needed it. */
  readonly damage = new Map<string, number>();
  readonly #hooks: FieldHooks;
  #round = fileIdRound();
  readonly #slots = new Int32Array(SLOTS).fill(NO_RECORD);
  /** Which DATA object a record is: see keyOf(). 0 = none. */
  readonly #keyOf = new Float64Array(RECORDS_MAX);
  readonly #large = new Map<number, Buffer>();
  #largeBytes = 0;
  #arenaUsed = 0;

  constructor(hooks: FieldHooks = {}) {
    this.#hooks = hooks;
    this.moreTagCount = hooks.moreTags?.length ?? 0;
    this.moreTags = new Int32Array(this.moreTagCount * RECORDS_MAX);
  }

  /** To be called before the records of an entry are asked for: records of earlier entries may be gone after it. */
  beginEntry(): void {
    const isFull =
      this.recordCount > RECORDS_MAX - RECORDS_RESERVE ||
      this.#arenaUsed > ARENA_SIZE - ARENA_RESERVE ||
      this.#largeBytes > LARGE_BYTES_MAX;
    if (isFull || this.#round !== fileIdRound()) this.clear();
  }

  clear(): void {
    this.#round = fileIdRound();
    this.generation++;
    this.recordCount = 0;
    this.#arenaUsed = 0;
    this.#largeBytes = 0;
    this.#large.clear();
    this.#slots.fill(NO_RECORD);
  }

  /** The bytes that hold the payload of a record. */
  bytesOf(record: number): Buffer {
    return this.#large.size === 0 ? this.arena : (this.#large.get(record) ?? this.arena);
  }

  /**
   * The record of a DATA object; NO_RECORD when it is damaged, which is counted.
   * @param guess a record that it may well be
   * @throws AgentError E_IO
   */
  recordOf(file: JournalFile, offset: number, guess: number): number {
    const key = file.id * KEYS_PER_FILE + offset / 8;
    const keyOf = this.#keyOf;
    if (keyOf[guess] === key && guess < this.recordCount) return guess;
    // Files grow at their end: what lies behind all that was asked for so far cannot be known.
    if (offset > file.dataSeen) {
      file.dataSeen = offset;
      const record = this.#readNew(file, offset);
      // What no other entry has is not asked for again.
      if (record === NO_RECORD || file.dataEntries === 1) return record;
      this.#slots[this.#slotOf(file, offset, key)] = record;
      keyOf[record] = key;
      return record;
    }
    const slot = this.#slotOf(file, offset, key);
    const known = this.#slots[slot]!;
    if (known !== NO_RECORD) return known;
    const record = this.#readNew(file, offset);
    if (record === NO_RECORD) return record;
    this.#slots[slot] = record;
    keyOf[record] = key;
    return record;
  }

  /** The slot of the object's record, or the empty one where it is to be put. */
  #slotOf(file: JournalFile, offset: number, key: number): number {
    const slots = this.#slots;
    const keyOf = this.#keyOf;
    const hash = (Math.imul(offset >>> 3, 0x9e3779b1) ^ Math.imul(file.id, 0x85ebca6b)) >>> 8;
    let slot = hash & (SLOTS - 1);
    for (; ; slot = (slot + 1) & (SLOTS - 1)) {
      const record = slots[slot]!;
      if (record === NO_RECORD || keyOf[record] === key) return slot;
    }
  }

  #readNew(file: JournalFile, offset: number): number {
    if (!this.#read(file, offset)) return NO_RECORD;
    return this.add(file.payload, file.payloadStart, file.payloadEnd);
  }

  /** A record of its own for `NAME=value` in bytes[start .. end); NO_RECORD when the name is not valid. */
  add(bytes: Buffer, start: number, end: number): number {
    const equals = findEquals(bytes, start, end);
    if (equals < 0 || !isFieldName(bytes, start, equals)) {
      this.#count("field-name");
      return NO_RECORD;
    }
    const record = this.recordCount++;
    this.#keyOf[record] = 0;
    const { tag, rewrite } = this.#hooks;
    this.tags[record] = tag === undefined ? 0 : tag(bytes, start, end, equals - start);
    if (this.moreTagCount > 0) this.moreTags.set(this.#hooks.moreTags!, record * this.moreTagCount);
    this.nameLength[record] = equals - start;
    this.isDropped[record] = 0;
    const sent = rewrite === undefined ? "same" : rewrite(bytes, start, end, equals - start);
    if (sent === "same") this.#keep(record, bytes, start, end);
    else if (sent !== undefined) this.#keep(record, sent, 0, sent.length);
    else {
      this.isDropped[record] = 1;
      this.size[record] = 0;
    }
    return record;
  }

  /** A record for a field that is no journal's: sent as it is, without tags. */
  addOwn(field: Buffer, nameLength: number): number {
    const record = this.recordCount++;
    this.#keyOf[record] = 0;
    this.tags[record] = 0;
    this.moreTags.fill(0, record * this.moreTagCount, (record + 1) * this.moreTagCount);
    this.nameLength[record] = nameLength;
    this.isDropped[record] = 0;
    this.#keep(record, field, 0, field.length);
    return record;
  }

  /** @throws AgentError E_IO */
  #read(file: JournalFile, offset: number): boolean {
    try {
      file.readData(offset);
      return true;
    } catch (error) {
      if (!(error instanceof AgentError) || error.code !== "E_JOURNAL_CORRUPT") throw error;
      if (file.isErased) throw error;
      this.#count("field-damaged");
      return false;
    }
  }

  #keep(record: number, bytes: Buffer, start: number, end: number): void {
    const size = end - start;
    this.size[record] = size;
    if (size > ARENA_PAYLOAD_MAX || this.#arenaUsed + size + 1 > ARENA_SIZE) {
      const own = Buffer.alloc(size + 1, LF);
      bytes.copy(own, 0, start, end);
      this.#large.set(record, own);
      this.#largeBytes += size;
      this.start[record] = 0;
      return;
    }
    const at = this.#arenaUsed;
    bytes.copy(this.arena, at, start, end);
    this.arena[at + size] = LF;
    this.start[record] = at;
    this.#arenaUsed = at + size + 1;
  }

  #count(reason: string): void {
    this.damage.set(reason, (this.damage.get(reason) ?? 0) + 1);
  }
}

/** Of the "=" that ends the name; -1 when there is none where one has to be. */
function findEquals(bytes: Uint8Array, start: number, end: number): number {
  const limit = Math.min(end, start + 65);
  for (let i = start; i < limit; i++) if (bytes[i] === EQUALS) return i;
  return -1;
}
