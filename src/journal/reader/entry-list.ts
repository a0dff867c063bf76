/**
 * The entries that refer to one DATA object, as its own list has them: the first one inline, the others in a chain of
 * arrays. Only those before `end` count: a file that is being written may list newer ones already.
 */
import type { AgentError } from "../../errors.ts";
import { ENTRY, OBJECT, OBJECT_HEADER_SIZE, ObjectType } from "../format.ts";
import { journalCorrupt } from "../io-error.ts";
import { readAt } from "./block-cache.ts";
import type { DataObject } from "./data-lookup.ts";
import { EntryArrays } from "./entry-arrays.ts";
import type { JournalFile } from "./journal-file.ts";

export class EntryList {
  /** Entries in the list. */
  readonly count: number;
  readonly #file: JournalFile;
  readonly #first: number;
  readonly #rest: EntryArrays;
  readonly #end: number;

  /**
   * @param end offset of the first entry that does not count
   * @param windowSize bytes of the list kept in memory
   * @throws AgentError E_JOURNAL_CORRUPT, E_IO
   */
  constructor(file: JournalFile, data: DataObject, end: number, windowSize: number) {
    this.#file = file;
    this.#first = data.entryOffset;
    this.#rest = new EntryArrays(file, data.entryArrayOffset, windowSize);
    this.#end = end;
    if ((data.entries === 0) !== (data.entryOffset === 0)) {
      throw this.#corrupt(data.offset, `${data.entries} entries, the first at ${data.entryOffset}`);
    }
    this.count = this.#countBefore(data.entries);
    // A count that is too low would hide entries: behind the last one there is nothing, or what is being added.
    if (this.count === data.entries && data.entries > 0) {
      const next = this.#rest.peek(this.count - 1);
      if (next !== 0 && next < end) {
        throw this.#corrupt(data.offset, `more than the ${data.entries} entries it tells`);
      }
    }
  }

  /** Offset of the entry at `index`, below `count`. @throws AgentError E_JOURNAL_CORRUPT, E_IO */
  at(index: number): number {
    return index === 0 ? this.#first : this.#rest.at(index - 1);
  }

  /** As `at`, for an entry that follows one at `previous`. @throws AgentError E_JOURNAL_CORRUPT, E_IO */
  after(previous: number, index: number): number {
    const offset = this.at(index);
    if (offset > previous && offset < this.#end) return offset;
    throw this.#corrupt(offset, "an entry out of order in a list");
  }

  /** @throws AgentError E_JOURNAL_CORRUPT when there is no entry at `offset`, E_IO */
  requireEntry(offset: number): void {
    this.#file.objectSize(offset, ObjectType.entry, ENTRY.items);
  }

  /**
   * Index of the first entry at or after `offset`, from index `from` on; `count` when there is none.
   * @throws AgentError E_JOURNAL_CORRUPT, E_IO
   */
  lowerBound(offset: number, from: number): number {
    return this.#lowerBound(offset, from, this.count);
  }

  #lowerBound(offset: number, from: number, count: number): number {
    const index = lowerBound(this, offset, from, count);
    if (index < 0) throw this.#corrupt(this.#first, "the list of entries of a field does not rise");
    return index;
  }

  #countBefore(entries: number): number {
    if (entries === 0 || this.at(entries - 1) < this.#end) return entries;
    const count = this.#lowerBound(this.#end, 0, entries);
    // Too new is only what has been written since.
    requireNewEntry(this.#file, this.at(count));
    return count;
  }

  #corrupt(offset: number, what: string): AgentError {
    return journalCorrupt(this.#file.path, offset, what);
  }
}

/** Looks at the file itself: its blocks and its size are those of the last refresh. */
function requireNewEntry(file: JournalFile, offset: number): void {
  const head = new Uint8Array(OBJECT_HEADER_SIZE);
  const size = readAt(file, head, offset);
  if (size === OBJECT_HEADER_SIZE && head[OBJECT.type] === ObjectType.entry) return;
  throw journalCorrupt(file.path, offset, "an entry in a list that is none");
}

/** Rising numbers by index. */
interface RisingList {
  at(index: number): number;
}

/**
 * Index in [from, count] of the first number not below `value`, if all before `from` are below it; -1 when it comes
 * upon numbers that do not rise. Looks near `from` first: steps are mostly short.
 */
export function lowerBound(list: RisingList, value: number, from: number, count: number): number {
  // All before low are below the value; what stands at high is not, or is the end.
  let low = from;
  let lowNumber = -1;
  let high = count;
  let highNumber = Number.POSITIVE_INFINITY;
  let step = 1;
  while (low < high) {
    const isNear = highNumber === Number.POSITIVE_INFINITY && low + step <= high;
    const probe = isNear ? low + step - 1 : Math.floor((low + high) / 2);
    const number = list.at(probe);
    if (number <= lowNumber || number >= highNumber) return -1;
    if (number < value) {
      low = probe + 1;
      lowNumber = number;
      step *= 2;
    } else {
      high = probe;
      highNumber = number;
    }
  }
  return low;
}
