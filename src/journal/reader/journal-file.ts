/**
 * One journal file for reading: its header as of the last refresh, its entries by index, objects by offset with
 * the checks systemd makes (journal-file.c: journal_file_move_to_object()). Works on files that are being written:
 * what is published at a refresh is complete (journal-file.md section 4).
 * HOT: guarded by scripts/bench/read.ts.
 */
import fs from "node:fs";
import { viewOf } from "../../bytes/view.ts";
import type { AgentError } from "../../errors.ts";
import {
  DATA,
  DATA_SIZE_MAX,
  ENTRY,
  ENTRY_ITEM_SIZE_COMPACT,
  ENTRY_ITEM_SIZE_REGULAR,
  HEADER,
  HEADER_SIZE,
  Incompatible,
  OBJECT,
  OBJECT_FLAGS_COMPRESSION,
  ObjectType,
  TIMESTAMP_LIMIT,
} from "../format.ts";
import { decodeHeader, type JournalHeader } from "../header.ts";
import { journalCorrupt, journalIoError } from "../io-error.ts";
import { unpackPayload } from "../payload.ts";
import { BLOCK_OBJECT_MAX, type BlockCache, readAt } from "./block-cache.ts";
import { EntryArrays } from "./entry-arrays.ts";
import { releaseFileId, takeFileId } from "./file-ids.ts";

const TWO_32 = 2 ** 32;
/** Fields of one entry that are looked at: four times what any writer stores. */
export const ENTRY_ITEMS_MAX = 4096;
/** Most entries have fewer, and there may be hundreds of files. */
const ITEMS_FIRST = 128;
/** While a header is being changed, it may contradict itself for a moment. */
const HEADER_ATTEMPTS = 4;

export class JournalFile {
  readonly path: string;
  readonly fd: number;
  /** Different from those of all other open files. */
  readonly id: number;
  readonly blocks: BlockCache;
  header: JournalHeader;
  readonly isCompact: boolean;
  readonly isKeyed: boolean;
  /** All entries, by index. */
  readonly arrays: EntryArrays;

  /** What the last readEntry() found. */
  seqnum = 0;
  realtimeUsec = 0;
  monotonicUsec = 0;
  readonly bootId = new Uint8Array(16);
  /** The same, to compare. */
  readonly bootWords = new Int32Array(this.bootId.buffer);
  xorHashLow = 0;
  xorHashHigh = 0;
  /** Offsets of its DATA, in the order of the file. */
  items = new Float64Array(ITEMS_FIRST);
  itemCount = 0;

  /** What the last readData() found is `payload[payloadStart .. payloadEnd)`. */
  payload: Buffer;
  /** How many entries have it, as its DATA object says. */
  dataEntries = 0;
  /** The last DATA object of the file that a DataCache was asked for. */
  dataSeen = 0;
  payloadStart = 0;
  payloadEnd = 0;

  /** Its contents are gone, though it is open. */
  isErased = false;

  #size = 0;
  /** Objects that end before this do not change any more. */
  #frozenEnd = 0;
  readonly #headerBytes = new Uint8Array(HEADER_SIZE);
  readonly #signature = new Uint8Array(1);
  readonly #dataPayload: number;

  /** @throws AgentError E_IO, E_JOURNAL_CORRUPT, E_JOURNAL_UNSUPPORTED */
  constructor(path: string, blocks: BlockCache) {
    this.path = path;
    this.blocks = blocks;
    this.payload = blocks.bytes;
    try {
      // Not blocking: it might be a FIFO.
      this.fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    } catch (error) {
      throw journalIoError("open", path, error);
    }
    try {
      if (!fs.fstatSync(this.fd).isFile()) throw this.#corrupt(0, "it is not a regular file");
      this.header = this.#readHeader();
    } catch (error) {
      fs.closeSync(this.fd);
      throw journalIoError("open", path, error);
    }
    this.id = takeFileId();
    const { incompatibleFlags } = this.header;
    this.isCompact = (incompatibleFlags & Incompatible.compact) !== 0;
    this.isKeyed = (incompatibleFlags & Incompatible.keyedHash) !== 0;
    this.#dataPayload = this.isCompact ? DATA.compactPayload : DATA.regularPayload;
    this.arrays = new EntryArrays(this, this.header.entryArrayOffset);
  }

  /** Bytes at the last refresh. */
  get size(): number {
    return this.#size;
  }

  /** Entries published at the last refresh. */
  get entries(): number {
    return this.header.entries;
  }

