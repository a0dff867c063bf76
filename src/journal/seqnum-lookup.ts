/**
 * Answers "is this sequence number in that file?" from the file itself, by bisection over the global
 * entry array: a journal file holds its entries by strictly rising sequence number. Reads what is
 * published, also of a file that is being written. Lookups in rising order cost next to nothing.
 */
import fs from "node:fs";
import { AgentError, reasonOf } from "../errors.ts";
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

/** Two read-ahead windows: array items lie close together, entries about half a kilobyte apart. */
const WINDOW_SIZE = 64 * 1024;
const TWO_32 = 2 ** 32;

/** One array of the chain: where its items start, and the index of its first item. */
interface ArrayPart {
  items: number;
  first: number;
}

export class SeqnumLookup {
  readonly path: string;
  readonly #fd: number;
  #itemSize = ENTRY_ARRAY_ITEM_SIZE_REGULAR as number;
  /** Entries the file had at the last refresh. */
  entries = 0;
  #arrays: ArrayPart[] = [];
  readonly #itemWindow: Window;
  readonly #entryWindow: Window;
  /** Index of the last entry found. */
  #hint = -1;

  /** @throws AgentError E_IO, E_JOURNAL_CORRUPT, E_JOURNAL_UNSUPPORTED */
  constructor(path: string) {
    this.path = path;
    try {
      this.#fd = fs.openSync(path, "r");
    } catch (error) {
      throw new AgentError("E_IO", `Cannot open journal file "${path}": ${reasonOf(error)}`, {
        cause: error,
      });
    }
    this.#itemWindow = new Window(this.#fd);
    this.#entryWindow = new Window(this.#fd);
    try {
      this.refresh();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Takes in what was published since. */
  refresh(): void {
    const head = new Uint8Array(HEADER_SIZE);
    const count = fs.readSync(this.#fd, head, 0, HEADER_SIZE, 0);
    const header = decodeHeader(head.subarray(0, count), fs.fstatSync(this.#fd).size);
    const isCompact = (header.incompatibleFlags & Incompatible.compact) !== 0;
    this.#itemSize = isCompact ? ENTRY_ARRAY_ITEM_SIZE_COMPACT : ENTRY_ARRAY_ITEM_SIZE_REGULAR;
    this.entries = header.entries;
    this.#itemWindow.forget();
    this.#entryWindow.forget();
    this.#readChain(header.entryArrayOffset);
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

  close(): void {
    fs.closeSync(this.#fd);
  }

  #readChain(firstOffset: number): void {
    const arrays: ArrayPart[] = [];
    let first = 0;
    let offset = firstOffset;
    while (offset !== 0 && first < this.entries) {
      const size = this.#object(this.#itemWindow, offset, ObjectType.entryArray);
      const capacity = Math.floor((size - ENTRY_ARRAY.items) / this.#itemSize);
      if (capacity < 1) this.#corrupt("entry array has no items", offset);
      arrays.push({ items: offset + ENTRY_ARRAY.items, first });
      first += capacity;
      const next = this.#itemWindow.get64(offset + ENTRY_ARRAY.nextEntryArrayOffset);
      if (next !== 0 && next <= offset) this.#corrupt("entry array chain does not rise", offset);
      offset = next;
    }
    if (first < this.entries)
      this.#corrupt(`entry arrays hold ${first} of ${this.entries} entries`, 0);
    this.#arrays = arrays;
  }

  #seqnumAt(index: number): number {
    let array = this.#arrays.length - 1;
    while (this.#arrays[array]!.first > index) array--;
    const { items, first } = this.#arrays[array]!;
    const at = items + (index - first) * this.#itemSize;
    const offset =
      this.#itemSize === ENTRY_ARRAY_ITEM_SIZE_COMPACT
        ? this.#itemWindow.get32(at)
        : this.#itemWindow.get64(at);
    this.#object(this.#entryWindow, offset, ObjectType.entry);
    return this.#entryWindow.get64(offset + ENTRY.seqnum);
  }

  /** Checks the type of an object and returns its size. */
  #object(window: Window, offset: number, type: number): number {
    const found = window.get32(offset + OBJECT.type) & 0xff;
    if (found !== type) this.#corrupt(`object has type ${found}, need ${type}`, offset);
    return window.get64(offset + OBJECT.size);
  }

  #corrupt(what: string, offset: number): never {
    throw new AgentError("E_JOURNAL_CORRUPT", `Cannot read "${this.path}" at ${offset}: ${what}`, {
      offset,
    });
  }
}

/** A piece of the file in memory. */
class Window {
  readonly #fd: number;
  readonly #bytes = new Uint8Array(WINDOW_SIZE);
  readonly #view = new DataView(this.#bytes.buffer);
  #start = 0;
  #size = 0;

  constructor(fd: number) {
    this.#fd = fd;
  }

  get32(offset: number): number {
    return this.#view.getUint32(this.#at(offset, 4), true);
  }

  get64(offset: number): number {
    const at = this.#at(offset, 8);
    return this.#view.getUint32(at + 4, true) * TWO_32 + this.#view.getUint32(at, true);
  }

  forget(): void {
    this.#size = 0;
  }

  #at(offset: number, size: number): number {
    if (offset < this.#start || offset + size > this.#start + this.#size) {
      this.#start = offset;
      this.#size = fs.readSync(this.#fd, this.#bytes, 0, WINDOW_SIZE, offset);
      if (this.#size < size) {
        throw new AgentError(
          "E_JOURNAL_CORRUPT",
          `Cannot read at ${offset}: the file ends before`,
          {
            offset,
          },
        );
      }
    }
    return offset - this.#start;
  }
}
