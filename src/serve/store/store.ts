/**
 * All received journals of one output: who may write where, when things are published, synced and closed,
 * and how much disk they take.
 */
import fs from "node:fs";
import { basename, dirname } from "node:path";
import { AgentError } from "../../errors.ts";
import { COMPACT_FILE_SIZE_MAX } from "../../journal/format.ts";
import { PageCache } from "../../journal/page-cache.ts";
import { log } from "../../log.ts";
import type { Sink, SinkOpener } from "../ingest-types.ts";
import type { JournalFormatSettings, RetentionSettings } from "../settings.ts";
import { type DiskLimits, diskLimits, readFileSystemSpace } from "./disk-limits.ts";
import type { StoreEnvironment } from "./environment.ts";
import { isSenderBase, outputFileBase, parseFileName, senderBase } from "./names.ts";
import { enforceRetention } from "./retention.ts";
import type { Deletion } from "./retention-plan.ts";
import { SenderJournal } from "./sender-journal.ts";
import { JournalSink, type SinkOwner } from "./sink.ts";
import { readStoredFile } from "./stored-file.ts";

/** Entries are visible to readers of the files within this. */
const PUBLISH_INTERVAL_MS = 100;
/** Entries of requests that never end are on disk within this. */
const SYNC_INTERVAL_MS = 2_000;
/** A sender without entries for this long holds no descriptor. */
const IDLE_CLOSE_MS = 5_000;
/** Senders with open files; past that the least recently used ones are closed early. */
const OPEN_SENDERS_MAX = 4_096;
/** Senders whose list of files is kept in memory. */
const KNOWN_SENDERS_MAX = 16_384;
const RETENTION_INTERVAL_MS = 30_000;
/** How often free space is looked at while there is too little of it. */
const FULL_RECHECK_MS = 1_000;

export interface StoreOptions {
  /** A directory (split by host) or a file (everything in one journal). */
  output: string;
  splitMode: "host" | "none";
  format: JournalFormatSettings;
  retention: RetentionSettings;
  /** This machine's id. */
  receiverId: string;
}

export class Store implements SinkOpener, SinkOwner {
  readonly #options: StoreOptions;
  readonly #environment: StoreEnvironment;
  /** With split-mode none: the base all senders share. */
  readonly #singleBase: string | undefined;
  readonly #journals = new Map<string, SenderJournal>();
  /** Journals with entries that are not published yet. */
  readonly #unpublished = new Set<SenderJournal>();
  readonly #unsynced = new Set<SenderJournal>();
  readonly #closing = new Map<SenderJournal, Promise<void>>();
  /** File names found at the start, by base: spares each sender's first contact a directory listing. */
  readonly #seen = new Set<string>();
  readonly #namesAtStart = new Map<string, string[]>();
  readonly #timers: NodeJS.Timeout[] = [];
  #publishTimer: NodeJS.Timeout | undefined;
  #limits: DiskLimits;
  #runningRetention: Promise<void> | undefined;
  #retentionWanted = false;
  #full: AgentError | undefined;
  #fullCheckedMs = 0;

