/**
 * Entries that fit behind none of the open files' last ones, held back for a moment. They mostly come in
 * runs, a journal read backwards for one; put in order first, a run needs one file and not one each.
 */
import { formatId128 } from "../../bytes/id128.ts";
import { type Entry, newEntry } from "../../journal/entry.ts";
import { EntryBatch, sizeOf } from "../entry-batch.ts";

/** Bytes held back for one series. */
const LATE_BYTES_MAX = 1024 * 1024;

export class LateEntries {
  #batch: EntryBatch | undefined;
  readonly #entries: { seqnum: number; realtimeUsec: number; start: number }[] = [];
  readonly #known = new Set<string>();

  get isEmpty(): boolean {
    return this.#entries.length === 0;
  }

  /** Whether this very entry is among them. */
  has(entry: Entry): boolean {
    return this.#known.size > 0 && this.#known.has(keyOf(entry));
  }

  /** Copies an entry. @returns false when there is no room: those held back have to be stored first */
  add(entry: Entry, seqnum: number): boolean {
    const size = sizeOf(entry);
    this.#batch ??= new EntryBatch(new ArrayBuffer(Math.max(LATE_BYTES_MAX, size)));
    if (!this.#batch.hasRoom(size)) return false;
    const { realtimeUsec } = entry;
    this.#entries.push({ seqnum, realtimeUsec, start: this.#batch.size });
    this.#batch.add(entry);
    this.#known.add(keyOf(entry));
    return true;
  }

  /**
   * Hands all over, by rising number, and forgets each when `store` returns; what is left after it threw stays.
   */
  settle(store: (entry: Entry, seqnum: number) => void): void {
    const batch = this.#batch;
    if (batch === undefined) return;
    // Of its own: storing one series' entries may make another one settle.
    const entry = newEntry();
    // From the end, so that taking one off is cheap.
    this.#entries.sort((a, b) => b.seqnum - a.seqnum || b.realtimeUsec - a.realtimeUsec);
    for (let last = this.#entries.at(-1); last !== undefined; last = this.#entries.at(-1)) {
      batch.read(last.start, entry);
      store(entry, last.seqnum);
      this.#known.delete(keyOf(entry));
      this.#entries.pop();
    }
    this.#batch = undefined;
  }
}

function keyOf({ seqnum, realtimeUsec, bootId }: Entry): string {
  return `${seqnum} ${realtimeUsec} ${formatId128(bootId)}`;
}
