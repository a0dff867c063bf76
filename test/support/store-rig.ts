/** A store on a directory, fed with entries made by hand, and what is found in its files. */
import { cpSync, lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { formatId128 } from "../../src/bytes/id128.ts";
import type { Entry } from "../../src/journal/entry.ts";
import type { RetentionSettings } from "../../src/serve/settings.ts";
import { parseFileName } from "../../src/serve/store/names.ts";
import { Store, type StoreBounds, type StoreOptions } from "../../src/serve/store/store.ts";
import { readStoredFile } from "../../src/serve/store/stored-file.ts";
import { hostEntry, id128, type PlainEntry, SEQNUM_ID, toEntry } from "./journal-entries.ts";
import { JournalImage } from "./journal-image.ts";
import { problemsOf } from "./journal-samples.ts";
import { TempDir } from "./temp-dir.ts";

export const NO_RETENTION: RetentionSettings = {
  maxUseBytes: 0,
  keepFreeBytes: 0,
  maxFileSizeBytes: undefined,
  maxFiles: 0,
  maxRetentionSec: 0,
  maxFileSec: 0,
};

export const SMALLEST_FILES: RetentionSettings = { ...NO_RETENTION, maxFileSizeBytes: 512 * 1024 };

export interface RigEntry extends PlainEntry {
  /** Default: SEQNUM_ID. "" = without an identity. */
  seqnumId?: string;
}

export type RigOptions = Partial<Omit<StoreOptions, "retention">> & {
  retention?: Partial<RetentionSettings>;
};

export interface Tally {
  stored: number;
  duplicates: number;
}

export class StoreRig {
  readonly directory: string;
  readonly store: Store;

  private constructor(directory: string, options: RigOptions, bounds: Partial<StoreBounds>) {
    this.directory = directory;
    this.store = new Store(
      {
        output: directory,
        splitMode: "host",
        format: { compressThresholdBytes: 512, compact: true, keyedHash: true },
        receiverId: "5e".repeat(16),
        ...options,
        retention: { ...NO_RETENTION, ...options.retention },
      },
      bounds,
    );
  }

  static async open(
    directory: string,
    options: RigOptions = {},
    bounds: Partial<StoreBounds> = {},
  ): Promise<StoreRig> {
    const rig = new StoreRig(directory, options, bounds);
    await rig.store.start();
    return rig;
  }

  /** One request, in one piece; the promise is that of its commit. */
  async post(entries: Iterable<RigEntry>, sender = "web1"): Promise<Tally> {
    const sink = this.store.openSink(sender);
    try {
      for (const entry of entries) sink.add(rigEntry(entry));
      await sink.commit();
      return { stored: sink.stored, duplicates: sink.duplicates };
    } finally {
      sink.close();
    }
  }

  close(): Promise<void> {
    return this.store.close();
  }

  /** A copy of the directory as it is now: what kill -9 would leave. */
  snapshot(): TempDir {
    const copy = new TempDir();
    cpSync(this.directory, copy.path, { recursive: true });
    return copy;
  }
}

export function rigEntry(plain: RigEntry): Entry {
  const entry = toEntry(plain);
  const { seqnumId = SEQNUM_ID } = plain;
  if (seqnumId === "") entry.seqnum = 0;
  else entry.seqnumId = id128(seqnumId);
  return entry;
}

/** Entries `from` … `to`, both included, of one seqnum id. */
export function range(from: number, to: number, seqnumId: string = SEQNUM_ID): RigEntry[] {
  return Array.from({ length: to - from + 1 }, (_, index) => ({
    ...hostEntry(from + index),
    seqnumId,
  }));
}

/** The same with half a kilobyte of their own each: 4,000 fill several of the smallest files. */
export function longRange(from: number, to: number): RigEntry[] {
  return range(from, to).map((entry) => ({
    ...entry,
    fields: [...entry.fields, `DETAIL=${"detail ".repeat(60)}${entry.seqnum}`],
  }));
}

export interface FoundFile {
  name: string;
  /** active, archived, unclean */
  kind: string;
  state: number;
  seqnumId: string;
  machineId: string;
  /** Their numbers, in file order. */
  seqnums: number[];
  messages: string[];
}

/** The journals of a directory; what only has the name of one is left out. */
export function foundFiles(directory: string): FoundFile[] {
  const names = readdirSync(directory).filter((name) => isJournal(join(directory, name)));
  return names.sort().map((name) => {
    const { header, entries } = readImage(join(directory, name));
    return {
      name,
      kind: parseFileName(name)?.kind ?? "foreign",
      state: header.state,
      seqnumId: formatId128(header.seqnumId),
      machineId: formatId128(header.machineId),
      seqnums: entries.map(({ seqnum }) => seqnum),
      messages: entries.map(({ fields }) => {
        return fields.find((field) => field.startsWith("MESSAGE="))?.slice("MESSAGE=".length) ?? "";
      }),
    };
  });
}

/** `id:number` of every entry in every file, sorted. */
export function foundKeys(directory: string): string[] {
  return foundFiles(directory)
    .flatMap(({ seqnumId, seqnums }) => seqnums.map((seqnum) => keyOf(seqnumId, seqnum)))
    .sort();
}

export function keysOf(entries: Iterable<RigEntry>): string[] {
  return [...entries].map(({ seqnumId = SEQNUM_ID, seqnum }) => keyOf(seqnumId, seqnum)).sort();
}

function keyOf(seqnumId: string, seqnum: number): string {
  return `${seqnumId}:${String(seqnum).padStart(16, "0")}`;
}

/** Complaints of our verifier about all `.journal` files of a directory nobody writes to. */
export function damage(directory: string): string[] {
  const names = readdirSync(directory).filter((name) => name.endsWith(".journal"));
  return names.flatMap((name) => {
    return problemsOf(join(directory, name)).map((problem) => `${name}: ${problem}`);
  });
}

/** Files below `directory` that this process has open. */
export function openBelow(directory: string): string[] {
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return target.startsWith(`${directory}/`) ? [target.slice(directory.length + 1)] : [];
    } catch {
      return []; // closed meanwhile
    }
  });
}

function isJournal(path: string): boolean {
  if (!/\.journal~?$/.test(path) || !lstatSync(path).isFile()) return false;
  return readStoredFile(path) !== undefined;
}

function readImage(path: string) {
  const image = new JournalImage(readFileSync(path));
  return { header: image.header, entries: image.entries() };
}
