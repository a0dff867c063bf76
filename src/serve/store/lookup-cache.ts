/** Files held open to look sequence numbers up, for all senders together. */
import type { Entry } from "../../journal/entry.ts";
import { SeqnumLookup } from "../../journal/seqnum-lookup.ts";

/** Each is a descriptor and the places of the file's entry arrays. */
const LOOKUPS_MAX = 256;

export class LookupCache {
  /** By path, the least recently used first. */
  readonly #lookups = new Map<string, SeqnumLookup>();
  readonly #lookupsMax: number;
  #last: SeqnumLookup | undefined;

  constructor(lookupsMax: number = LOOKUPS_MAX) {
    this.#lookupsMax = lookupsMax;
  }

  /** Files now open. */
  get size(): number {
    return this.#lookups.size;
  }

  /**
   * @param entries how many entries the file has now
   * @throws AgentError E_IO, E_JOURNAL_CORRUPT, E_JOURNAL_UNSUPPORTED
   */
  holds(path: string, entry: Entry, entries: number): boolean {
    try {
      const lookup = this.#open(path);
      if (lookup.entries < entries) lookup.refresh();
      return lookup.holds(entry);
    } catch (error) {
      this.forget(path);
      throw error;
    }
  }

  /** What is at this path now is, or will be, another file. */
  forget(path: string): void {
    if (this.#last?.path === path) this.#last = undefined;
    this.#lookups.get(path)?.close();
    this.#lookups.delete(path);
  }

  close(): void {
    this.#last = undefined;
    for (const lookup of this.#lookups.values()) lookup.close();
    this.#lookups.clear();
  }

  #open(path: string): SeqnumLookup {
    if (this.#last?.path === path) return this.#last;
    const lookup = this.#lookups.get(path) ?? new SeqnumLookup(path);
    this.#lookups.delete(path);
    this.#lookups.set(path, lookup);
    const [oldest] = this.#lookups.keys();
    if (this.#lookups.size > this.#lookupsMax && oldest !== undefined) this.forget(oldest);
    this.#last = lookup;
    return lookup;
  }
}
