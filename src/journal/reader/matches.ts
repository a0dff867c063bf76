/**
 * Sets of entries of one file, by offset, made of the lists of DATA objects: any of them, all of them. None is read
 * further than it has to be. As systemd does it, see sd-journal.c: find_location_for_match().
 */
import type { EntryList } from "./entry-list.ts";

/** No entry. */
export const NONE = Number.POSITIVE_INFINITY;

/** Lists up to this length are read at once and become one. */
const SHORT_LIST_MAX = 64;

export interface EntrySet {
  /** Entries in it at most. */
  readonly countMax: number;
  /**
   * Offset of its first entry at or after `offset`, which never falls from call to call; NONE when there is none.
   * @throws AgentError E_JOURNAL_CORRUPT when a list it is made of is damaged, E_IO
   */
  seek(offset: number): number;
  /** The next call of `seek` may ask for any offset. */
  rewind(): void;
}

/** @throws AgentError E_JOURNAL_CORRUPT, E_IO */
export function unionOf(lists: readonly EntryList[]): EntrySet {
  const short = lists.filter((list) => list.count <= SHORT_LIST_MAX);
  const sets: EntrySet[] = lists
    .filter((list) => list.count > SHORT_LIST_MAX)
    .map((list) => new ListedEntries(list));
  if (short.length > 0) sets.push(new KnownEntries(short));
  return anyOf(sets);
}

export function anyOf(sets: readonly EntrySet[]): EntrySet {
  const [only] = sets;
  return sets.length === 1 && only !== undefined ? only : new AnyOf(sets);
}

export function allOf(sets: readonly EntrySet[]): EntrySet {
  const [only] = sets;
  return sets.length === 1 && only !== undefined ? only : new AllOf(sets);
}

class ListedEntries implements EntrySet {
  readonly countMax: number;
  readonly #list: EntryList;
  #index = 0;
  #offset = 0;

  constructor(list: EntryList) {
    this.#list = list;
    this.countMax = list.count;
  }

  seek(offset: number): number {
    if (this.#offset >= offset) return this.#offset;
    const list = this.#list;
    this.#index = list.lowerBound(offset, this.#index);
    if (this.#index < this.countMax) {
      this.#offset = list.after(this.#offset, this.#index);
      list.requireEntry(this.#offset);
    } else {
      this.#offset = NONE;
    }
    return this.#offset;
  }

  rewind(): void {
    this.#index = 0;
    this.#offset = 0;
  }
}

/** All offsets in memory, from the first question on. */
class KnownEntries implements EntrySet {
  readonly countMax: number;
  readonly #lists: readonly EntryList[];
  #offsets: Float64Array | undefined;
  #index = 0;

  constructor(lists: readonly EntryList[]) {
    this.#lists = lists;
    this.countMax = lists.reduce((sum, { count }) => sum + count, 0);
  }

  seek(offset: number): number {
    this.#offsets ??= this.#collect();
    const offsets = this.#offsets;
    let index = this.#index;
    while (index < offsets.length && (offsets[index] as number) < offset) index++;
    if (index < offsets.length) this.#lists[0]?.requireEntry(offsets[index] as number);
    this.#index = index;
    return offsets[index] ?? NONE;
  }

  rewind(): void {
    this.#index = 0;
  }

  #collect(): Float64Array {
    const offsets = new Float64Array(this.countMax);
    let filled = 0;
    for (const list of this.#lists) {
      let offset = 0;
      for (let i = 0; i < list.count; i++) {
        offset = list.after(offset, i);
        offsets[filled++] = offset;
      }
    }
    return offsets.sort();
  }
}

class AnyOf implements EntrySet {
  readonly countMax: number;
  readonly #sets: readonly EntrySet[];

  constructor(sets: readonly EntrySet[]) {
    this.#sets = sets;
    this.countMax = sets.reduce((sum, set) => sum + set.countMax, 0);
  }

  seek(offset: number): number {
    let first = NONE;
    for (const set of this.#sets) {
      const candidate = set.seek(offset);
      if (candidate < first) first = candidate;
    }
    return first;
  }

  rewind(): void {
    for (const set of this.#sets) set.rewind();
  }
}

class AllOf implements EntrySet {
  readonly countMax: number;
  /** The smallest first: it names the candidates. */
  readonly #sets: readonly EntrySet[];

  constructor(sets: readonly EntrySet[]) {
    this.#sets = sets.toSorted((a, b) => a.countMax - b.countMax);
    this.countMax = this.#sets[0]?.countMax ?? 0;
  }

  seek(offset: number): number {
    let candidate = offset;
    for (;;) {
      const before = candidate;
      for (const set of this.#sets) {
        candidate = set.seek(candidate);
        if (candidate === NONE) return NONE;
      }
      // All have it: none of them moved it on.
      if (candidate === before) return candidate;
    }
  }

  rewind(): void {
    for (const set of this.#sets) set.rewind();
  }
}
