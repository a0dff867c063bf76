/**
 * A journal file in memory, read by code that shares nothing with the writer but the offset tables. It may
 * be the state of a file in the middle of being written.
 */
import { zstdDecompressSync } from "node:zlib";
import { formatId128 } from "../../src/bytes/id128.ts";
import {
  DATA,
  ENTRY,
  ENTRY_ARRAY,
  HASH_ITEM,
  HASH_ITEM_SIZE,
  HEADER_SIZE,
  Incompatible,
  OBJECT,
  ObjectFlag,
  ObjectType,
} from "../../src/journal/format.ts";
import { decodeHeader, type JournalHeader, tailPointerFault } from "../../src/journal/header.ts";

export interface ImageEntry {
  seqnum: number;
  realtimeUsec: number;
  monotonicUsec: number;
  bootId: string;
  /** 16 hex digits. */
  xorHash: string;
  /** In file order, bytes shown one character each. */
  fields: string[];
}

export class JournalImage {
  readonly header: JournalHeader;
  readonly #bytes: Buffer;
  readonly #isCompact: boolean;

  /** @throws AgentError when its header is not what readers take. */
  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.header = decodeHeader(bytes.subarray(0, HEADER_SIZE), bytes.length);
    const fault = tailPointerFault(this.header);
    if (fault !== undefined) throw new Error(`Header at ${fault.offset}: ${fault.what}`);
    this.#isCompact = (this.header.incompatibleFlags & Incompatible.compact) !== 0;
  }

  /** All entries the header counts. @throws Error when one cannot be read whole */
  entries(): ImageEntry[] {
    return this.#list(this.header.entryArrayOffset, this.header.entries).map((offset) =>
      this.#entry(offset),
    );
  }

  /** Type and size of every object, in file order. */
  objects(): { type: number; size: number }[] {
    const objects: { type: number; size: number }[] = [];
    let offset = this.header.headerSize;
    while (offset <= this.header.tailObjectOffset) {
      const size = this.#uint64(offset + OBJECT.size);
      objects.push({ type: this.#bytes.readUInt8(offset), size });
      offset += Math.ceil(size / 8) * 8;
    }
    return objects;
  }

  /** Item counts of the arrays that list the entries with this payload. */
  arrayCapacities(field: string): number[] {
    for (const { offset, payload } of this.data()) {
      if (payload !== field) continue;
      const capacities: number[] = [];
      let array = this.#uint64(offset + DATA.entryArrayOffset);
      for (; array !== 0; array = this.#uint64(array + ENTRY_ARRAY.nextEntryArrayOffset)) {
        capacities.push(this.#capacity(array));
      }
      return capacities;
    }
    throw new Error(`No such field: ${field}`);
  }

  /**
   * Everything that the DATA hash table reaches, checked as a reader that looks for a match does.
   * @throws Error
   */
  data(): { offset: number; payload: string; entries: number[] }[] {
    const found: { offset: number; payload: string; entries: number[] }[] = [];
    const { dataHashTableOffset, dataHashTableSize } = this.header;
    for (let at = 0; at < dataHashTableSize; at += HASH_ITEM_SIZE) {
      let offset = this.#uint64(dataHashTableOffset + at + HASH_ITEM.head);
      while (offset !== 0) {
        found.push({ offset, payload: this.#payload(offset), entries: this.#entriesOf(offset) });
        const next = this.#uint64(offset + DATA.nextHashOffset);
        if (next !== 0 && next <= offset) throw new Error(`The chain falls at ${offset}`);
        offset = next;
      }
    }
    return found;
  }

  #entriesOf(data: number): number[] {
    const first = this.#uint64(data + DATA.entryOffset);
    const count = this.#uint64(data + DATA.entries);
    // journal-file.c: journal_file_check_object() refuses the object otherwise.
    if ((first === 0) !== (count === 0))
      throw new Error(`${count} entries from ${first} at ${data}`);
    if (count === 0) return [];
    const others = this.#list(this.#uint64(data + DATA.entryArrayOffset), count - 1);
    for (const entry of [first, ...others]) this.#requireType(entry, ObjectType.entry);
    return [first, ...others];
  }

  #list(firstArray: number, count: number): number[] {
    const offsets: number[] = [];
    const size = this.#isCompact ? 4 : 8;
    for (let array = firstArray; offsets.length < count; ) {
      this.#requireType(array, ObjectType.entryArray);
      const capacity = this.#capacity(array);
      for (let i = 0; i < capacity && offsets.length < count; i++) {
        const at = array + ENTRY_ARRAY.items + i * size;
        offsets.push(this.#isCompact ? this.#bytes.readUInt32LE(at) : this.#uint64(at));
      }
      array = this.#uint64(array + ENTRY_ARRAY.nextEntryArrayOffset);
    }
    return offsets;
  }

  #capacity(array: number): number {
    const size = this.#uint64(array + OBJECT.size) - ENTRY_ARRAY.items;
    return size / (this.#isCompact ? 4 : 8);
  }

  #entry(offset: number): ImageEntry {
    this.#requireType(offset, ObjectType.entry);
    const end = offset + this.#uint64(offset + OBJECT.size);
    const fields: string[] = [];
    for (let at = offset + ENTRY.items; at < end; at += this.#isCompact ? 4 : 16) {
      const data = this.#isCompact ? this.#bytes.readUInt32LE(at) : this.#uint64(at);
      fields.push(this.#payload(data));
    }
    return {
      seqnum: this.#uint64(offset + ENTRY.seqnum),
      realtimeUsec: this.#uint64(offset + ENTRY.realtime),
      monotonicUsec: this.#uint64(offset + ENTRY.monotonic),
      bootId: formatId128(this.#bytes, offset + ENTRY.bootId),
      xorHash: this.#bytes
        .readBigUInt64LE(offset + ENTRY.xorHash)
        .toString(16)
        .padStart(16, "0"),
      fields,
    };
  }

  #payload(data: number): string {
    this.#requireType(data, ObjectType.data);
    const start = data + (this.#isCompact ? DATA.compactPayload : DATA.regularPayload);
    const stored = this.#bytes.subarray(start, data + this.#uint64(data + OBJECT.size));
    const isCompressed = this.#bytes.readUInt8(data + OBJECT.flags) === ObjectFlag.zstd;
    return (isCompressed ? zstdDecompressSync(stored) : stored).toString("latin1");
  }

  #requireType(offset: number, type: number): void {
    const found = this.#bytes.readUInt8(offset);
    if (found !== type) throw new Error(`Object at ${offset} has type ${found}, need ${type}`);
  }

  #uint64(offset: number): number {
    return Number(this.#bytes.readBigUInt64LE(offset));
  }
}
