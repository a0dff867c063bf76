/**
 * Appends entries to one journal file, as systemd's journal-file.c does, with the sender's own
 * sequence numbers. Readers may have the file open at the same time: they see what was published.
 * HOT: guarded by scripts/bench/writer.ts.
 */
import fs from "node:fs";
import { isEqualId128 } from "../bytes/id128.ts";
import type { AgentError } from "../errors.ts";
import type { Arena } from "./arena.ts";
import { DataTable } from "./data-table.ts";
import type { Entry } from "./entry.ts";
import { EntryAppender } from "./entry-appender.ts";
import { FieldTable } from "./field-table.ts";
import {
  COMPACT_FILE_SIZE_MAX,
  FileState,
  HASH_CHAIN_DEPTH_MAX,
  HEADER_SIZE,
  Incompatible,
} from "./format.ts";
import { GroupCommit } from "./group-commit.ts";
import { decodeHeader, encodeHeader, type JournalHeader } from "./header.ts";
import { journalIoError, journalSyncError } from "./io-error.ts";
import {
  type CreateJournalOptions,
  type JournalFileFormat,
  newHeader,
  requireAppendable,
} from "./new-header.ts";
import { openArena } from "./open-arena.ts";
import type { PageCache } from "./page-cache.ts";
import { PagedFile, writeFully } from "./paged-file.ts";

/** The file grows on disk in steps: a hole until written, so a step costs no space. */
const GROWTH_STEP = 256 * 1024;
const ALLOCATED_MAX = COMPACT_FILE_SIZE_MAX - (COMPACT_FILE_SIZE_MAX % 8);
/** Room taken by a field beside its payload, at most: DATA, FIELD, item of the entry, smallest array. */
const FIELD_OVERHEAD = 256;
/** Room taken by the entry itself, at most: ENTRY, smallest array. */
const ENTRY_OVERHEAD = 128;
/** More index probes than this for one payload means somebody crafts collisions. */
const PROBES_MAX = 1000;

/** Why a file should be closed and a new one begun (journal-file.c: journal_file_rotate_suggested()). */
type RotationReason = "size" | "data-hash-table" | "field-hash-table" | "hash-chain";

interface OpenOptions {
  compressThresholdBytes: number | undefined;
  sizeMaxBytes: number;
  /** Just created: nothing is in it. */
  isNew: boolean;
}

export class JournalWriter {
  headSeqnum: number;
  tailSeqnum: number;
  headRealtimeUsec: number;
  tailRealtimeUsec: number;
  tailMonotonicUsec: number;
  readonly seqnumId: Uint8Array;
  readonly #tailBootId: Uint8Array;
  #path: string;
  readonly #fd: number;
  readonly #file: PagedFile;
  readonly #arena: Arena;
  readonly #fields: FieldTable;
  readonly #data: DataTable;
  readonly #appender: EntryAppender;
  readonly #header: JournalHeader;
  readonly #headerBytes = new Uint8Array(HEADER_SIZE);
  readonly #sizeMax: number;
  /** Size of the file on disk. */
  #allocated: number;
  #isUnpublished = true;
  /** Nothing is appended any more. */
  #isEnded = false;
  /** Changes written with pwrite() but not yet known to be on disk. */
  #isUnsynced = true;
  /** What made an append fail half way, or a sync: nobody knows what the file holds on disk. */
  #broken: unknown;
  #isClosed = false;
  /** Identity of the last call of `complete`, until `resume`. */
  #completion: object | undefined;
  readonly #commits = new GroupCommit(() => this.#commit());

