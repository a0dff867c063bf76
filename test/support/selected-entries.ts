/** Which entries of journal files a selection takes, with the indexes of the files and without. */
import { AgentError } from "../../src/errors.ts";
import { BlockCache } from "../../src/journal/reader/block-cache.ts";
import { DataCache } from "../../src/journal/reader/data-cache.ts";
import {
  type JournalEntry,
  loadEntry,
  newJournalEntry,
} from "../../src/journal/reader/journal-entry.ts";
import { JournalFile } from "../../src/journal/reader/journal-file.ts";
import type { FileSelector, Selection } from "../../src/journal/reader/selection-types.ts";

export interface Selected {
  seqnums: number[];
  /** Entries that were read to find them. */
  read: number;
}

/** Of a file that nobody writes. */
export function selectEntries(path: string, selection: Selection, indexed = true): Selected {
  using reader = new SelectedEntries(path, selection, indexed);
  return reader.readOn();
}

/** A file that is read on and on. */
export class SelectedEntries implements Disposable {
  readonly #selection: Selection;
  readonly #file: JournalFile;
  readonly #selector: FileSelector | undefined;
  readonly #entry: JournalEntry;
  #index = 0;

  constructor(path: string, selection: Selection, indexed = true) {
    this.#selection = selection;
    this.#file = new JournalFile(path, new BlockCache(16));
    this.#selector = indexed ? selection.open(this.#file) : undefined;
    this.#entry = newJournalEntry(new DataCache(selection.hooks));
  }

  get entries(): number {
    return this.#file.entries;
  }

  /** What the indexes say; every entry where they say nothing. */
  nextIndex(index: number): number {
    return this.#selector?.next(index) ?? index;
  }

  refresh(): void {
    if (this.#file.refresh()) this.#selector?.refresh();
  }

  /** What is wanted up to the end, or to `end`. */
  readOn(end = Number.POSITIVE_INFINITY): Selected {
    const selected: Selected = { seqnums: [], read: 0 };
    const file = this.#file;
    for (; ; this.#index++) {
      this.#index = this.#selector?.next(this.#index) ?? this.#index;
      if (this.#index >= Math.min(end, file.entries)) return selected;
      if (!this.#load()) continue;
      selected.read++;
      if (this.#selection.accepts(this.#entry)) selected.seqnums.push(this.#entry.seqnum);
    }
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }

  /** False when the entry is damaged. */
  #load(): boolean {
    try {
      loadEntry(this.#file, this.#file.entryOffset(this.#index), this.#entry);
      return true;
    } catch (error) {
      if (error instanceof AgentError && error.code === "E_JOURNAL_CORRUPT") return false;
      throw error;
    }
  }
}
