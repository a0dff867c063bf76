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
  ObjectType,
} from "./format.ts";
import type { PagedFile } from "./paged-file.ts";

const TWO_32 = 2 ** 32;

export class Arena {
  readonly file: PagedFile;
  readonly compact: boolean;
  /** Where the next object goes: a multiple of 8. */
  end: number;
  tailObjectOffset: number;
  objects: number;
  entryArrays: number;
  readonly arrayItemSize: number;

  constructor(
    file: PagedFile,
    compact: boolean,
    end: number,
    tailObjectOffset: number,
    objects: number,
    entryArrays: number,
  ) {
    this.file = file;
    this.compact = compact;
    this.end = end;
    this.tailObjectOffset = tailObjectOffset;
    this.objects = objects;
    this.entryArrays = entryArrays;
    this.arrayItemSize = compact ? ENTRY_ARRAY_ITEM_SIZE_COMPACT : ENTRY_ARRAY_ITEM_SIZE_REGULAR;
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
    this.end = end;
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

  /** A le64 into space that was zero: the high word only where there is one. */
  setNew64(offset: number, value: number): void {
    this.file.set32(offset, value >>> 0);
    if (value >= TWO_32) this.file.set32(offset + 4, Math.floor(value / TWO_32));
  }

  get64(offset: number): number {
    return this.file.get32(offset + 4) * TWO_32 + this.file.get32(offset);
  }
}

/**
 * Capacity of the next array of a chain (journal-file.c: link_entry_into_array()).
 * @param items items in the chain so far
 * @param lastCapacity room of the last array, 0 when there is none
 */
export function nextArrayCapacity(items: number, lastCapacity: number): number {
  return Math.max(4, items > lastCapacity ? (items + 1) * 2 : lastCapacity * 2);
}
