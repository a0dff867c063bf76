/**
 * Keeps the received journals within their limits, and says when nothing more may be stored.
 *
 * KeepFree= is checked whenever retention runs: at the start, after each rotation, when a write found the disk
 * full, and every half minute. Retention deletes old files of ours to keep it. When that cannot help, because
 * others fill the disk, every entry is refused, as stock does by refusing to grow its files: the
 * senders keep what they have. While that lasts, free space is looked at every second.
 */
import { basename } from "node:path";
import { AgentError, reasonOf } from "../../errors.ts";
import type { JournalFileFormat } from "../../journal/new-header.ts";
import { log } from "../../log.ts";
import type { RetentionSettings } from "../settings.ts";
import { type DiskLimits, diskLimits, readFileSystemSpace } from "./disk-limits.ts";
import { enforceRetention } from "./retention.ts";
import type { Deletion, DiskFile } from "./retention-plan.ts";
import { readStoredFile, type StoredFile } from "./stored-file.ts";

const RETENTION_INTERVAL_MS = 30_000;

export interface DiskSpaceOptions {
  directory: string;
  retention: RetentionSettings;
  format: JournalFileFormat;
  nowUsec(): number;
  /** Whether files of this base are ours to judge. */
  isOurs(base: string): boolean;
  /** Whether the file is open for writing. */
  isFileOpen(path: string): boolean;
  onDeleted(file: DiskFile): void;
  /** Something failed that will be tried again and may fail again. */
  complain(reason: string, message: string): void;
}

export class DiskSpace {
  limits: DiskLimits;
  readonly #options: DiskSpaceOptions;
  #running: Promise<void> | undefined;
  #isWanted = false;
  #isClosed = false;
  #refusal: AgentError | undefined;
  #checkedMs = performance.now();

  constructor(options: DiskSpaceOptions) {
    this.#options = options;
    this.limits = this.#readLimits();
  }

  /** Why no entries are taken now. */
  get refusal(): AgentError | undefined {
    return this.#refusal;
  }

  /** Runs retention soon, in the background. */
  want(): void {
    this.#isWanted = true;
    if (this.#running === undefined && !this.#isClosed) void this.enforce();
  }

  /** Runs retention, one run at a time; resolves after one that began after this call. Never rejects. */
  async enforce(): Promise<void> {
    await this.#running;
    if (this.#isClosed) return;
    this.#isWanted = false;
    this.#running ??= this.#enforceOnce().finally(() => {
      this.#running = undefined;
      if (this.#isWanted) this.want();
    });
    await this.#running;
  }

  /** To be called every second. */
  tick(): void {
    const now = performance.now();
    if (this.#refusal !== undefined && this.#hasEnough()) this.#accept();
    if (now - this.#checkedMs >= RETENTION_INTERVAL_MS) this.want();
  }

  /** Waits for a run that is under way; there will be no other. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#running;
  }

  async #enforceOnce(): Promise<void> {
    const { directory, retention, nowUsec, isOurs, isFileOpen, complain } = this.#options;
    this.#checkedMs = performance.now();
    try {
      this.limits = this.#readLimits();
      const result = await enforceRetention({
        ...{ directory, isOurs, isFileOpen },
        limits: this.limits,
        maxRetentionSec: retention.maxRetentionSec,
        nowUsec: nowUsec(),
        readHeader,
        readFreeBytes: (): number | undefined => readFileSystemSpace(directory)?.freeBytes,
        onDeleted: (deletion): void => this.#onDeleted(deletion),
      });
      for (const { message } of result.failures) complain("retention-file", message);
      if (result.exceeded.keepFree) this.#refuse();
      else this.#accept();
    } catch (error) {
      complain("retention", reasonOf(error));
    }
  }

  #onDeleted({ file, reason }: Deletion): void {
    this.#options.onDeleted(file);
    log.info(`Deleted "${basename(file.path)}": reason=${reason} bytes=${file.sizeBytes}`);
  }

  #readLimits(): DiskLimits {
    const { directory, retention, format } = this.#options;
    return diskLimits(retention, readFileSystemSpace(directory)?.sizeBytes, format.compact);
  }

  #hasEnough(): boolean {
    const space = readFileSystemSpace(this.#options.directory);
    return space !== undefined && space.freeBytes >= this.limits.keepFreeBytes;
  }

  #accept(): void {
    if (this.#refusal === undefined) return;
    this.#refusal = undefined;
    log.info("There is enough free space again: entries are taken");
  }

  #refuse(): void {
    const { keepFreeBytes } = this.limits;
    const message = `Cannot store entries: less than KeepFree=${keepFreeBytes} bytes are free`;
    const hint = "Free space on the file system of the journals, or lower KeepFree=";
    if (this.#refusal === undefined) {
      log.error(
        `No entries are taken: less than KeepFree=${keepFreeBytes} bytes are free; ${hint}`,
      );
    }
    this.#refusal = new AgentError("E_NO_SPACE", message, { hint });
  }
}

/** Retention leaves alone what it cannot read. */
function readHeader(path: string): StoredFile | undefined {
  try {
    return readStoredFile(path);
  } catch {
    return undefined;
  }
}
