/**
 * What the indexes of one file say about conditions on fields. They only save work: whoever uses this looks at each
 * entry it names, so it may name too many, and does so wherever an index cannot be used:
 * - the newest entry, which the lists of its fields may not have yet, and entries written since the last look;
 * - all of them, when an index is damaged, when a crash may have cut it short, or when there is little to pass over.
 */
import { AgentError } from "../../errors.ts";
import { ENTRY, FileState, ObjectType } from "../format.ts";
import { journalCorrupt } from "../io-error.ts";
import { DataLookup, type DataObject } from "./data-lookup.ts";
import { EntryList, lowerBound } from "./entry-list.ts";
import type { JournalFile } from "./journal-file.ts";
import { allOf, anyOf, type EntrySet, NONE, unionOf } from "./matches.ts";
import type { FileSelector } from "./selection-types.ts";

/** A field with one of some values. */
export interface IndexedTerm {
  name: string;
  /** Each a `NAME=value`. */
  payloads: readonly Uint8Array[];
  /** Takes further values, bytes[start .. end). */
  accepts?: ((bytes: Buffer, start: number, end: number) => boolean) | undefined;
}

/** Alternatives; of one, all terms have to hold. */
export type IndexedCondition = readonly (readonly IndexedTerm[])[];

/** Where more than this part of the entries is wanted, reading them all is faster. */
const WANTED_PART_MAX = 0.5;
/** So many new entries are worth another look at the indexes. */
const NEW_ENTRIES_MIN = 4096;
/** So many entries at the end of a file may be missing or damaged before its indexes are not trusted. */
const MISSING_MAX = 1024;
/** Fields of one entry that are looked up to see whether the hash tables are sound. */
const KNOWN_ITEMS = 4;
/** Of all lists of one file that are kept in memory. */
const WINDOWS_SIZE = 256 * 1024;
const WINDOW_SIZE = { min: 64, max: 8 * 1024 } as const;

export class IndexedSelector implements FileSelector {
  readonly #file: JournalFile;
  readonly #conditions: readonly IndexedCondition[];
  readonly #onDamage: (error: AgentError) => void;
  /** Of the entries before `#end`; undefined = all of them. */
  #wanted: EntrySet | undefined;
  #end = 0;
  #endOffset = 0;
  #index = 0;
  #isUsable: boolean;

