/**
 * Answers "is this sequence number in that file?" from the file itself, by bisection over the global
 * entry array: a journal file holds its entries by strictly rising sequence number. Reads what is
 * published, also of a file that is being written. Lookups in rising order cost next to nothing.
 */
import fs from "node:fs";
import type { Entry } from "./entry.ts";
import {
  ENTRY,
  ENTRY_ARRAY,
  ENTRY_ARRAY_ITEM_SIZE_COMPACT,
  ENTRY_ARRAY_ITEM_SIZE_REGULAR,
  HEADER_SIZE,
  Incompatible,
  OBJECT,
  ObjectType,
} from "./format.ts";
import { decodeHeader } from "./header.ts";
import { journalCorrupt, journalIoError } from "./io-error.ts";

/** Array items lie close together, entries about half a kilobyte apart. */
const WINDOW_SIZE = 64 * 1024;
const TWO_32 = 2 ** 32;

/** One array of the chain: where its items start, and the index of its first item. */
interface ArrayPart {
  items: number;
  first: number;
}

/** A file as it was at a refresh: what a window has of it is good until the next one. */
interface WindowFile {
  readonly path: string;
  readonly fd: number;
  readonly size: number;
}

export class SeqnumLookup {
  readonly path: string;
  #file: WindowFile;
  #itemSize = ENTRY_ARRAY_ITEM_SIZE_REGULAR as number;
  /** Entries the file had at the last refresh. */
  entries = 0;
  #arrays: ArrayPart[] = [];
  /** Index of the last entry found. */
  #hint = -1;