  constructor(options: StoreOptions) {
    this.#options = options;
    const directory = options.splitMode === "none" ? dirname(options.output) : options.output;
    this.#singleBase = options.splitMode === "none" ? outputFileBase(options.output) : undefined;
    this.#limits = this.#readLimits(directory);
    this.#environment = {
      directory,
      format: options.format,
      cache: new PageCache(),
      fileSizeMaxBytes: this.#limits.maxFileSizeBytes || COMPACT_FILE_SIZE_MAX,
      fileAgeMaxUsec: options.retention.maxFileSec * 1e6,
      receiverId: options.receiverId,
      nowUsec: (): number => Date.now() * 1000,
      onRotated: (): void => this.#wantRetention(),
      namesOf: (base): string[] => this.#namesOf(base),
      onNotice: (text): void => log.warn(text),
    };
  }

  /** Checks the directory, enforces the limits once and starts the timers. @throws AgentError E_IO */
  async start(): Promise<void> {
    const { directory } = this.#environment;
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
    await this.#enforce();
    for (const name of fs.readdirSync(directory)) this.#rememberName(name);
    this.#every(SYNC_INTERVAL_MS, () => this.#syncAll());
    this.#every(1_000, () => this.#closeIdle());
    this.#every(RETENTION_INTERVAL_MS, () => this.#wantRetention());
  }

  openSink(sender: string): Sink {
    const base = this.#singleBase ?? senderBase(sender);
    return new JournalSink(this.#journalOf(base), this);
  }

  /** Where to go on reading a source that keeps its entries; undefined = nothing stored yet. */
  lastCursor(sender: string): string | undefined {
    return this.#journalOf(this.#singleBase ?? senderBase(sender)).lastCursor();
  }

  /** Files open for writing. */
  get openFiles(): number {
    let count = 0;
    for (const journal of this.#journals.values()) count += journal.lanes().length;
    return count;
  }

  /** Why no entries are taken now. */
  get fullReason(): string | undefined {
    return this.#full?.message;
  }

  requireSpace(): void {
    if (this.#full === undefined) return;
    this.#recheckSpace();
    if (this.#full !== undefined) throw this.#full;
  }

  appended(journal: SenderJournal): void {
    if (journal.isWaiting) return;
    journal.isWaiting = true;
    this.#unsynced.add(journal);
    this.#unpublished.add(journal);
    this.#publishTimer ??= setTimeout(() => this.#publishAll(), PUBLISH_INTERVAL_MS);
  }

  async makeSpace(error: unknown): Promise<boolean> {
    if (!(error instanceof AgentError) || error.code !== "E_NO_SPACE") return false;
    await this.#enforce();
    return true;
  }

  released(journal: SenderJournal): void {
    journal.lastUsedMs = performance.now();
  }

  /** Completes and closes everything; files that cannot be completed stay unclean and are reported. */
  async close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    clearTimeout(this.#publishTimer);
    await this.#runningRetention;
    await Promise.all(
      Array.from(this.#journals.values(), (journal) => this.#closeJournal(journal)),
    );
  }

  #journalOf(base: string): SenderJournal {
    let journal = this.#journals.get(base);
    if (journal === undefined) {
      journal = new SenderJournal(base, this.#environment);
      this.#journals.set(base, journal);
    }
    journal.lastUsedMs = performance.now();
    return journal;
  }

  #rememberName(name: string): void {
    const base = parseFileName(name)?.base;
    if (base === undefined) return;
    const names = this.#namesAtStart.get(base);
    if (names === undefined) this.#namesAtStart.set(base, [name]);
    else names.push(name);
  }

  /** A sender seen for the first time since the start has the files it had then; later, it is looked up. */
  #namesOf(base: string): string[] {
    if (!this.#seen.has(base)) {
      this.#seen.add(base);
      const names = this.#namesAtStart.get(base) ?? [];
      this.#namesAtStart.delete(base);
      return names;
    }
    return fs
      .readdirSync(this.#environment.directory)
      .filter((name) => parseFileName(name)?.base === base);
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
      journal.isWaiting = false;
      journal.lastUsedMs = now;
      try {
        journal.publish();
      } catch (error) {
        // Whoever waits for these entries to be stored is told by commit(); until then they are kept.
        this.#noteFull(error);
      }
    }
    this.#unpublished.clear();
  }

  #syncAll(): void {
    for (const journal of this.#unsynced) {
      journal.sync().catch((error: unknown) => this.#noteFull(error));
    }
    this.#unsynced.clear();
  }

  #closeIdle(): void {
    const now = performance.now();
    const open = [...this.#journals.values()];
    const surplus = open.length - OPEN_SENDERS_MAX;
    if (surplus > 0) open.sort((a, b) => a.lastUsedMs - b.lastUsedMs);
    open.forEach((journal, index) => {
      if (index >= surplus && now - journal.lastUsedMs < IDLE_CLOSE_MS) return;
      void this.#closeJournal(journal);
    });
  }

  async #closeJournal(journal: SenderJournal): Promise<void> {
    const running = this.#closing.get(journal);
    if (running !== undefined) return running;
    const closing = journal
      .close()
      .catch((error: unknown) => this.#noteFull(error))
      .finally(() => {
        this.#closing.delete(journal);
        this.#forgetIfMany(journal);
      });
    this.#closing.set(journal, closing);
    return closing;
  }

  #forgetIfMany(journal: SenderJournal): void {
    if (this.#journals.size <= KNOWN_SENDERS_MAX || journal.sinks > 0) return;
    if (!journal.hasOpenFiles()) this.#journals.delete(journal.base);
  }

  #wantRetention(): void {
    this.#retentionWanted = true;
    if (this.#runningRetention === undefined) void this.#enforce();
  }

  /** One run at a time; a caller waits for one that began after its call. */
  async #enforce(): Promise<void> {
    await this.#runningRetention;
    this.#retentionWanted = false;
    this.#runningRetention ??= this.#enforceOnce().finally(() => {
      this.#runningRetention = undefined;
      if (this.#retentionWanted) this.#wantRetention();
    });
    await this.#runningRetention;
  }

  async #enforceOnce(): Promise<void> {
    const { directory, nowUsec } = this.#environment;
    try {
      this.#limits = this.#readLimits(directory);
      const result = await enforceRetention({
        directory,
        limits: this.#limits,
        maxRetentionSec: this.#options.retention.maxRetentionSec,
        nowUsec: nowUsec(),
        isOurs: (base) =>
          this.#singleBase === undefined ? isSenderBase(base) : base === this.#singleBase,
        isFileOpen: (path) => this.#isOpen(path),
        readHeader: readStoredFile,
        readFreeBytes: () => readFileSystemSpace(directory)?.freeBytes,
        onDeleted: (deletion) => this.#onDeleted(deletion),
      });
      for (const failure of result.failures) log.warn(failure.message);
      if (result.exceeded.keepFree) this.#setFull(directory);
      else this.#full = undefined;
    } catch (error) {
      log.error(error instanceof Error ? error.message : String(error));
    }
  }

  #onDeleted(deletion: Deletion): void {
    const { path, name, sizeBytes } = deletion.file;
    this.#journals.get(name.base)?.forget(path);
    log.info(`Deleted "${basename(path)}": reason=${deletion.reason} bytes=${sizeBytes}`);
  }

  #isOpen(path: string): boolean {
    const base = parseFileName(basename(path))?.base;
    return base !== undefined && this.#journals.get(base)?.isOpen(path) === true;
  }

  #readLimits(directory: string): DiskLimits {
    const { retention, format } = this.#options;
    return diskLimits(retention, readFileSystemSpace(directory)?.sizeBytes, format.compact);
  }

  #setFull(directory: string): void {
    const keep = this.#limits.keepFreeBytes;
    if (this.#full === undefined) {
      log.error(
        `No entries are taken: less than KeepFree=${keep} bytes are free in "${directory}"`,
      );
    }
    this.#full = new AgentError(
      "E_NO_SPACE",
      `Cannot store entries: less than ${keep} bytes are free`,
      {
        hint: "Free space on the file system of the journals, or lower KeepFree=",
      },
    );
  }

  #recheckSpace(): void {
    const now = performance.now();
    if (now - this.#fullCheckedMs < FULL_RECHECK_MS) return;
    this.#fullCheckedMs = now;
    const space = readFileSystemSpace(this.#environment.directory);
    if (space !== undefined && space.freeBytes >= this.#limits.keepFreeBytes) {
      this.#full = undefined;
      log.info("There is enough free space again: entries are taken");
    } else {
      this.#wantRetention();
    }
  }

  #noteFull(error: unknown): void {
    if (error instanceof AgentError && error.code === "E_NO_SPACE") this.#wantRetention();
    log.error(error instanceof Error ? error.message : String(error));
  }
}