  /**
   * Takes in what was published since.
   * @returns whether there are more entries
   * @throws AgentError when it is not that journal file any more: overwritten, truncated, a failing disk
   */
  refresh(): boolean {
    const { entries } = this.header;
    this.afterRead();
    const header = this.#readHeader();
    if (header.entries < entries) {
      throw this.#corrupt(HEADER.entries, `${header.entries} entries, it had ${entries}`);
    }
    this.header = header;
    if (header.entries === entries) return false;
    this.forgetUnread();
    return true;
  }

  /** Has what was not used yet read again: it may not have been written when it was read. */
  forgetUnread(): void {
    this.blocks.dropFrom(this, this.#frozenEnd);
    this.arrays.refresh(this.header.entryArrayOffset);
  }

  /**
   * When systemd deletes a journal that somebody has open, it frees its space at once (fs-util.c:
   * unlinkat_deallocate()): from the beginning on the file turns into zeros, and what was read just before may be
   * zeros already.
   * @throws AgentError E_JOURNAL_CORRUPT, with `isErased` set
   */
  afterRead(): void {
    if (readAt(this, this.#signature, 0) === 0 || this.#signature[0] !== 0) return;
    this.isErased = true;
    throw this.#corrupt(0, "it was deleted and its space freed");
  }

  /** Whether it was deleted, so that its space is freed when it is closed. @throws AgentError E_IO */
  get isDeleted(): boolean {
    try {
      return fs.fstatSync(this.fd).nlink === 0;
    } catch (error) {
      throw journalIoError("stat", this.path, error);
    }
  }

  close(): void {
    this.blocks.dropFrom(this, 0);
    releaseFileId(this.id);
    fs.closeSync(this.fd);
  }

  /**
   * The offset of the entry at `index`, below `entries`.
   * @throws AgentError E_JOURNAL_CORRUPT, E_IO
   */
  entryOffset(index: number): number {
    return this.arrays.at(index);
  }

  /**
   * Reads the numbers of an entry into this object; with `items`, those of its fields as well.
   * @throws AgentError E_JOURNAL_CORRUPT, E_IO
   */
  readEntry(offset: number, withItems: boolean): void {
    const itemSize = this.isCompact ? ENTRY_ITEM_SIZE_COMPACT : ENTRY_ITEM_SIZE_REGULAR;
    const size = this.objectSize(offset, ObjectType.entry, ENTRY.items + itemSize);
    const itemBytes = size - ENTRY.items;
    if (itemBytes % itemSize !== 0) throw this.#corrupt(offset, `an entry of ${size} bytes`);
    const count = Math.min(itemBytes / itemSize, ENTRY_ITEMS_MAX);
    const wanted = withItems ? ENTRY.items + count * itemSize : ENTRY.items;
    const large = wanted > BLOCK_OBJECT_MAX ? this.#readLarge(offset, wanted) : undefined;
    const view = large === undefined ? this.blocks.view : viewOf(large);
    const at = large === undefined ? this.#locate(offset, wanted) : 0;
    this.#readNumbers(view, at, offset);
    this.itemCount = withItems ? count : 0;
    if (withItems) this.#readItems(view, at + ENTRY.items, count);
    const end = offset + size;
    if (end > this.#frozenEnd) this.#frozenEnd = end;
  }

  /**
   * Reads the payload of a DATA object, unpacked, to where `payload` tells. Valid until the next read.
   * @throws AgentError E_JOURNAL_CORRUPT, E_IO
   */
  readData(offset: number): void {
    const size = this.objectSize(offset, ObjectType.data, this.#dataPayload + 1);
    const payloadSize = size - this.#dataPayload;
    if (payloadSize > DATA_SIZE_MAX) throw this.#corrupt(offset, `a field of ${payloadSize} bytes`);
    const isLarge = size > BLOCK_OBJECT_MAX;
    const at = this.#locate(offset, isLarge ? this.#dataPayload : size);
    const { bytes, view } = this.blocks;
    this.dataEntries = view.getUint32(at + DATA.entries, true);
    const flags = bytes[at + OBJECT.flags]! & OBJECT_FLAGS_COMPRESSION;
    if (isLarge) {
      this.#setPayload(this.#readLarge(offset + this.#dataPayload, payloadSize), 0, payloadSize);
    } else {
      this.#setPayload(bytes, at + this.#dataPayload, payloadSize);
    }
    if (flags !== 0) this.#unpack(offset, flags);
  }

  /**
   * Checks that there is an object of this type and at least this size, whole, in the file.
   * @returns its size
   * @throws AgentError E_JOURNAL_CORRUPT, E_IO
   */
  objectSize(offset: number, type: number, sizeMin: number): number {
    if (offset % 8 !== 0 || offset < this.header.headerSize || offset + sizeMin > this.#size) {
      throw this.#corrupt(offset, "no object can be here");
    }
    const at = this.#locate(offset, sizeMin);
    const { view } = this.blocks;
    const found = view.getUint8(at + OBJECT.type);
    if (found !== type) throw this.#corrupt(offset, `an object of type ${found}, need ${type}`);
    const size = this.#uint64(view, at + OBJECT.size);
    if (size < sizeMin || offset + size > this.#size) {
      throw this.#corrupt(offset, `an object of ${size} bytes`);
    }
    return size;
  }

  /** Brings [offset, offset + size) into `blocks`; at most BLOCK_OBJECT_MAX. @returns where */
  locate(offset: number, size: number): number {
    if (offset + size > this.#size) throw this.#corrupt(offset, "the file ends before");
    return this.#locate(offset, size);
  }

  #locate(offset: number, size: number): number {
    const at = this.blocks.locate(this, offset, size);
    if (at < 0) throw this.#corrupt(offset, "the file ends before");
    return at;
  }

  #readLarge(offset: number, size: number): Buffer {
    const bytes = Buffer.alloc(size);
    if (readAt(this, bytes, offset) < size) throw this.#corrupt(offset, "the file ends before");
    this.afterRead();
    return bytes;
  }

  #readNumbers(view: DataView, at: number, offset: number): void {
    this.seqnum = this.#uint64(view, at + ENTRY.seqnum);
    this.realtimeUsec = this.#uint64(view, at + ENTRY.realtime);
    this.monotonicUsec = this.#uint64(view, at + ENTRY.monotonic);
    if (this.seqnum === 0 || this.seqnum > Number.MAX_SAFE_INTEGER) {
      throw this.#corrupt(offset, `an entry with the number ${this.seqnum}`);
    }
    if (this.realtimeUsec === 0 || this.realtimeUsec >= TIMESTAMP_LIMIT) {
      throw this.#corrupt(offset, `an entry of the time ${this.realtimeUsec}`);
    }
    if (this.monotonicUsec >= TIMESTAMP_LIMIT) {
      throw this.#corrupt(offset, `an entry of the monotonic time ${this.monotonicUsec}`);
    }
    const { bootWords } = this;
    for (let i = 0; i < 4; i++) bootWords[i] = view.getInt32(at + ENTRY.bootId + 4 * i, true);
    this.xorHashLow = view.getUint32(at + ENTRY.xorHash, true);
    this.xorHashHigh = view.getUint32(at + ENTRY.xorHash + 4, true);
  }

  #readItems(view: DataView, start: number, count: number): void {
    if (count > this.items.length) this.items = new Float64Array(ENTRY_ITEMS_MAX);
    const { items } = this;
    if (this.isCompact) {
      for (let i = 0; i < count; i++) items[i] = view.getUint32(start + i * 4, true);
    } else {
      for (let i = 0; i < count; i++) items[i] = this.#uint64(view, start + i * 16);
    }
  }

  #setPayload(bytes: Buffer, start: number, size: number): void {
    this.payload = bytes;
    this.payloadStart = start;
    this.payloadEnd = start + size;
  }

  #unpack(offset: number, flag: number): void {
    const stored = this.payload.subarray(this.payloadStart, this.payloadEnd);
    try {
      const bytes = unpackPayload(flag, stored, DATA_SIZE_MAX);
      this.#setPayload(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), 0, bytes.length);
    } catch (error) {
      throw this.#corrupt(offset, `a field that cannot be unpacked (${String(error)})`);
    }
  }

  #uint64(view: DataView, at: number): number {
    return view.getUint32(at + 4, true) * TWO_32 + view.getUint32(at, true);
  }

  /** @throws AgentError */
  #readHeader(): JournalHeader {
    for (let attempt = 1; ; attempt++) {
      const count = readAt(this, this.#headerBytes, 0);
      try {
        this.#size = fs.fstatSync(this.fd).size;
        const header = this.#headerBytes.subarray(0, count);
        return decodeHeader(header, Math.max(this.#size, declaredEnd(header)));
      } catch (error) {
        if (attempt === HEADER_ATTEMPTS) throw error;
      }
    }
  }

  #corrupt(offset: number, what: string): AgentError {
    return journalCorrupt(this.path, offset, what);
  }
}

/** A truncated file is read as far as it goes (systemd 262; before it was refused). */
function declaredEnd(header: Uint8Array): number {
  if (header.length < HEADER.arenaSize + 8) return 0;
  const view = viewOf(header);
  const word = (offset: number): number =>
    view.getUint32(offset + 4, true) * TWO_32 + view.getUint32(offset, true);
  return word(HEADER.headerSize) + word(HEADER.arenaSize);
}
