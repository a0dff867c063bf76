/** Journal files for the reader's tests, each entry known by its MESSAGE. */
import { join } from "node:path";
import type { CreateJournalOptions } from "../../src/journal/new-header.ts";
import { PageCache } from "../../src/journal/page-cache.ts";
import type { JournalEntry } from "../../src/journal/reader/journal-entry.ts";
import { JournalWriter } from "../../src/journal/writer.ts";
import { appendAll, BOOT_ID, id128, OPTIONS, type PlainEntry, toEntry } from "./journal-entries.ts";

export const START_USEC = 1_700_000_000_000_000;
export { BOOT_ID };

/** Ids that are told apart at a glance: "1a1a…". */
export function idOf(digit: number): string {
  return `${(digit % 16).toString(16)}a`.repeat(16);
}

export interface EntryOptions {
  /** Seconds after START_USEC; default: the number. */
  second?: number;
  /** Seconds since the boot; default: the same. */
  monotonic?: number;
  /** Default: boot 1. */
  boot?: number;
  message?: string;
  fields?: readonly string[];
}

/** An entry whose message is its number, unless told otherwise. */
export function plain(seqnum: number, options: EntryOptions = {}): PlainEntry {
  const { second = seqnum, monotonic = second, boot = 1, message = `${seqnum}` } = options;
  return {
    seqnum,
    realtimeUsec: START_USEC + second * 1_000_000,
    monotonicUsec: monotonic * 1_000_000,
    bootId: idOf(boot),
    fields: [
      `MESSAGE=${message}`,
      "PRIORITY=6",
      "_HOSTNAME=host.example.net",
      ...(options.fields ?? []),
    ],
  };
}

/** Entries from..to-1. */
export function plains(from: number, to: number, options: EntryOptions = {}): PlainEntry[] {
  return Array.from({ length: to - from }, (_, i) => plain(from + i, options));
}

/** A writer of one sequence. */
export function createWriter(
  path: string,
  sequence = 1,
  options: Partial<CreateJournalOptions> = {},
): JournalWriter {
  const ids = {
    fileId: crypto.getRandomValues(new Uint8Array(16)),
    seqnumId: id128(idOf(sequence)),
  };
  return JournalWriter.create(path, { ...OPTIONS, ...ids, ...options }, new PageCache());
}

/** Appends and shows it to readers. */
export function publish(writer: JournalWriter, entries: readonly PlainEntry[]): void {
  appendAll(writer, entries);
  writer.publish();
}

/** A file that is not written any more. */
export function writeFile(
  directory: string,
  name: string,
  entries: readonly PlainEntry[],
  sequence = 1,
  options: Partial<CreateJournalOptions> = {},
): string {
  const path = join(directory, name);
  const writer = createWriter(path, sequence, options);
  for (const entry of entries) writer.append(toEntry(entry), entry.seqnum);
  writer.close("archived");
  return path;
}

/** The MESSAGE of an entry. */
export function messageOf(entry: JournalEntry): string {
  const { cache, records, recordCount } = entry;
  for (let i = 0; i < recordCount; i++) {
    const record = records[i] ?? 0;
    const start = cache.start[record] ?? 0;
    const end = start + (cache.size[record] ?? 0);
    const field = cache.bytesOf(record).toString("latin1", start, end);
    if (field.startsWith("MESSAGE=")) return field.slice("MESSAGE=".length);
  }
  return "";
}

/** Messages of all entries there are at the moment. */
export function drain(
  source: { next(): JournalEntry | undefined },
  limit = Number.POSITIVE_INFINITY,
): string[] {
  const messages: string[] = [];
  while (messages.length < limit) {
    const entry = source.next();
    if (entry === undefined) break;
    messages.push(messageOf(entry));
  }
  return messages;
}

/** The numbers from..to-1 as messages. */
export function numbers(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, i) => `${from + i}`);
}
