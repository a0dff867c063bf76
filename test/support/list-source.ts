/** Entries from memory, as the uploader reads them from a journal. */
import { parseId128 } from "../../src/bytes/id128.ts";
import { DataCache } from "../../src/journal/reader/data-cache.ts";
import { type JournalEntry, newJournalEntry } from "../../src/journal/reader/journal-entry.ts";
import type { EntrySource, Position, SourceLosses } from "../../src/upload/delivery-types.ts";

const LIST_SEQNUM_ID = "739ad463348b4ceca5a9e69c95a3c93f";
const LIST_BOOT_ID = "6c7c6013a26343b29e964691ff25d04c";
const LIST_START_USEC = 1_700_000_000_000_000;

export class ListSource implements EntrySource {
  /** Every other time, if it is to. */
  isPausing = false;
  readonly losses: SourceLosses = { vacuumed: 0, damaged: new Map() };
  isClosed = false;
  /** Calls of `wait`. */
  waits = 0;
  readonly #cache = new DataCache();
  readonly #entry: JournalEntry = newJournalEntry(this.#cache);
  readonly #messages: string[];
  readonly #follow: boolean;
  readonly #pauses: boolean;
  #next = 0;
  #wake: (() => void) | undefined;

  /** @param messages of the entries, numbered from 1 */
  constructor(
    messages: readonly string[],
    options: { follow?: boolean; start?: number; pauses?: boolean } = {},
  ) {
    this.#messages = [...messages];
    this.#pauses = options.pauses ?? false;
    this.#follow = options.follow ?? false;
    this.#next = options.start ?? 0;
    this.#entry.seqnumId.set(parseId128(LIST_SEQNUM_ID) ?? []);
    this.#entry.bootId.set(parseId128(LIST_BOOT_ID) ?? []);
  }

  push(...messages: string[]): void {
    this.#messages.push(...messages);
    this.#wake?.();
  }

  next(): JournalEntry | undefined {
    this.isPausing = this.#pauses && !this.isPausing;
    if (this.isPausing) return undefined;
    const message = this.#messages[this.#next];
    if (message === undefined) return undefined;
    const entry = this.#entry;
    this.#cache.beginEntry();
    entry.recordCount = 0;
    for (const field of [`_BOOT_ID=${LIST_BOOT_ID}`, "PRIORITY=6", `MESSAGE=${message}`]) {
      const bytes = Buffer.from(`${field}\n`);
      entry.records[entry.recordCount++] = this.#cache.add(bytes, 0, bytes.length - 1);
    }
    this.#next++;
    entry.seqnum = this.#next;
    entry.realtimeUsec = LIST_START_USEC + this.#next * 1000;
    entry.monotonicUsec = this.#next * 1000;
    entry.xorHashLow = this.#next;
    return entry;
  }

  get isEnded(): boolean {
    return !this.#follow && this.#next >= this.#messages.length;
  }

  async wait(signal: AbortSignal): Promise<void> {
    this.waits++;
    const { promise, resolve } = Promise.withResolvers<void>();
    if (signal.aborted || this.backlog() > 0) return;
    this.#wake = resolve;
    signal.addEventListener("abort", () => resolve(), { once: true });
    await promise;
  }

  position(): Position | undefined {
    if (this.#next === 0) return undefined;
    const { seqnum, realtimeUsec } = this.#entry;
    const tail = { seqnum, realtimeUsec, bootId: LIST_BOOT_ID };
    return { cursor: listCursor(seqnum), tails: new Map([[LIST_SEQNUM_ID, tail]]) };
  }

  backlog(): number {
    return this.#messages.length - this.#next;
  }

  close(): void {
    this.isClosed = true;
  }
}

/** Of the entry with this number. */
export function listCursor(seqnum: number): string {
  const hex = (value: number): string => value.toString(16);
  const times = `m=${hex(seqnum * 1000)};t=${hex(LIST_START_USEC + seqnum * 1000)}`;
  return `s=${LIST_SEQNUM_ID};i=${hex(seqnum)};b=${LIST_BOOT_ID};${times};x=${hex(seqnum)}`;
}

/** "message 0", "message 1", … */
export function messages(count: number, prefix = "message"): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix} ${index}`);
}
