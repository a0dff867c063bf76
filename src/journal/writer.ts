/**
 * Appends entries to one journal file, as systemd's journal-file.c does, with the sender's own
 * sequence numbers. Readers may have the file open at the same time: they see what was published.
 * HOT: guarded by scripts/bench/writer.ts.
 */
import fs from "node:fs";
import { ID128_SIZE } from "../bytes/id128.ts";
import { hashJenkins } from "../bytes/lookup3.ts";
import { viewOf } from "../bytes/view.ts";
import { AgentError, errnoOf, reasonOf } from "../errors.ts";
import { Arena, nextArrayCapacity } from "./arena.ts";
import { NO_RECORD, RECORD } from "./data-index.ts";
import { DataTable } from "./data-table.ts";
import { ENTRY_FIELDS_MAX, type Entry } from "./entry.ts";
import { FieldTable } from "./field-table.ts";
import {
  COMPACT_FILE_SIZE_MAX,
  DATA,
  ENTRY,
  ENTRY_ARRAY,
  ENTRY_ITEM_SIZE_COMPACT,
  ENTRY_ITEM_SIZE_REGULAR,
  FileState,
  HASH_CHAIN_DEPTH_MAX,
  HASH_ITEM_SIZE,
  HASH_TABLE,
  HEADER_SIZE,
  Incompatible,
  OBJECT,
  ObjectType,
} from "./format.ts";
import { decodeHeader, encodeHeader, type JournalHeader } from "./header.ts";
import type { PageCache } from "./page-cache.ts";
import { PagedFile, writeFully } from "./paged-file.ts";

/** FIELD buckets, as systemd 258 and later have (333 before). */
const FIELD_BUCKETS = 1023;
/** The file grows on disk in steps: a hole until written, so a small step costs no space. */
const GROWTH_STEP = 256 * 1024;
/** Room taken by a field beside its payload, at most: DATA, FIELD and first array. */
const FIELD_OVERHEAD = 256;
/** More index probes than this for one payload means somebody crafts collisions: rotate. */
const PROBES_MAX = 1000;

export interface JournalFileFormat {
  compact: boolean;
  keyedHash: boolean;
  /** zstd for payloads from this size on; undefined = never. */
  compressThresholdBytes: number | undefined;
}

export interface CreateJournalOptions extends JournalFileFormat {
  /** Random; also the key of the hash. */
  fileId: Uint8Array;
  /** Of the machine the entries come from. */
  machineId: Uint8Array;
  seqnumId: Uint8Array;
  /** Buckets of the DATA hash table; the file should rotate at 3/4 as many DATA objects. */
  dataBuckets: number;
  /** Size past which the file is full. */
  sizeMaxBytes: number;
}

/** Why a file should be closed and a new one begun (journal-file.c: journal_file_rotate_suggested()). */
export type RotationReason = "size" | "data-hash-table" | "field-hash-table" | "hash-chain";

export class JournalWriter {
  path: string;
  readonly machineId: Uint8Array;
  readonly seqnumId: Uint8Array;
  headSeqnum: number;
  tailSeqnum: number;
  headRealtimeUsec: number;
  tailRealtimeUsec: number;
  tailMonotonicUsec: number;
  readonly tailBootId: Uint8Array;
  entries: number;

  readonly #fd: number;
  readonly #file: PagedFile;
  readonly #arena: Arena;
  readonly #fields: FieldTable;
  readonly #data: DataTable;
  readonly #header: JournalHeader;
  readonly #headerBytes = new Uint8Array(HEADER_SIZE);
  readonly #compact: boolean;
  readonly #sizeMax: number;
  #allocated: number;
  #entryArrayOffset: number;
  #tailArrayOffset: number;
  #tailArrayUsed: number;
  #tailArrayCapacity: number;
  #tailEntryOffset: number;
  /** The record of the last entry's first field. */
  #firstRecord = NO_RECORD;
  #unpublished = false;
  /** Changes written with pwrite() but not yet known to be on disk. */
  #unsynced = true;
  #broken: unknown;
  #closed = false;
  #runningSync: Promise<void> | undefined;
  #waitingSync: Promise<void> | undefined;
  readonly #scratchOffsets = new Uint32Array(ENTRY_FIELDS_MAX);
  readonly #scratchRecords = new Int32Array(ENTRY_FIELDS_MAX);

