/**
 * All received journals of one output: who may write where, when things are published, synced and closed,
 * and how much disk they take.
 */
import fs from "node:fs";
import { basename, dirname } from "node:path";
import { AgentError, reasonOf } from "../../errors.ts";
import { COMPACT_FILE_SIZE_MAX } from "../../journal/format.ts";
import { PageCache } from "../../journal/page-cache.ts";
import { log } from "../../log.ts";
import { Counters } from "../counters.ts";
import type { Sink, SinkOpener } from "../ingest-types.ts";
import type { JournalFormatSettings, RetentionSettings } from "../settings.ts";
import { listNames } from "./directory.ts";
import { DiskSpace } from "./disk-space.ts";
import type { StoreEnvironment } from "./environment.ts";
import { LookupCache } from "./lookup-cache.ts";
import { isSenderBase, outputFileBase, parseFileName, senderBase } from "./names.ts";
import type { DiskFile } from "./retention-plan.ts";
import { SenderJournal } from "./sender-journal.ts";
import { JournalSink, type SinkOwner } from "./sink.ts";

/** Entries are visible to readers of the files within this. */
const PUBLISH_INTERVAL_MS = 250;
/** Entries of requests that never end are on disk within this. */
const SYNC_INTERVAL_MS = 2_000;
const TICK_INTERVAL_MS = 1_000;

export interface StoreOptions {
  /** A directory (split by host) or a file (everything in one journal). */
  output: string;
  splitMode: "host" | "none";
  format: JournalFormatSettings;
  retention: RetentionSettings;
  /** This machine's id. */
  receiverId: string;
}

/** What bounds the store beside the disk; the defaults are for everything but tests. */
export interface StoreBounds {
  /** A sender without entries for this long holds no descriptor. */
  idleCloseMs: number;
  /** Files open for writing; past that those of the least recently used senders are closed early. */
  openFilesMax: number;
  /** Senders kept in memory. Of the others only the names of their files are. */
  knownSendersMax: number;
}

const DEFAULT_BOUNDS: StoreBounds = {
  idleCloseMs: 5_000,
  openFilesMax: 4_096,
  knownSendersMax: 16_384,
};