  /**
   * @param conditions all of which have to hold
   * @param onDamage is told once when the indexes turn out to be damaged
   * @throws AgentError E_IO
   */
  constructor(
    file: JournalFile,
    conditions: readonly IndexedCondition[],
    onDamage: (error: AgentError) => void,
  ) {
    this.#file = file;
    this.#conditions = conditions;
    this.#onDamage = onDamage;
    this.#isUsable = !isUnclean(file);
    if (this.#isUsable) this.#look();
  }

  /** @throws AgentError E_IO */
  next(index: number): number {
    const file = this.#file;
    if (index < this.#index) this.#wanted?.rewind();
    this.#index = index;
    if (this.#wanted === undefined || index >= this.#end) return Math.min(index, file.entries);
    try {
      // What is damaged is for whoever reads it to find: it says nothing about where to look next.
      if (!this.#isEntry(index)) return index;
      const offset = this.#wanted.seek(file.entryOffset(index));
      return offset === NONE ? this.#end : this.#indexOf(offset, index);
    } catch (error) {
      this.#giveUp(error);
      return index;
    }
  }

  /** @throws AgentError E_IO */
  refresh(): void {
    const { entries } = this.#file;
    const unseen = entries - Math.max(this.#end, this.#index);
    if (this.#isUsable && unseen >= NEW_ENTRIES_MIN) this.#look();
  }

  #indexOf(offset: number, from: number): number {
    const { arrays } = this.#file;
    const index = lowerBound(arrays, offset, from, this.#end);
    if (index < 0 || arrays.at(index) !== offset) {
      throw this.#corrupt(offset, "an entry that is not in the list of all");
    }
    return index;
  }

  #look(): void {
    const file = this.#file;
    this.#wanted = undefined;
    this.#end = 0;
    if (file.entries === 0) return;
    try {
      this.#end = this.#newestEntry();
      if (this.#end === 0) return;
      this.#endOffset = file.entryOffset(this.#end);
      const wanted = this.#select();
      if (wanted.countMax <= WANTED_PART_MAX * file.entries) this.#wanted = wanted;
    } catch (error) {
      this.#giveUp(error);
    }
  }

  /** Index of the newest entry that is there: a machine that lost power may have written the count alone. */
  #newestEntry(): number {
    const file = this.#file;
    const first = Math.max(0, file.entries - MISSING_MAX);
    for (let index = file.entries - 1; index >= first; index--) {
      if (this.#isEntry(index)) return index;
    }
    throw this.#corrupt(0, `none of its last ${MISSING_MAX} entries is there`);
  }

  #isEntry(index: number): boolean {
    const file = this.#file;
    try {
      const offset = file.entryOffset(index);
      file.objectSize(offset, ObjectType.entry, ENTRY.items);
      const isAfterLast = index === 0 || offset > file.entryOffset(index - 1);
      return isAfterLast && (index >= this.#end || offset < this.#endOffset);
    } catch (error) {
      if (error instanceof AgentError && error.code === "E_JOURNAL_CORRUPT") return false;
      throw error;
    }
  }

  #select(): EntrySet {
    const lookup = new DataLookup(this.#file, this.#endOffset);
    this.#checkTables(lookup);
    const known = new Map<IndexedTerm, DataObject[]>();
    for (const term of this.#conditions.flat(2)) {
      if (!known.has(term)) known.set(term, findTerm(lookup, term));
    }
    const objects = [...known.values()].reduce((sum, { length }) => sum + length, 0);
    const share = Math.floor(WINDOWS_SIZE / Math.max(1, objects));
    const windowSize = Math.max(WINDOW_SIZE.min, Math.min(WINDOW_SIZE.max, share));
    const setOf = (term: IndexedTerm): EntrySet =>
      unionOf(
        (known.get(term) ?? []).map(
          (data) => new EntryList(this.#file, data, this.#endOffset, windowSize),
        ),
      );
    return allOf(
      this.#conditions.map((alternatives) =>
        anyOf(alternatives.map((terms) => allOf(terms.map(setOf)))),
      ),
    );
  }

  #corrupt(offset: number, what: string): AgentError {
    return journalCorrupt(this.#file.path, offset, what);
  }

  /** What is known to be there has to be found: else nothing can be said of what is not. */
  #checkTables(lookup: DataLookup): void {
    const file = this.#file;
    file.readEntry(file.entryOffset(this.#end - 1), true);
    for (const offset of file.items.slice(0, Math.min(file.itemCount, KNOWN_ITEMS))) {
      lookup.requireFindable(offset);
    }
  }

  /** From now on all entries are wanted. @throws what is not about the file's contents */
  #giveUp(error: unknown): void {
    if (!(error instanceof AgentError)) throw error;
    if (error.code !== "E_JOURNAL_CORRUPT" && error.code !== "E_LIMIT") throw error;
    this.#wanted = undefined;
    this.#isUsable = false;
    if (error.code === "E_JOURNAL_CORRUPT") this.#onDamage(error);
  }
}

/** Put aside by journald as a crash left it: lists may lack entries whose links were not written any more. */
function isUnclean({ header, path }: JournalFile): boolean {
  return header.state === FileState.online && path.endsWith("~");
}

function findTerm(lookup: DataLookup, term: IndexedTerm): DataObject[] {
  const found = new Map<number, DataObject>();
  for (const payload of term.payloads) {
    const object = lookup.find(payload);
    if (object !== undefined) found.set(object.offset, object);
  }
  if (term.accepts !== undefined) {
    const name = Buffer.from(term.name, "latin1");
    for (const object of lookup.findValues(name, term.accepts)) found.set(object.offset, object);
  }
  return [...found.values()];
}
