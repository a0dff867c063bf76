/** Journal entries made by hand, files written from them, and what journalctl should show of both. */
import { formatId128, parseId128 } from "../../src/bytes/id128.ts";
import { ENTRY_FIELDS_MAX, type Entry, newEntry } from "../../src/journal/entry.ts";
import type { CreateJournalOptions } from "../../src/journal/new-header.ts";
import { PageCache } from "../../src/journal/page-cache.ts";
import { JournalWriter } from "../../src/journal/writer.ts";
import { problemsOf } from "./journal-samples.ts";
import { journalctlVerify } from "./journal-tools.ts";
import { type ExportedEntry, journalctlExport, parseExport } from "./stored-journals.ts";

export const SEQNUM_ID = "739ad463348b4ceca5a9e69c95a3c93f";
export const BOOT_ID = "6c7c6013a26343b29e964691ff25d04c";
export const OTHER_BOOT_ID = "0d2e5d3d2f5c4d3f9b4f7c1d7f1b9a10";
const START_USEC = 1_700_000_000_000_000;
const FILE_ID = "a0c1b6f0aa8d4e6e9d5b8f3f7a2c1d0e";
const MACHINE_ID = "c1f0b6f0aa8d4e6e9d5b8f3f7a2c1d0e";

/** An entry as plain values; times follow from the number where they are not given. */
export interface PlainEntry {
  seqnum: number;
  /** `NAME=value`, a string being UTF-8; `_BOOT_ID=` is added. */
  fields: readonly (string | Uint8Array)[];
  realtimeUsec?: number;
  monotonicUsec?: number;
  bootId?: string;
  /** 16 hex digits; computed where it is not given. */
  xorHash?: string;
}

export function id128(hex: string): Uint8Array {
  const id = parseId128(hex);
  if (id === undefined) throw new Error(`Not an id: ${hex}`);
  return id;
}

/** The number of its own, then some that entries of a host share. */
export function hostEntry(seqnum: number, ...fields: (string | Uint8Array)[]): PlainEntry {
  return {
    seqnum,
    fields: [
      `MESSAGE=message number ${seqnum}`,
      `PRIORITY=${seqnum % 8}`,
      "_HOSTNAME=host.example.net",
      `_PID=${1000 + (seqnum % 17)}`,
      ...fields,
    ],
  };
}

export function hostEntries(count: number, firstSeqnum = 1): PlainEntry[] {
  return Array.from({ length: count }, (_, index) => hostEntry(firstSeqnum + index));
}

/** Fills a new Entry, or `into`, as the parser would. */
export function toEntry(plain: PlainEntry, into: Entry = newEntry(ENTRY_FIELDS_MAX + 1)): Entry {
  const boot = plain.bootId ?? BOOT_ID;
  const fields = [`_BOOT_ID=${boot}`, ...plain.fields].map((field) => Buffer.from(field));
  into.bytes = new Uint8Array(Buffer.concat(fields));
  let end = 0;
  for (const [index, field] of fields.entries()) {
    into.fieldStart[index] = end;
    end += field.length;
    into.fieldEnd[index] = end;
    into.nameLength[index] = field.indexOf("=");
  }
  into.fieldCount = fields.length;
  into.realtimeUsec = plain.realtimeUsec ?? START_USEC + plain.seqnum * 1000;
  into.monotonicUsec = plain.monotonicUsec ?? 1_000_000 + plain.seqnum * 1000;
  into.bootId = id128(boot);
  into.seqnum = plain.seqnum;
  into.seqnumId = id128(SEQNUM_ID);
  into.hasXorHash = plain.xorHash !== undefined;
  into.xorHashHigh = Number.parseInt(plain.xorHash?.slice(0, 8) ?? "0", 16) | 0;
  into.xorHashLow = Number.parseInt(plain.xorHash?.slice(8) ?? "0", 16) | 0;
  return into;
}

/** What journalctl should export; a cursor without `x=` where the hash is computed. */
export function toExported(plain: PlainEntry): ExportedEntry {
  const entry = toEntry(plain);
  const xorHash =
    plain.xorHash === undefined ? "" : `;x=${BigInt(`0x${plain.xorHash}`).toString(16)}`;
  const fields = plain.fields.map((field) => Buffer.from(field).toString("latin1"));
  return {
    cursor: [
      `s=${SEQNUM_ID};i=${plain.seqnum.toString(16)};b=${formatId128(entry.bootId)}`,
      `;m=${entry.monotonicUsec.toString(16)};t=${entry.realtimeUsec.toString(16)}${xorHash}`,
    ].join(""),
    fields: [
      `__REALTIME_TIMESTAMP=${entry.realtimeUsec}`,
      `__MONOTONIC_TIMESTAMP=${entry.monotonicUsec}`,
      `_BOOT_ID=${formatId128(entry.bootId)}`,
      ...new Set(fields),
    ].sort(),
  };
}

/** What journalctl exports of a file; cursors without `x=`. */
export function exported(path: string, ...options: string[]): ExportedEntry[] {
  return parseExport(journalctlExport("--file", path, ...options)).map(({ cursor, fields }) => ({
    cursor: cursor.replace(/;x=[0-9a-f]+$/, ""),
    fields,
  }));
}

/** The complaints of our verifier and of journalctl's; empty = none. */
export function complaints(path: string): string[] {
  const { ok, output } = journalctlVerify(path);
  return [...problemsOf(path), ...(ok ? [] : [output])];
}

export const OPTIONS: CreateJournalOptions = {
  compact: true,
  keyedHash: true,
  compressThresholdBytes: 512,
  fileId: id128(FILE_ID),
  machineId: id128(MACHINE_ID),
  seqnumId: id128(SEQNUM_ID),
  dataBuckets: 2047,
  sizeMaxBytes: 128 << 20,
};

/** Writes and closes a file. */
export function writeJournal(
  path: string,
  entries: Iterable<PlainEntry>,
  options: Partial<CreateJournalOptions> = {},
  cache: PageCache = new PageCache(),
): void {
  const writer = JournalWriter.create(path, { ...OPTIONS, ...options }, cache);
  appendAll(writer, entries);
  writer.close("archived");
}

export function appendAll(writer: JournalWriter, entries: Iterable<PlainEntry>): void {
  for (const plain of entries) writer.append(toEntry(plain), plain.seqnum);
}