export class Store implements SinkOpener, SinkOwner {
  readonly #environment: StoreEnvironment;
  readonly #bounds: StoreBounds;
  readonly #space: DiskSpace;
  /** With split-mode none: the base all senders share. */
  readonly #singleBase: string | undefined;
  readonly #journals = new Map<string, SenderJournal>();
  /** Names of files by base, of senders that are not among the journals. */
  readonly #fileNames = new Map<string, string[]>();
  /** Journals with entries that are not published yet. */
  readonly #unpublished = new Set<SenderJournal>();
  /** Journals with entries that are published, and not known to be on disk. */
  readonly #unsynced = new Set<SenderJournal>();
  /** Journals that may have open files. */
  readonly #open = new Set<SenderJournal>();
  readonly #closing = new Set<SenderJournal>();
  readonly #complaints = new Counters({
    warn: (line): void => log.error(line),
    nowMs: (): number => performance.now(),
  });
  readonly #timers: NodeJS.Timeout[] = [];
  #publishTimer: NodeJS.Timeout | undefined;
  /** The last write found the disk full. */
  #fullReason: string | undefined;

  constructor(options: StoreOptions, bounds: Partial<StoreBounds> = {}) {
    const { output, splitMode, format, retention, receiverId } = options;
    const directory = splitMode === "none" ? dirname(output) : output;
    const singleBase = splitMode === "none" ? outputFileBase(output) : undefined;
    this.#bounds = { ...DEFAULT_BOUNDS, ...bounds };
    this.#singleBase = singleBase;
    const nowUsec = (): number => Date.now() * 1000;
    this.#space = new DiskSpace({
      ...{ directory, retention, format, nowUsec },
      isOurs: (base): boolean =>
        singleBase === undefined ? isSenderBase(base) : base === singleBase,
      isFileOpen: (path): boolean => this.#isOpen(path),
      onDeleted: (file): void => this.#onDeleted(file),
      complain: (reason, message): void => this.#complaints.count(reason, message),
    });
    this.#environment = {
      ...{ directory, format, receiverId, nowUsec },
      cache: new PageCache(),
      lookups: new LookupCache(),
      fileSizeMaxBytes: this.#space.limits.maxFileSizeBytes || COMPACT_FILE_SIZE_MAX,
      fileAgeMaxUsec: retention.maxFileSec * 1e6,
      onArchived: (): void => this.#space.want(),
      onNotice: (text): void => log.warn(text),
    };
  }

  /** Checks the directory, enforces the limits once and starts the timers. @throws AgentError E_IO */
  async start(): Promise<void> {
    const { directory } = this.#environment;
    requireWritable(directory);
    await this.#space.enforce();
    for (const name of listNames(directory)) this.#rememberName(name);
    this.#every(SYNC_INTERVAL_MS, () => this.#syncAll());
    this.#every(TICK_INTERVAL_MS, () => this.#tick());
  }

  openSink(sender: string): Sink {
    return new JournalSink(this.#journalOf(sender), this);
  }

  /**
   * Where to go on reading a source that keeps its entries; undefined = nothing stored yet.
   * @throws AgentError E_IO
   */
  lastCursor(sender: string): string | undefined {
    return this.#journalOf(sender).lastCursor();
  }

  /** Files open for writing. */
  get openFiles(): number {
    let count = 0;
    for (const journal of this.#open) count += journal.openFiles;
    return count;
  }

  /** Senders kept in memory. */
  get knownSenders(): number {
    return this.#journals.size;
  }

  /** Why no entries are taken now. */
  get fullReason(): string | undefined {
    return this.#space.refusal?.message ?? this.#fullReason;
  }

  requireSpace(): void {
    if (this.#space.refusal !== undefined) throw this.#space.refusal;
  }

  appended(journal: SenderJournal): void {
    if (journal.isWaiting) return;
    journal.isWaiting = true;
    this.#open.add(journal);
    this.#unpublished.add(journal);
    this.#planPublish();
  }

  failed(error: unknown): void {
    if (!(error instanceof AgentError) || error.code !== "E_NO_SPACE") return;
    this.#fullReason = error.message;
    this.#space.want();
  }

  synced(): void {
    this.#fullReason = undefined;
  }

  async makeSpace(error: unknown): Promise<boolean> {
    if (!(error instanceof AgentError) || error.code !== "E_NO_SPACE") return false;
    await this.#space.enforce();
    return true;
  }

  released(journal: SenderJournal): void {
    journal.lastUsedMs = performance.now();
  }

  /** Completes and closes everything; files that cannot be completed stay unclean and are reported. */
  async close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    clearTimeout(this.#publishTimer);
    await this.#space.close();
    await Promise.all(Array.from(this.#open, (journal) => journal.closeAtLast()));
    this.#environment.lookups.close();
  }

  #journalOf(sender: string): SenderJournal {
    const base = this.#singleBase ?? senderBase(sender);
    let journal = this.#journals.get(base);
    if (journal === undefined) {
      journal = new SenderJournal(base, this.#fileNames.get(base) ?? [], this.#environment);
      this.#fileNames.delete(base);
      this.#journals.set(base, journal);
    }
    journal.lastUsedMs = performance.now();
    return journal;
  }

  #rememberName(name: string): void {
    const base = parseFileName(name)?.base;
    if (base === undefined) return;
    const names = this.#fileNames.get(base);
    if (names === undefined) this.#fileNames.set(base, [name]);
    else names.push(name);
  }

  #onDeleted({ path, name: { base } }: DiskFile): void {
    this.#journals.get(base)?.forget(path);
    const names = this.#fileNames.get(base)?.filter((name) => name !== basename(path));
    if (names === undefined) return;
    if (names.length > 0) this.#fileNames.set(base, names);
    else this.#fileNames.delete(base);
  }

  #isOpen(path: string): boolean {
    const base = parseFileName(basename(path))?.base;
    return base !== undefined && this.#journals.get(base)?.isOpen(path) === true;
  }

  #every(intervalMs: number, run: () => void): void {
    const timer = setInterval(run, intervalMs);
    timer.unref();
    this.#timers.push(timer);
  }

  #publishAll(): void {
    this.#publishTimer = undefined;
    const now = performance.now();
    for (const journal of this.#unpublished) {
      // Requests that end publish, too: the same pages need not be written again so soon.
      if (now - journal.publishedMs < PUBLISH_INTERVAL_MS) continue;
      this.#unpublished.delete(journal);
      journal.isWaiting = false;
      journal.lastUsedMs = now;
      this.#unsynced.add(journal);
      try {
        journal.publish();
      } catch (error) {
        // Whoever waits for these entries to be stored is told by commit(); until then they are kept.
        this.#complain("store-publish", error);
      }
    }
    if (this.#unpublished.size > 0) this.#planPublish();
  }

  #planPublish(): void {
    this.#publishTimer ??= setTimeout(() => this.#publishAll(), PUBLISH_INTERVAL_MS);
  }

  #syncAll(): void {
    for (const journal of this.#unsynced) void this.#sync(journal);
    this.#unsynced.clear();
  }

  async #sync(journal: SenderJournal): Promise<void> {
    try {
      await journal.sync();
      this.synced();
    } catch (error) {
      this.#unsynced.add(journal);
      this.#complain("store-sync", error);
    }
  }

  #tick(): void {
    this.#complaints.flush();
    this.#space.tick();
    this.#closeIdle();
    this.#forgetIdle();
  }

  #closeIdle(): void {
    const now = performance.now();
    let surplus = this.openFiles - this.#bounds.openFilesMax;
    const open = [...this.#open];
    if (surplus > 0) open.sort((a, b) => a.lastUsedMs - b.lastUsedMs);
    for (const journal of open) {
      const isIdle = now - journal.lastUsedMs >= this.#bounds.idleCloseMs;
      if (!isIdle && surplus <= 0) continue;
      surplus -= journal.openFiles;
      if (!this.#closing.has(journal)) void this.#close(journal);
    }
  }

  async #close(journal: SenderJournal): Promise<void> {
    this.#closing.add(journal);
    try {
      await journal.close();
      if (!journal.isWaiting && !journal.hasOpenFiles) this.#open.delete(journal);
    } catch (error) {
      this.#complain("store-close", error);
    } finally {
      this.#closing.delete(journal);
    }
  }

  #forgetIdle(): void {
    let surplus = this.#journals.size - this.#bounds.knownSendersMax;
    if (surplus <= 0) return;
    for (const [base, journal] of this.#journals) {
      if (surplus <= 0) return;
      if (journal.sinks > 0 || this.#open.has(journal) || this.#closing.has(journal)) continue;
      const names = journal.fileNames();
      if (names.length > 0) this.#fileNames.set(base, names);
      this.#journals.delete(base);
      surplus--;
    }
  }

  #complain(reason: string, error: unknown): void {
    this.failed(error);
    this.#complaints.count(reason, reasonOf(error));
  }
}

function requireWritable(directory: string): void {
  try {
    fs.accessSync(directory, fs.constants.R_OK | fs.constants.W_OK | fs.constants.X_OK);
  } catch (error) {
    throw new AgentError(
      "E_IO",
      `Cannot write to "${directory}": it needs to be a writable directory`,
      {
        cause: error,
        hint: `Create it and give it to the user of this service: install -d -m 2755 ${directory}`,
      },
    );
  }
}
