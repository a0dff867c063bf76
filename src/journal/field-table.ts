/** FIELD objects of one file: a name each, and the newest DATA object with that name. */
import { type Arena, requireRising } from "./arena.ts";
import { DATA, FIELD, HASH_ITEM, HASH_ITEM_SIZE, ObjectType } from "./format.ts";
import type { JournalHeader } from "./header.ts";
import { bucketOf, hashPayload, payloadHash } from "./payload-hash.ts";

interface FieldRecord {
  name: Uint8Array;
  offset: number;
  headDataOffset: number;
  changed: boolean;
}

export class FieldTable {
  count: number;
  chainDepth: number;
  readonly buckets: number;
  readonly #arena: Arena;
  readonly #itemsOffset: number;
  /** undefined = unkeyed (Jenkins). */
  readonly #key: Uint8Array | undefined;
  /** By a cheap hash of the name; names are few, so the lists are short. */
  readonly #known = new Map<number, FieldRecord[]>();
  readonly #changed: FieldRecord[] = [];

  constructor(arena: Arena, key: Uint8Array | undefined, header: JournalHeader) {
    this.#arena = arena;
    this.#key = key;
    this.#itemsOffset = header.fieldHashTableOffset;
    this.buckets = header.fieldHashTableSize / HASH_ITEM_SIZE;
    this.count = header.fields ?? 0;
    this.chainDepth = header.fieldHashChainDepth ?? 0;
  }

  /** Puts a new DATA object in front of the list of its field, whose name is [start .. end) of `view`. */
  link(view: DataView, start: number, end: number, dataOffset: number): void {
    const record = this.#find(view, start, end);
    this.#arena.setNew64(dataOffset + DATA.nextFieldOffset, record.headDataOffset);
    record.headDataOffset = dataOffset;
    if (record.changed) return;
    record.changed = true;
    this.#changed.push(record);
  }

  /** Hands what changed to the file, before it is flushed. */
  writeChanges(): void {
    for (const record of this.#changed) {
      this.#arena.file.poke32(record.offset + FIELD.headDataOffset, record.headDataOffset);
      record.changed = false;
    }
    this.#changed.length = 0;
  }

  #find(view: DataView, start: number, end: number): FieldRecord {
    const key = nameKey(view, start, end);
    let records = this.#known.get(key);
    if (records === undefined) {
      records = [];
      this.#known.set(key, records);
    }
    for (const record of records) if (isName(record.name, view, start, end)) return record;
    const record = this.#findInFile(view, start, end);
    records.push(record);
    return record;
  }

  #findInFile(view: DataView, start: number, end: number): FieldRecord {
    const { file } = this.#arena;
    hashPayload(this.#key, view, start, end);
    const { low, high } = payloadHash;
    const bucket = bucketOf(low, high, this.buckets);
    const item = this.#itemsOffset + bucket * HASH_ITEM_SIZE;
    let tail = 0;
    let depth = 0;
    for (let offset = file.get32(item + HASH_ITEM.head); offset !== 0; depth++) {
      tail = offset;
      const size = this.#arena.requireObject(offset, ObjectType.field) - FIELD.payload;
      if (size === end - start && file.equals(offset + FIELD.payload, view, start, end)) {
        const headDataOffset = file.get32(offset + FIELD.headDataOffset);
        return { name: copyName(view, start, end), offset, headDataOffset, changed: false };
      }
      const next = file.get32(offset + FIELD.nextHashOffset);
      requireRising(offset, next);
      offset = next;
    }
    this.chainDepth = Math.max(this.chainDepth, depth - 1);
    const offset = this.#append(view, start, end, low, high);
    if (tail === 0) file.set32(item + HASH_ITEM.head, offset);
    else file.set32(tail + FIELD.nextHashOffset, offset);
    file.set32(item + HASH_ITEM.tail, offset);
    return { name: copyName(view, start, end), offset, headDataOffset: 0, changed: false };
  }

  #append(view: DataView, start: number, end: number, low: number, high: number): number {
    const { file } = this.#arena;
    const offset = this.#arena.allocate(ObjectType.field, 0, FIELD.payload + end - start);
    file.set32(offset + FIELD.hash, low);
    file.set32(offset + FIELD.hash + 4, high);
    file.copyIn(offset + FIELD.payload, view, start, end);
    this.count++;
    return offset;
  }
}

function copyName(view: DataView, start: number, end: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + start, end - start).slice();
}

function nameKey(view: DataView, start: number, end: number): number {
  let key = end - start;
  for (let i = start; i < end; i++) key = (Math.imul(key, 31) + view.getUint8(i)) | 0;
  return key;
}

function isName(name: Uint8Array, view: DataView, start: number, end: number): boolean {
  if (name.length !== end - start) return false;
  for (let i = 0; i < name.length; i++) if (name[i] !== view.getUint8(start + i)) return false;
  return true;
}
