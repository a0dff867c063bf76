/**
 * A chain of ENTRY_ARRAY objects as one list of entry offsets: the file's list of all entries, or that of one
 * DATA object. Arrays are found as they are needed, so a list may grow while it is read.
 */
import { viewOf } from "../../bytes/view.ts";
import {
  ENTRY_ARRAY,
  ENTRY_ARRAY_ITEM_SIZE_COMPACT,
  ENTRY_ARRAY_ITEM_SIZE_REGULAR,
  OBJECT,
  ObjectType,
} from "../format.ts";
import { journalCorrupt } from "../io-error.ts";
import { type BlockFile, readAt } from "./block-cache.ts";
import type { JournalFile } from "./journal-file.ts";

/** Items lie side by side, and arrays double in size: little is read in vain. */
const WINDOW_SIZE_DEFAULT = 8 * 1024;

/** One array of the chain: where its items start, and the index in the list of its first one. */
interface ArrayPart {
  offset: number;
  first: number;
  capacity: number;
}

export class EntryArrays {
  readonly #file: JournalFile;
  readonly #parts: ArrayPart[] = [];
  readonly #itemSize: number;
  readonly #window: ItemWindow;
  /** The part looked into last. */
  #current = 0;
  #firstOffset: number;

  /**
   * @param firstOffset of the first array; 0 = none yet
   * @param windowSize bytes of items kept in memory, at least 16
   */
  constructor(file: JournalFile, firstOffset: number, windowSize = WINDOW_SIZE_DEFAULT) {
    this.#file = file;
    this.#firstOffset = firstOffset;
    this.#itemSize = file.isCompact ? ENTRY_ARRAY_ITEM_SIZE_COMPACT : ENTRY_ARRAY_ITEM_SIZE_REGULAR;
    this.#window = new ItemWindow(file, windowSize);
  }

  /** Forgets items that may have been written since. */
  refresh(firstOffset: number): void {
    this.#firstOffset = firstOffset;
    this.#window.clear();
  }

  /**
   * The entry offset at `index`; 0 where the writer has not put one yet.
   * @throws AgentError E_JOURNAL_CORRUPT when the chain ends before, E_IO
   */
  at(index: number): number {
    const part = this.#partOf(index);
    if (part === undefined) {
      const last = this.#parts.at(-1);
      const found = last === undefined ? 0 : last.first + last.capacity;
      throw journalCorrupt(
        this.#file.path,
        0,
        `the list ends after ${found} entries, need ${index + 1}`,
      );
    }
    return this.#itemAt(part, index);
  }

  /** As `at`, but 0 where the chain ends before. */
  peek(index: number): number {
    const part = this.#partOf(index);
    return part === undefined ? 0 : this.#itemAt(part, index);
  }

  #itemAt(part: ArrayPart, index: number): number {
    const offset = part.offset + ENTRY_ARRAY.items + (index - part.first) * this.#itemSize;
    return this.#itemSize === ENTRY_ARRAY_ITEM_SIZE_COMPACT
      ? this.#window.get32(offset)
      : this.#window.get64(offset);
  }

  #partOf(index: number): ArrayPart | undefined {
    const parts = this.#parts;
    let current = this.#current;
    while (current > 0 && parts[current]!.first > index) current--;
    for (;;) {
      const part = parts[current] ?? this.#discover();
      if (part === undefined) return undefined;
      if (index < part.first + part.capacity) {
        this.#current = current;
        return part;
      }
      current++;
    }
  }

  /** Reads the array after the last one known, if there is one. */
  #discover(): ArrayPart | undefined {
    const last = this.#parts.at(-1);
    const offset =
      last === undefined
        ? this.#firstOffset
        : this.#window.get64(last.offset + ENTRY_ARRAY.nextEntryArrayOffset);
    if (offset === 0) return undefined;
    if (last !== undefined && offset <= last.offset) {
      throw journalCorrupt(this.#file.path, last.offset, "the chain of entry arrays does not rise");
    }
    const capacity = Math.floor((this.#arraySize(offset) - ENTRY_ARRAY.items) / this.#itemSize);
    const first = last === undefined ? 0 : last.first + last.capacity;
    const part = { offset, first, capacity };
    this.#parts.push(part);
    return part;
  }

  /** Not from the file's blocks: the list of a DATA object may have got an array since those were read. */
  #arraySize(offset: number): number {
    const { path, header } = this.#file;
    if (offset % 8 !== 0 || offset < header.headerSize) {
      throw journalCorrupt(path, offset, "no entry array can be here");
    }
    const type = this.#window.get32(offset + OBJECT.type) & 0xff;
    const size = this.#window.get64(offset + OBJECT.size);
    if (type !== ObjectType.entryArray || size < ENTRY_ARRAY.items + this.#itemSize) {
      throw journalCorrupt(
        path,
        offset,
        `an object of type ${type} and ${size} bytes, need an entry array`,
      );
    }
    return size;
  }
}

/** The piece of the file that was looked at last. */
class ItemWindow {
  readonly #file: BlockFile;
  readonly #capacity: number;
  #bytes: Uint8Array | undefined;
  #view = viewOf(new Uint8Array(0));
  #start = 0;
  #size = 0;

  constructor(file: BlockFile, size: number) {
    this.#file = file;
    this.#capacity = size;
  }

  clear(): void {
    this.#size = 0;
  }

  get32(offset: number): number {
    const at = this.#at(offset, 4);
    return this.#view.getUint32(at, true);
  }

  get64(offset: number): number {
    const at = this.#at(offset, 8);
    return this.#view.getUint32(at + 4, true) * 2 ** 32 + this.#view.getUint32(at, true);
  }

  #at(offset: number, size: number): number {
    if (offset < this.#start || offset + size > this.#start + this.#size) this.#load(offset, size);
    return offset - this.#start;
  }

  #load(offset: number, size: number): void {
    if (this.#bytes === undefined) {
      this.#bytes = new Uint8Array(this.#capacity);
      this.#view = viewOf(this.#bytes);
    }
    this.#start = offset;
    this.#size = readAt(this.#file, this.#bytes, offset);
    if (this.#size < size) throw journalCorrupt(this.#file.path, offset, "the file ends before");
  }
}