  /** @throws AgentError E_IO, E_JOURNAL_CORRUPT, E_JOURNAL_UNSUPPORTED */
  constructor(path: string) {
    this.path = path;
    try {
      this.#file = { path, fd: fs.openSync(path, "r"), size: 0 };
    } catch (error) {
      throw journalIoError("open", path, error);
    }
    try {
      this.refresh();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Takes in what was published since. */
  refresh(): void {
    const { path } = this;
    const { fd } = this.#file;
    const head = new Uint8Array(HEADER_SIZE);
    let count: number;
    try {
      count = fs.readSync(fd, head, 0, HEADER_SIZE, 0);
      this.#file = { path, fd, size: fs.fstatSync(fd).size };
    } catch (error) {
      throw journalIoError("read", path, error);
    }
    const header = decodeHeader(head.subarray(0, count), this.#file.size);
    const isCompact = (header.incompatibleFlags & Incompatible.compact) !== 0;
    this.#itemSize = isCompact ? ENTRY_ARRAY_ITEM_SIZE_COMPACT : ENTRY_ARRAY_ITEM_SIZE_REGULAR;
    this.#arrays = this.#readChain(header.entryArrayOffset, header.entries);
    this.entries = header.entries;
  }

  /** Whether the file holds an entry with this sequence number. */
  has(seqnum: number): boolean {
    const next = this.#hint + 1;
    if (next < this.entries && this.#seqnumAt(next) === seqnum) {
      this.#hint = next;
      return true;
    }
    let low = 0;
    let high = this.entries;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (this.#seqnumAt(middle) < seqnum) low = middle + 1;
      else high = middle;
    }
    if (low >= this.entries || this.#seqnumAt(low) !== seqnum) return false;
    this.#hint = low;
    return true;
  }

  /**
   * Whether the file holds this very entry. The number alone does not tell: a machine that loses power forgets
   * the last numbers it gave, and gives them to other entries after it has booted.
   */
  holds(entry: Entry): boolean {
    if (!this.has(entry.seqnum)) return false;
    const offset = this.#entryOffset(this.#hint);
    if (entryWindow.get64(this.#file, offset + ENTRY.realtime) !== entry.realtimeUsec) return false;
    return entryWindow.isEqual(this.#file, offset + ENTRY.bootId, entry.bootId);
  }

  close(): void {
    fs.closeSync(this.#file.fd);
  }

  #readChain(firstOffset: number, entries: number): ArrayPart[] {
    const arrays: ArrayPart[] = [];
    let first = 0;
    let offset = firstOffset;
    while (offset !== 0 && first < entries) {
      const size = this.#object(itemWindow, offset, ObjectType.entryArray);
      const capacity = Math.floor((size - ENTRY_ARRAY.items) / this.#itemSize);
      if (capacity < 1) throw journalCorrupt(this.path, offset, "entry array has no items");
      arrays.push({ items: offset + ENTRY_ARRAY.items, first });
      first += capacity;
      const next = itemWindow.get64(this.#file, offset + ENTRY_ARRAY.nextEntryArrayOffset);
      if (next !== 0 && next <= offset)
        throw journalCorrupt(this.path, offset, "entry array chain does not rise");
      offset = next;
    }
    if (first < entries)
      throw journalCorrupt(this.path, 0, `entry arrays hold ${first} of ${entries} entries`);
    return arrays;
  }

  #seqnumAt(index: number): number {
    return entryWindow.get64(this.#file, this.#entryOffset(index) + ENTRY.seqnum);
  }

  #entryOffset(index: number): number {
    let array = this.#arrays.length - 1;
    while (this.#arrays[array]!.first > index) array--;
    const { items, first } = this.#arrays[array]!;
    const at = items + (index - first) * this.#itemSize;
    const offset =
      this.#itemSize === ENTRY_ARRAY_ITEM_SIZE_COMPACT
        ? itemWindow.get32(this.#file, at)
        : itemWindow.get64(this.#file, at);
    this.#object(entryWindow, offset, ObjectType.entry);
    return offset;
  }

  /** Checks the type of an object and returns its size. */
  #object(window: Window, offset: number, type: number): number {
    const found = window.get32(this.#file, offset + OBJECT.type) & 0xff;
    if (found !== type)
      throw journalCorrupt(this.path, offset, `object has type ${found}, need ${type}`);
    return window.get64(this.#file, offset + OBJECT.size);
  }
}

/** A piece of a file in memory: of the one that was looked into last. */
class Window {
  readonly #bytes = new Uint8Array(WINDOW_SIZE);
  readonly #view = new DataView(this.#bytes.buffer);
  #file: WindowFile | undefined;
  #start = 0;
  #size = 0;

  get32(file: WindowFile, offset: number): number {
    return this.#view.getUint32(this.#at(file, offset, 4), true);
  }

  get64(file: WindowFile, offset: number): number {
    const at = this.#at(file, offset, 8);
    return this.#view.getUint32(at + 4, true) * TWO_32 + this.#view.getUint32(at, true);
  }

  isEqual(file: WindowFile, offset: number, bytes: Uint8Array): boolean {
    const at = this.#at(file, offset, bytes.length);
    for (let i = 0; i < bytes.length; i++) if (this.#bytes[at + i] !== bytes[i]) return false;
    return true;
  }

  #at(file: WindowFile, offset: number, size: number): number {
    const isHere =
      file === this.#file && offset >= this.#start && offset + size <= this.#start + this.#size;
    if (!isHere) this.#load(file, offset, size);
    return offset - this.#start;
  }

  #load(file: WindowFile, offset: number, size: number): void {
    this.#file = undefined;
    // Also keeps a damaged offset away from the system call, which takes none past 2^53.
    if (offset + size > file.size) throw journalCorrupt(file.path, offset, "the file ends before");
    try {
      this.#size = fs.readSync(file.fd, this.#bytes, 0, WINDOW_SIZE, offset);
    } catch (error) {
      throw journalIoError("read", file.path, error);
    }
    if (this.#size < size) throw journalCorrupt(file.path, offset, "the file ends before");
    this.#file = file;
    this.#start = offset;
  }
}

/** Shared by all lookups, of which there may be thousands: files are looked into one after the other. */
const itemWindow = new Window();
const entryWindow = new Window();