  private constructor(
    path: string,
    file: PagedFile,
    size: number,
    header: JournalHeader,
    options: OpenOptions,
  ) {
    this.#path = path;
    this.#fd = file.fd;
    this.#file = file;
    this.#header = header;
    this.#allocated = size;
    this.#sizeMax = Math.min(options.sizeMaxBytes, COMPACT_FILE_SIZE_MAX);
    this.seqnumId = header.seqnumId;
    this.headSeqnum = header.headEntrySeqnum;
    this.tailSeqnum = header.tailEntrySeqnum;
    this.headRealtimeUsec = header.headEntryRealtime;
    this.tailRealtimeUsec = header.tailEntryRealtime;
    this.tailMonotonicUsec = header.tailEntryMonotonic;
    this.#tailBootId = header.tailEntryBootId;
    this.#arena = openArena(file, header, this.#sizeMax, options.isNew);
    const key = header.incompatibleFlags & Incompatible.keyedHash ? header.fileId : undefined;
    this.#fields = new FieldTable(this.#arena, key, header);
    this.#data = new DataTable({
      arena: this.#arena,
      fields: this.#fields,
      key,
      header,
      compressThresholdBytes: options.compressThresholdBytes,
      isNew: options.isNew,
    });
    this.#appender = new EntryAppender(this.#arena, this.#data, header);
  }

  /**
   * Creates the file; it must not exist. It is ONLINE and empty, and readable by others at once.
   * @throws AgentError E_IO, E_NO_SPACE
   */
  static create(path: string, options: CreateJournalOptions, cache: PageCache): JournalWriter {
    const fd = openFile(path, "wx+", "create");
    try {
      const header = newHeader(options);
      return JournalWriter.#start(path, fd, 0, header, { ...options, isNew: true }, cache);
    } catch (error) {
      fs.closeSync(fd);
      fs.rmSync(path, { force: true });
      throw journalIoError("create", path, error);
    }
  }

  /**
   * Opens a file that `create` made and `close("offline")` left, to append to it.
   * @throws AgentError E_JOURNAL_UNSUPPORTED when the file is not one to append to (another program's,
   * unclean, archived, of another format), E_JOURNAL_CORRUPT, E_IO, E_NO_SPACE
   */
  static reopen(
    path: string,
    format: JournalFileFormat & { sizeMaxBytes: number },
    cache: PageCache,
  ): JournalWriter {
    const fd = openFile(path, "r+", "open");
    try {
      const head = new Uint8Array(HEADER_SIZE);
      const { size } = fs.fstatSync(fd);
      const header = decodeHeader(head.subarray(0, fs.readSync(fd, head, 0, HEADER_SIZE, 0)), size);
      requireAppendable(path, header, format);
      header.state = FileState.online;
      return JournalWriter.#start(path, fd, size, header, { ...format, isNew: false }, cache);
    } catch (error) {
      fs.closeSync(fd);
      throw journalIoError("open", path, error);
    }
  }

  static #start(
    path: string,
    fd: number,
    size: number,
    header: JournalHeader,
    options: OpenOptions,
    cache: PageCache,
  ): JournalWriter {
    const file = new PagedFile(fd, size, HEADER_SIZE, cache);
    try {
      const writer = new JournalWriter(path, file, size, header, options);
      writer.publish();
      return writer;
    } catch (error) {
      // The cache must not write pages to whatever file gets this descriptor next.
      file.releasePages();
      throw error;
    }
  }

  get path(): string {
    return this.#path;
  }

  get entries(): number {
    return this.#appender.entries;
  }

  /** DATA objects in the file. */
  get dataCount(): number {
    return this.#data.count;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Renames the file; it stays open. @throws AgentError E_IO, E_NO_SPACE */
  moveTo(path: string): void {
    try {
      fs.renameSync(this.#path, path);
    } catch (error) {
      throw journalIoError("rename", this.#path, error);
    }
    this.#path = path;
  }

  /** Whether the directory entry is gone: somebody deleted the file while we write it. */
  isUnlinked(): boolean {
    return fs.fstatSync(this.#fd).nlink === 0;
  }

  /** Whether the next entry should go to a new file. An empty file takes any entry. */
  rotationReason(entry: Entry): RotationReason | undefined {
    if (this.entries === 0) return undefined;
    if (!this.#hasRoom(entry)) return "size";
    if (this.#data.count * 4 > this.#data.buckets * 3) return "data-hash-table";
    if (this.#fields.count * 4 > this.#fields.buckets * 3) return "field-hash-table";
    const depth = Math.max(this.#data.chainDepth, this.#fields.chainDepth);
    if (depth > HASH_CHAIN_DEPTH_MAX || this.#data.probesMax > PROBES_MAX) return "hash-chain";
    return undefined;
  }

  #hasRoom(entry: Entry): boolean {
    const { dictionary, fieldCount } = entry;
    const free = this.#sizeMax - this.#arena.end - fieldCount * FIELD_OVERHEAD - ENTRY_OVERHEAD;
    if (dictionary === undefined) {
      return entry.fieldEnd[fieldCount - 1]! - entry.fieldStart[0]! <= free;
    }
    return fieldCount * dictionary.sizeMax <= free || dictionary.sizeOf(entry) <= free;
  }

  /**
   * Whether the file's order allows this entry behind its last one. `--verify` demands rising sequence
   * numbers, and monotonic times that do not fall between neighbours of one boot.
   */
  fits(entry: Entry, seqnum: number): boolean {
    if (this.entries === 0) return true;
    if (seqnum <= this.tailSeqnum) return false;
    return (
      entry.monotonicUsec >= this.tailMonotonicUsec || !isEqualId128(entry.bootId, this.#tailBootId)
    );
  }

  /**
   * Appends an entry under `seqnum`; the caller has asked `fits` and `rotationReason`.
   * @throws AgentError E_NO_SPACE, E_IO: the file takes no more entries, what was published stays readable
   */
  append(entry: Entry, seqnum: number): void {
    if (this.#isClosed || this.#isEnded) {
      throw new RangeError(`Cannot append to "${this.#path}": it is closed`);
    }
    if (this.#broken !== undefined) throw journalIoError("write", this.#path, this.#broken);
    this.#isUnpublished = true;
    try {
      this.#appender.append(entry, seqnum);
    } catch (error) {
      this.#broken = error;
      throw journalIoError("write", this.#path, error);
    }
    if (this.entries === 1) {
      this.headSeqnum = seqnum;
      this.headRealtimeUsec = entry.realtimeUsec;
    }
    this.tailSeqnum = seqnum;
    this.tailRealtimeUsec = entry.realtimeUsec;
    this.tailMonotonicUsec = entry.monotonicUsec;
    this.#tailBootId.set(entry.bootId);
  }

  /**
   * Makes everything appended visible to readers of the file: objects first, the header last and in one
   * write. May be repeated after it threw.
   * @throws AgentError E_NO_SPACE, E_IO
   */
  publish(): void {
    if (!this.#isUnpublished || this.#broken !== undefined || this.#isClosed) return;
    try {
      this.#fields.writeChanges();
      this.#data.writeChanges();
      if (this.#arena.end > this.#allocated) {
        const step = Math.ceil(this.#arena.end / GROWTH_STEP) * GROWTH_STEP;
        const size = Math.min(step, ALLOCATED_MAX);
        fs.ftruncateSync(this.#fd, size);
        this.#allocated = size;
      }
      this.#file.flushPages();
      this.#data.flushTable();
      this.#writeHeader();
    } catch (error) {
      throw journalIoError("write", this.#path, error);
    }
    this.#isUnpublished = false;
    this.#isUnsynced = true;
  }

  /**
   * Publishes and resolves when everything appended before the call is on disk. Concurrent callers
   * share a sync.
   * @throws AgentError E_NO_SPACE: may be repeated; E_IO: fails from now on, see {@link journalSyncError}
   */
  async sync(): Promise<void> {
    const isClean = !this.#isUnpublished && !this.#isUnsynced && !this.#commits.isRunning;
    if (!isClean) await this.#commits.request();
  }

  #syncFailed(error: unknown): AgentError {
    const failure = journalSyncError(this.#path, error);
    this.#broken = failure;
    return failure;
  }

  #syncNow(): void {
    try {
      fs.fdatasyncSync(this.#fd);
    } catch (error) {
      throw this.#syncFailed(error);
    }
  }

  async #commit(): Promise<void> {
    if (this.#broken !== undefined) throw journalIoError("write", this.#path, this.#broken);
    this.publish();
    if (!this.#isUnsynced) return;
    if (this.#isClosed) throw journalIoError("sync", this.#path, new Error("it is closed"));
    this.#isUnsynced = false;
    try {
      await fdatasync(this.#fd);
    } catch (error) {
      this.#isUnsynced = true;
      throw this.#syncFailed(error);
    }
  }

  /**
   * Publishes, and gives back the memory that only appending needs: nothing may be appended any more.
   * @throws AgentError E_NO_SPACE, E_IO: then nothing has changed
   */
  endAppending(): void {
    this.publish();
    if (this.#isClosed || this.#broken !== undefined) return;
    this.#isEnded = true;
    this.#file.releasePages();
    this.#data.release();
  }

  /**
   * Ends writing: OFFLINE (may be reopened) or ARCHIVED (never). The file is cut to its used size and
   * synced. A broken file stays ONLINE, for readers an unclean one.
   * @throws AgentError E_NO_SPACE, E_IO; the file is closed all the same
   */
  close(state: "offline" | "archived"): void {
    if (this.#isClosed) return;
    try {
      if (this.#broken === undefined) {
        this.publish();
        this.#syncNow();
        this.#writeEnd(state);
        this.#syncNow();
        this.#cut();
      }
    } finally {
      this.#release();
    }
  }

  /**
   * The same without holding up the thread while the disk works; until it resolves, nothing may be appended
   * unless `resume` allows it. When `close` is called meanwhile, that counts.
   */
  async complete(state: "offline" | "archived"): Promise<void> {
    if (this.#isClosed) return;
    const completion = {};
    this.#completion = completion;
    const isOver = (): boolean => this.#isClosed || this.#completion !== completion;
    try {
      if (this.#broken !== undefined) return;
      await this.sync();
      if (isOver()) return;
      this.#writeEnd(state);
      await this.sync();
      if (!isOver()) this.#cut();
    } finally {
      if (!isOver()) this.#release();
    }
  }

  /** Goes on with a file that is being completed. @returns false when it is too late */
  resume(): boolean {
    if (this.#isClosed || this.#isEnded || this.#broken !== undefined) return false;
    const { state } = this.#header;
    this.#header.state = FileState.online;
    this.#isUnsynced = true;
    try {
      // Before anything is appended: a file that says it is complete must not change.
      this.#writeHeader();
    } catch {
      this.#header.state = state;
      return false;
    }
    this.#completion = undefined;
    return true;
  }

  #release(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (!this.#isEnded) {
      this.#file.releasePages();
      this.#data.release();
    }
    this.#closeDescriptor();
  }

  #closeDescriptor(): void {
    if (!this.#commits.isRunning) {
      fs.closeSync(this.#fd);
      return;
    }
    // Another thread is still syncing it: the number must not become another file's before.
    void this.#commits.settled().then(() => fs.closeSync(this.#fd));
  }

  #writeEnd(state: "offline" | "archived"): void {
    this.#allocated = this.#arena.end;
    this.#header.state = FileState[state];
    this.#isUnsynced = true;
    try {
      this.#writeHeader();
    } catch (error) {
      throw journalIoError("close", this.#path, error);
    }
  }

  /** Only with the smaller arena on disk may the file shrink: shorter than its header says it is unreadable. */
  #cut(): void {
    this.#isUnsynced = false;
    try {
      fs.ftruncateSync(this.#fd, this.#allocated);
    } catch (error) {
      throw journalIoError("close", this.#path, error);
    }
  }

  #writeHeader(): void {
    const header = this.#header;
    header.arenaSize = this.#allocated - HEADER_SIZE;
    header.tailObjectOffset = this.#arena.tailObjectOffset;
    header.objects = this.#arena.objects;
    header.entryArrays = this.#arena.entryArrays;
    header.entries = this.#appender.entries;
    header.entryArrayOffset = this.#appender.entryArrayOffset;
    header.tailEntryArrayOffset = this.#appender.tailArrayOffset;
    header.tailEntryArrayEntries = this.#appender.tailArrayUsed;
    header.tailEntryOffset = this.#appender.tailEntryOffset;
    header.headEntrySeqnum = this.headSeqnum;
    header.tailEntrySeqnum = this.tailSeqnum;
    header.headEntryRealtime = this.headRealtimeUsec;
    header.tailEntryRealtime = this.tailRealtimeUsec;
    header.tailEntryMonotonic = this.tailMonotonicUsec;
    header.data = this.#data.count;
    header.fields = this.#fields.count;
    header.dataHashChainDepth = this.#data.chainDepth;
    header.fieldHashChainDepth = this.#fields.chainDepth;
    encodeHeader(header, this.#headerBytes);
    writeFully(this.#fd, this.#headerBytes, 0, HEADER_SIZE, 0);
  }
}

function openFile(path: string, flags: string, verb: string): number {
  try {
    return fs.openSync(path, flags, 0o640);
  } catch (error) {
    throw journalIoError(verb, path, error);
  }
}

function fdatasync(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fs.fdatasync(fd, (error) => (error ? reject(error) : resolve()));
  });
}
