/**
 * The space objects are placed in, one behind the other, and the counters of the header that grow
 * with it. New space reads as zeros, so only what is not zero is written.
 */

import { AgentError } from "../errors.ts";
import {
  COMPACT_FILE_SIZE_MAX,
  ENTRY_ARRAY,
  ENTRY_ARRAY_ITEM_SIZE_COMPACT,
  ENTRY_ARRAY_ITEM_SIZE_REGULAR,
  OBJECT,
  OBJECT_HEADER_SIZE,
  ObjectType,
} from "./format.ts";
import type { PagedFile } from "./paged-file.ts";

const TWO_32 = 2 ** 32;
/** Room of an array at least, in items. */
const ARRAY_CAPACITY_MIN = 4;
/** What arrays leave for the other arrays of the same entry: for each field the smallest one. */
const ARRAY_RESERVE = 64 * 1024;

interface ArenaState {
  compact: boolean;
  /** Size the file should not exceed. */
  sizeMax: number;
  end: number;
  tailObjectOffset: number;
  objects: number;
  entryArrays: number;
}

export class Arena {
  readonly file: PagedFile;
  readonly compact: boolean;
  readonly #sizeMax: number;
  /** Where the next object goes: a multiple of 8. */
  end: number;
  tailObjectOffset: number;
  objects: number;
  entryArrays: number;
  readonly arrayItemSize: number;

  constructor(file: PagedFile, state: ArenaState) {
    this.file = file;
    this.compact = state.compact;
    this.#sizeMax = state.sizeMax;
    this.end = state.end >>> 0;
    this.tailObjectOffset = state.tailObjectOffset;
    this.objects = state.objects;
    this.entryArrays = state.entryArrays;
    this.arrayItemSize = state.compact
      ? ENTRY_ARRAY_ITEM_SIZE_COMPACT
      : ENTRY_ARRAY_ITEM_SIZE_REGULAR;
  }

  /** Places an object of `size` bytes (unpadded, header included) and returns its offset. */
  allocate(type: ObjectType, flags: number, size: number): number {
    const offset = this.end;
    const end = offset + size + ((8 - (size & 7)) & 7);
    if (end > COMPACT_FILE_SIZE_MAX) {
      throw new AgentError(
        "E_LIMIT",
        `Cannot grow journal file to ${end} bytes: 4 GiB is the most`,
      );
    }
    this.file.set32(offset + OBJECT.type, type | (flags << 8));
    this.file.set32(offset + OBJECT.size, size);
    // An integer also for the engine, whatever `size` was: as a double it would make every offset one.
    this.end = end >>> 0;
    this.tailObjectOffset = offset;
    this.objects++;
    return offset;
  }

  /** Places an entry array with room for `capacity` items. */
  allocateEntryArray(capacity: number): number {
    const offset = this.allocate(
      ObjectType.entryArray,
      0,
      ENTRY_ARRAY.items + capacity * this.arrayItemSize,
    );
    this.entryArrays++;
    return offset;
  }

  /**
   * Capacity of the next array of a chain: journal-file.c: link_entry_into_array(), but not past the file's
   * size. The fields that all entries share outgrow their arrays together, by megabytes in a large file.
   * @param items items in the chain so far
   * @param lastCapacity room of the last array, 0 when there is none
   */
  nextArrayCapacity(items: number, lastCapacity: number): number {
    const wanted = items > lastCapacity ? (items + 1) * 2 : lastCapacity * 2;
    const space = (this.#sizeMax - this.end - ARRAY_RESERVE) / 2;
    const room = Math.floor(space / this.arrayItemSize);
    return Math.max(ARRAY_CAPACITY_MIN, Math.min(wanted, room)) | 0;
  }

  /** A le64 into space that was zero: the high word only where there is one. */
  setNew64(offset: number, value: number): void {
    this.file.set32(offset, value | 0);
    if (value >= TWO_32) this.file.set32(offset + 4, Math.floor(value / TWO_32) | 0);
  }

  /**
   * The size of an object of a file written before, which may have been damaged since.
   * @throws AgentError E_JOURNAL_CORRUPT unless it is one of this type
   */
  requireObject(offset: number, type: ObjectType): number {
    const found = this.file.get32(offset + OBJECT.type) & 0xff;
    const size = this.get64(offset + OBJECT.size);
    if (offset % 8 === 0 && found === type && size >= OBJECT_HEADER_SIZE) {
      if (offset + size <= this.end) return size;
    }
    throw corrupt(`object has type ${found} and ${size} bytes, need type ${type}`, offset);
  }

  /** How many items an array has room for. @throws AgentError E_JOURNAL_CORRUPT when fewer than it holds */
  requireArray(offset: number, items: number): number {
    const size = this.requireObject(offset, ObjectType.entryArray);
    const capacity = (size - ENTRY_ARRAY.items) / this.arrayItemSize;
    if (capacity >= items && Number.isInteger(capacity)) return capacity;
    throw corrupt(`entry array has room for ${capacity} items, need ${items} or more`, offset);
  }

  get64(offset: number): number {
    return this.file.get32(offset + 4) * TWO_32 + this.file.get32(offset);
  }
}

/**
 * Objects of a chain follow each other in the file; a damaged file may have loops.
 * @throws AgentError E_JOURNAL_CORRUPT
 */
export function requireRising(offset: number, next: number): void {
  if (next !== 0 && next <= offset)
    throw corrupt(`${next} follows it, need a higher offset`, offset);
}

function corrupt(what: string, offset: number): AgentError {
  return new AgentError("E_JOURNAL_CORRUPT", `Cannot read object at ${offset}: ${what}`, {
    offset,
  });
}
