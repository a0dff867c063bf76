/** The seam between reading journal files and choosing which of their entries are wanted. */
import type { FieldHooks } from "./data-cache.ts";
import type { JournalEntry } from "./journal-entry.ts";
import type { JournalFile } from "./journal-file.ts";

/** Which entries are wanted, and what is done with their fields. */
export interface Selection {
  /** For the DataCache: tags that `accepts` looks at, and what is sent instead of a field. */
  readonly hooks: FieldHooks;
  /** What the indexes of a file say; undefined = every entry has to be looked at. */
  open(file: JournalFile): FileSelector | undefined;
  /** Whether an entry, read whole, is wanted. */
  accepts(entry: JournalEntry): boolean;
}

/** Finds the entries of one file that may be wanted, without reading the others. */
export interface FileSelector {
  /**
   * Index of the first entry at or after `index` that the file's indexes say is wanted; `file.entries` when none.
   * @throws AgentError E_JOURNAL_CORRUPT when an index is damaged, E_IO
   */
  next(index: number): number;
  /** To be called after `file.refresh()`: the file has more entries. */
  refresh(): void;
}

/** Every entry, as it is. */
export const EVERY_ENTRY: Selection = {
  hooks: {},
  open: () => undefined,
  accepts: () => true,
};