  private constructor(
    path: string,
    fd: number,
    size: number,
    header: JournalHeader,
    format: JournalFileFormat & { sizeMaxBytes: number; fresh: boolean },
    cache: PageCache,
  ) {
    this.path = path;
    this.#fd = fd;
    this.#header = header;
    this.#allocated = size;
    this.#sizeMax = Math.min(format.sizeMaxBytes, COMPACT_FILE_SIZE_MAX);
    this.#compact = (header.incompatibleFlags & Incompatible.compact) !== 0;
    this.machineId = header.machineId;
    this.seqnumId = header.seqnumId;
    this.headSeqnum = header.headEntrySeqnum;
    this.tailSeqnum = header.tailEntrySeqnum;
    this.headRealtimeUsec = header.headEntryRealtime;
    this.tailRealtimeUsec = header.tailEntryRealtime;
    this.tailMonotonicUsec = header.tailEntryMonotonic;
    this.tailBootId = header.tailEntryBootId;
    this.entries = header.entries;
    this.#entryArrayOffset = header.entryArrayOffset;
    this.#tailArrayOffset = header.tailEntryArrayOffset ?? 0;
    this.#tailArrayUsed = header.tailEntryArrayEntries ?? 0;
    this.#tailEntryOffset = header.tailEntryOffset ?? 0;
    this.#file = new PagedFile(fd, size, HEADER_SIZE, cache);
    const end = format.fresh ? HEADER_SIZE : endOfTail(this.#file, header.tailObjectOffset);
    this.#arena = new Arena(
      this.#file,
      this.#compact,
      end,
      header.tailObjectOffset,
      header.objects,
      header.entryArrays ?? 0,
    );
    if (format.fresh) this.#placeHashTables(header);
    const key = header.incompatibleFlags & Incompatible.keyedHash ? header.fileId : undefined;
    this.#fields = new FieldTable(
      this.#arena,
      key,
      header.fieldHashTableOffset,
      header.fieldHashTableSize / HASH_ITEM_SIZE,
      header.fields ?? 0,
      header.fieldHashChainDepth ?? 0,
    );
    this.#data = new DataTable({
      arena: this.#arena,
      fields: this.#fields,
      key,
      itemsOffset: header.dataHashTableOffset,
      buckets: header.dataHashTableSize / HASH_ITEM_SIZE,
      count: header.data ?? 0,
      chainDepth: header.dataHashChainDepth ?? 0,
      compressThresholdBytes: format.compressThresholdBytes,
      fresh: format.fresh,
    });
    this.#tailArrayCapacity = this.#tailArrayOffset === 0 ? 0 : this.#capacityOf(this.#tailArrayOffset);
  }

  /**
   * Creates the file; it must not exist. It is ONLINE and empty, and readable by others at once.
   * @throws AgentError E_IO, E_NO_SPACE
   */
  static create(path: string, options: CreateJournalOptions, cache: PageCache): JournalWriter {
    let incompatible = 0;
    if (options.compact) incompatible |= Incompatible.compact;
    if (options.keyedHash) incompatible |= Incompatible.keyedHash;
    if (options.compressThresholdBytes !== undefined) incompatible |= Incompatible.compressedZstd;
    const fd = openFile(path, "wx+");
    try {
      const header = emptyHeader(options, incompatible);
      const writer = new JournalWriter(path, fd, 0, header, { ...options, fresh: true }, cache);
      writer.#unpublished = true;
      writer.publish();
      return writer;
    } catch (error) {
      fs.closeSync(fd);
      fs.rmSync(path, { force: true });
      throw wrapIo("create", path, error);
    }
  }

  /**
   * Opens a file that `create` made and `close("offline")` left, to append to it.
   * @throws AgentError E_JOURNAL_UNSUPPORTED when the file is not one to append to (another program's,
   * unclean, archived, sealed): set it aside and create a new one.
   */
  static reopen(
    path: string,
    format: JournalFileFormat & { sizeMaxBytes: number },
    cache: PageCache,
  ): JournalWriter {
    const fd = openFile(path, "r+");
    let writer: JournalWriter | undefined;
    try {
      const { size } = fs.fstatSync(fd);
      const head = new Uint8Array(HEADER_SIZE);
      const count = fs.readSync(fd, head, 0, HEADER_SIZE, 0);
      const header = decodeHeader(head.subarray(0, count), size);
      requireAppendable(path, header, format);
      writer = new JournalWriter(path, fd, size, header, { ...format, fresh: false }, cache);
      header.state = FileState.online;
      writer.#unpublished = true;
      writer.publish();
      return writer;
    } catch (error) {
      if (writer !== undefined) writer.#file.releasePages();
      fs.closeSync(fd);
      throw wrapIo("open", path, error);
    }
  }

  /** Bytes from the start of the file to the end of its last object. */
  get usedBytes(): number {
    return this.#arena.end;
  }

  /** Unpublished pages in memory. */
  get dirtyPages(): number {
    return this.#file.dirtyPages;
  }

  get dataCount(): number {
    return this.#data.count;
  }

  /** Renames the file; it stays open. @throws AgentError E_IO, E_NO_SPACE */
  moveTo(path: string): void {
    try {
      fs.renameSync(this.path, path);
    } catch (error) {
      throw wrapIo("rename", this.path, error);
    }
    this.path = path;
  }

  /** Whether the directory entry is gone: somebody deleted the file while we write it. */
  isUnlinked(): boolean {
    return fs.fstatSync(this.#fd).nlink === 0;
  }

  /** Whether the next entry should go to a new file. An empty file takes any entry. */
  rotationReason(entry: Entry): RotationReason | undefined {
    if (this.entries === 0) return undefined;
    const last = entry.fieldCount - 1;
    const span = entry.fieldEnd[last]! - entry.fieldStart[0]!;
    if (this.#arena.end + span + entry.fieldCount * FIELD_OVERHEAD > this.#sizeMax) return "size";
    if (this.#data.count * 4 > this.#data.buckets * 3) return "data-hash-table";
    if (this.#fields.count * 4 > this.#fields.buckets * 3) return "field-hash-table";
    const depth = Math.max(this.#data.chainDepth, this.#fields.chainDepth);
    if (depth > HASH_CHAIN_DEPTH_MAX || this.#data.probesMax > PROBES_MAX) return "hash-chain";
    return undefined;
  }

  /**
   * Whether the file's order allows this entry behind its last one. `--verify` demands rising sequence
   * numbers, and monotonic times that do not fall between neighbours of one boot.
   */
  fits(entry: Entry, seqnum: number): boolean {
    if (this.entries === 0) return true;
    if (seqnum <= this.tailSeqnum) return false;
    return entry.monotonicUsec >= this.tailMonotonicUsec || !this.#isTailBoot(entry.bootId);
  }

  /**
   * Appends an entry under `seqnum`; the caller has asked `fits` and `rotationReason`.
   * @throws AgentError E_NO_SPACE, E_IO: the file takes no more entries, what was published stays readable
   */
  append(entry: Entry, seqnum: number): void {
    if (this.#broken !== undefined) throw wrapIo("write", this.path, this.#broken);
    try {
      this.#append(entry, seqnum);
    } catch (error) {
      this.#broken = error;
      throw wrapIo("write", this.path, error);
    }
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** True after an append failed half way: close the file and go on in a new one. */
  get isBroken(): boolean {
    return this.#broken !== undefined;
  }

  #append(entry: Entry, seqnum: number): void {
    const count = this.#collectItems(entry);
    const offset = this.#writeEntry(entry, seqnum, count);
    this.#linkGlobal(offset);
    const records = this.#scratchRecords;
    for (let i = 0; i < count; i++) this.#data.linkEntry(records[i]!, offset);
    if (this.entries === 0) {
      this.headSeqnum = seqnum;
      this.headRealtimeUsec = entry.realtimeUsec;
    }
    this.entries++;
    this.tailSeqnum = seqnum;
    this.tailRealtimeUsec = entry.realtimeUsec;
    this.tailMonotonicUsec = entry.monotonicUsec;
    this.tailBootId.set(entry.bootId);
    this.#tailEntryOffset = offset;
    this.#unpublished = true;
  }

  /** The last entry's bytes and a view on them: a source reuses its buffer. */
  #viewed: Uint8Array = new Uint8Array(0);
  #view: DataView = viewOf(this.#viewed);
  #xorLow = 0;
  #xorHigh = 0;

  /** Finds or appends the DATA of each field; leaves them in the scratch arrays by rising offset, once each. */
  #collectItems(entry: Entry): number {
    const data = this.#data;
    const { index } = data;
    const offsets = this.#scratchOffsets;
    const records = this.#scratchRecords;
    const view = this.#viewOf(entry.bytes);
    const { fieldStart, fieldEnd, nameLength } = entry;
    let count = 0;
    let xorLow = 0;
    let xorHigh = 0;
    let record = NO_RECORD;
    // Entries of one machine repeat the same fields in the same order: guess before hashing.
    let guess = this.#firstRecord;
    for (let i = 0; i < entry.fieldCount; i++) {
      const start = fieldStart[i]!;
      const end = fieldEnd[i]!;
      const previous = record;
      record = guess;
      if (guess === NO_RECORD || !data.holds(guess, view, start, end)) {
        hashJenkins(view, start, end);
        record = data.findOrAppend(view, start, end, nameLength[i]!);
        this.#learn(previous, guess, record);
      }
      const { words } = index;
      guess = words[record + RECORD.successor]!;
      xorLow ^= words[record + RECORD.hashLow]!;
      xorHigh ^= words[record + RECORD.hashHigh]!;
      const offset = words[record + RECORD.offset]! >>> 0;
      let at = count - 1;
      while (at >= 0 && offsets[at]! > offset) at--;
      if (at >= 0 && offsets[at] === offset) continue;
      for (let move = count; move > at + 1; move--) {
        offsets[move] = offsets[move - 1]!;
        records[move] = records[move - 1]!;
      }
      offsets[at + 1] = offset;
      records[at + 1] = record;
      count++;
    }
    this.#xorLow = xorLow;
    this.#xorHigh = xorHigh;
    return count;
  }

  #viewOf(bytes: Uint8Array): DataView {
    if (bytes !== this.#viewed) {
      this.#viewed = bytes;
      this.#view = viewOf(bytes);
    }
    return this.#view;
  }

  /** Remembers what really came behind `previous`, where `guess` was expected. */
  #learn(previous: number, guess: number, record: number): void {
    const { words } = this.#data.index;
    if (previous === NO_RECORD) this.#firstRecord = record;
    else words[previous + RECORD.successor] = record;
    // A new value of the same field is mostly followed by what followed the old one.
    if (guess !== NO_RECORD && words[record + RECORD.successor] === NO_RECORD) {
      words[record + RECORD.successor] = words[guess + RECORD.successor]!;
    }
  }

  #writeEntry(entry: Entry, seqnum: number, count: number): number {
    const arena = this.#arena;
    const file = this.#file;
    const itemSize = this.#compact ? ENTRY_ITEM_SIZE_COMPACT : ENTRY_ITEM_SIZE_REGULAR;
    const offset = arena.allocate(ObjectType.entry, 0, ENTRY.items + count * itemSize);
    arena.setNew64(offset + ENTRY.seqnum, seqnum);
    arena.setNew64(offset + ENTRY.realtime, entry.realtimeUsec);
    arena.setNew64(offset + ENTRY.monotonic, entry.monotonicUsec);
    for (let i = 0; i < ID128_SIZE; i += 4) {
      file.set32(offset + ENTRY.bootId + i, wordOf(entry.bootId, i));
    }
    file.set32(offset + ENTRY.xorHash, this.#xorLow);
    file.set32(offset + ENTRY.xorHash + 4, this.#xorHigh);
    const offsets = this.#scratchOffsets;
    let at = offset + ENTRY.items;
    for (let i = 0; i < count; i++, at += itemSize) {
      file.set32(at, offsets[i]!);
      if (this.#compact) continue;
      file.set32(at + 8, file.get32(offsets[i]! + DATA.hash));
      file.set32(at + 12, file.get32(offsets[i]! + DATA.hash + 4));
    }
    return offset;
  }

  #linkGlobal(entryOffset: number): void {
    const arena = this.#arena;
    if (this.#tailArrayUsed === this.#tailArrayCapacity) {
      const capacity = nextArrayCapacity(this.entries, this.#tailArrayCapacity);
      const array = arena.allocateEntryArray(capacity);
      if (this.#tailArrayOffset === 0) this.#entryArrayOffset = array;
      else this.#file.poke32(this.#tailArrayOffset + ENTRY_ARRAY.nextEntryArrayOffset, array);
      this.#tailArrayOffset = array;
      this.#tailArrayCapacity = capacity;
      this.#tailArrayUsed = 0;
    }
    const items = this.#tailArrayOffset + ENTRY_ARRAY.items;
    this.#file.set32(items + this.#tailArrayUsed * arena.arrayItemSize, entryOffset);
    this.#tailArrayUsed++;
  }

  /**
   * Makes everything appended visible to readers of the file: objects first, the header last and in one
   * write. May be repeated after it threw.
   * @throws AgentError E_NO_SPACE, E_IO
   */
  publish(): void {
    if (!this.#unpublished || this.#broken !== undefined) return;
    try {
      this.#fields.writeChanges();
      this.#data.writeChanges();
      const end = this.#arena.end;
      if (end > this.#allocated) {
        const size = Math.ceil(end / GROWTH_STEP) * GROWTH_STEP;
        fs.ftruncateSync(this.#fd, size);
        this.#allocated = size;
      }
      this.#file.flushPages();
      this.#writeHeader();
    } catch (error) {
      throw wrapIo("write", this.path, error);
    }
    this.#unpublished = false;
    this.#unsynced = true;
  }

  /**
   * Publishes and resolves when everything appended before the call is on disk. Concurrent callers
   * share a sync.
   * @throws AgentError E_NO_SPACE, E_IO
   */
  sync(): Promise<void> {
    if (this.#broken !== undefined) {
      return Promise.reject(wrapIo("write", this.path, this.#broken));
    }
    if (!this.#unpublished && !this.#unsynced && this.#runningSync === undefined) {
      return Promise.resolve();
    }
    this.#waitingSync ??= this.#syncAfterRunning();
    return this.#waitingSync;
  }

  async #syncAfterRunning(): Promise<void> {
    // Lets callers of this turn join, then waits for a sync that began before our changes.
    await (this.#runningSync?.catch(() => undefined) ?? Promise.resolve());
    this.#waitingSync = undefined;
    const sync = this.#syncNow();
    this.#runningSync = sync;
    try {
      await sync;
    } finally {
      if (this.#runningSync === sync) this.#runningSync = undefined;
    }
  }

  async #syncNow(): Promise<void> {
    if (this.#closed) {
      if (this.#unsynced) throw wrapIo("sync", this.path, new Error("it was closed before"));
      return;
    }
    if (this.#broken !== undefined) throw wrapIo("write", this.path, this.#broken);
    this.publish();
    this.#unsynced = false;
    try {
      await fdatasync(this.#fd);
    } catch (error) {
      this.#unsynced = true;
      throw wrapIo("sync", this.path, error);
    }
  }

  /**
   * Ends writing: OFFLINE (may be reopened) or ARCHIVED (never). The file is cut to its used size and
   * synced. Wait for `sync()` calls to settle first. A broken file stays ONLINE, for readers an unclean one.
   * @throws AgentError E_NO_SPACE, E_IO; the file is closed all the same
   */
  close(state: "offline" | "archived"): void {
    if (this.#closed) return;
    try {
      if (this.#broken === undefined) this.#finish(FileState[state]);
    } finally {
      this.#closed = true;
      this.#file.releasePages();
      fs.closeSync(this.#fd);
    }
  }

  #finish(state: number): void {
    this.#unpublished = true;
    this.publish();
    try {
      fs.fdatasyncSync(this.#fd);
      this.#allocated = this.#arena.end;
      this.#header.state = state;
      // The smaller arena first: the file must never be shorter than its header says.
      this.#writeHeader();
      fs.ftruncateSync(this.#fd, this.#arena.end);
      fs.fsyncSync(this.#fd);
      this.#unsynced = false;
    } catch (error) {
      throw wrapIo("close", this.path, error);
    }
  }

  #writeHeader(): void {
    const header = this.#header;
    header.arenaSize = this.#allocated - HEADER_SIZE;
    header.tailObjectOffset = this.#arena.tailObjectOffset;
    header.objects = this.#arena.objects;
    header.entryArrays = this.#arena.entryArrays;
    header.entries = this.entries;
    header.headEntrySeqnum = this.headSeqnum;
    header.tailEntrySeqnum = this.tailSeqnum;
    header.headEntryRealtime = this.headRealtimeUsec;
    header.tailEntryRealtime = this.tailRealtimeUsec;
    header.tailEntryMonotonic = this.tailMonotonicUsec;
    header.entryArrayOffset = this.#entryArrayOffset;
    header.tailEntryArrayOffset = this.#tailArrayOffset;
    header.tailEntryArrayEntries = this.#tailArrayUsed;
    header.tailEntryOffset = this.#tailEntryOffset;
    header.data = this.#data.count;
    header.fields = this.#fields.count;
    header.dataHashChainDepth = this.#data.chainDepth;
    header.fieldHashChainDepth = this.#fields.chainDepth;
    encodeHeader(header, this.#headerBytes);
    writeFully(this.#fd, this.#headerBytes, 0, HEADER_SIZE, 0);
  }

  #placeHashTables(header: JournalHeader): void {
    const fieldTable = this.#arena.allocate(
      ObjectType.fieldHashTable,
      0,
      HASH_TABLE.items + header.fieldHashTableSize,
    );
    const dataTable = this.#arena.allocate(
      ObjectType.dataHashTable,
      0,
      HASH_TABLE.items + header.dataHashTableSize,
    );
    header.fieldHashTableOffset = fieldTable + HASH_TABLE.items;
    header.dataHashTableOffset = dataTable + HASH_TABLE.items;
  }

  #capacityOf(array: number): number {
    return (this.#file.get32(array + OBJECT.size) - ENTRY_ARRAY.items) / this.#arena.arrayItemSize;
  }

  #isTailBoot(bootId: Uint8Array): boolean {
    for (let i = 0; i < ID128_SIZE; i++) if (bootId[i] !== this.tailBootId[i]) return false;
    return true;
  }
}

function emptyHeader(options: CreateJournalOptions, incompatibleFlags: number): JournalHeader {
  return {
    compatibleFlags: 0,
    incompatibleFlags,
    state: FileState.online,
    fileId: options.fileId.slice(),
    machineId: options.machineId.slice(),
    tailEntryBootId: new Uint8Array(ID128_SIZE),
    seqnumId: options.seqnumId.slice(),
    headerSize: HEADER_SIZE,
    arenaSize: 0,
    dataHashTableOffset: 0,
    dataHashTableSize: options.dataBuckets * HASH_ITEM_SIZE,
    fieldHashTableOffset: 0,
    fieldHashTableSize: FIELD_BUCKETS * HASH_ITEM_SIZE,
    tailObjectOffset: 0,
    objects: 0,
    entries: 0,
    tailEntrySeqnum: 0,
    headEntrySeqnum: 0,
    entryArrayOffset: 0,
    headEntryRealtime: 0,
    tailEntryRealtime: 0,
    tailEntryMonotonic: 0,
    data: 0,
    fields: 0,
    tags: 0,
    entryArrays: 0,
    dataHashChainDepth: 0,
    fieldHashChainDepth: 0,
    tailEntryArrayOffset: 0,
    tailEntryArrayEntries: 0,
    tailEntryOffset: 0,
  };
}

function requireAppendable(path: string, header: JournalHeader, format: JournalFileFormat): void {
  const refuse = (what: string): never => {
    throw new AgentError("E_JOURNAL_UNSUPPORTED", `Cannot append to "${path}": ${what}`);
  };
  if (header.state === FileState.online) refuse("it was not closed cleanly");
  if (header.state === FileState.archived) refuse("it is archived");
  if (header.headerSize !== HEADER_SIZE || header.compatibleFlags !== 0) {
    refuse("another program wrote it");
  }
  const flags = header.incompatibleFlags;
  const isCompact = (flags & Incompatible.compact) !== 0;
  const isKeyed = (flags & Incompatible.keyedHash) !== 0;
  const isZstd = (flags & Incompatible.compressedZstd) !== 0;
  const sameFormat =
    isCompact === format.compact &&
    isKeyed === format.keyedHash &&
    isZstd === (format.compressThresholdBytes !== undefined);
  if (!sameFormat) refuse("its format is not the configured one");
}

function wordOf(bytes: Uint8Array, i: number): number {
  return bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
}

function endOfTail(file: PagedFile, tailObjectOffset: number): number {
  return Math.ceil((tailObjectOffset + file.get32(tailObjectOffset + OBJECT.size)) / 8) * 8;
}

function openFile(path: string, flags: string): number {
  try {
    return fs.openSync(path, flags, 0o640);
  } catch (error) {
    throw wrapIo("open", path, error);
  }
}

function fdatasync(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fs.fdatasync(fd, (error) => (error ? reject(error) : resolve()));
  });
}

/** Wraps an error of the runtime once; the store maps the code to what the sender is told. */
function wrapIo(verb: string, path: string, error: unknown): unknown {
  if (error instanceof AgentError) return error;
  const errno = errnoOf(error);
  const full = errno === "ENOSPC" || errno === "EDQUOT";
  return new AgentError(
    full ? "E_NO_SPACE" : "E_IO",
    `Cannot ${verb} journal file "${path}": ${reasonOf(error)}`,
    { cause: error, ...(full ? { hint: "Free space on this file system or lower MaxUse=" } : {}) },
  );
}

