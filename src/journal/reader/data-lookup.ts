/**
 * Finds DATA objects without reading entries: by their payload through the hash table, or all of a field through its
 * FIELD object. journal-file.c: journal_file_find_data_object(), journal_file_next_data().
 *
 * A writer goes on changing links and counts of objects that exist, so these are read from the file each time, never
 * from its blocks. What a chain can prove is proved, since a value that is not found costs entries: that all of its
 * objects belong there, and that it ends where its owner says.
 */
import { align8 } from "../../bytes/uint64.ts";
import { viewOf } from "../../bytes/view.ts";
import { AgentError } from "../../errors.ts";
import { DATA, FIELD, HASH_ITEM, HASH_ITEM_SIZE, OBJECT, ObjectType } from "../format.ts";
import { journalCorrupt } from "../io-error.ts";
import { bucketOf, hashPayload, payloadHash } from "../payload-hash.ts";
import { readAt } from "./block-cache.ts";
import type { JournalFile } from "./journal-file.ts";

/** systemd starts a new file when a chain has 100. */
const CHAIN_LENGTH_MAX = 10_000;
/** Values of one field that are looked at. */
const VALUES_MAX = 64 * 1024;
/** The fixed part of a DATA object; that of a FIELD object is shorter. */
const HEAD_SIZE = DATA.regularPayload;
const TWO_32 = 2 ** 32;
const EQUALS = 0x3d;

/** What one DATA object says of the entries that refer to it, as of now. */
export interface DataObject {
  offset: number;
  /** Its first entry; 0 when there is none. */
  entryOffset: number;
  /** The list of the others. */
  entryArrayOffset: number;
  entries: number;
}

export class DataLookup {
  readonly #file: JournalFile;
  readonly #end: number;
  readonly #head = new Uint8Array(HEAD_SIZE);
  readonly #view = viewOf(this.#head);

  /** @param end objects from this offset on are too new to matter */
  constructor(file: JournalFile, end: number) {
    this.#file = file;
    this.#end = end;
  }

  /**
   * The DATA object of a `NAME=value`; undefined when no entry has it.
   * @throws AgentError E_JOURNAL_CORRUPT when the chain is damaged, E_IO
   */
  find(payload: Uint8Array): DataObject | undefined {
    const { dataHashTableOffset, dataHashTableSize } = this.#file.header;
    const offset = this.#findInTable(
      ObjectType.data,
      dataHashTableOffset,
      dataHashTableSize,
      payload,
    );
    return offset === 0 ? undefined : this.#dataObject(offset);
  }

  /**
   * The DATA objects of a field whose value is taken by `accepts`, newest first.
   * @param accepts gets the value as bytes[start .. end)
   * @throws AgentError E_JOURNAL_CORRUPT, E_LIMIT when the field has too many values to look at, E_IO
   */
  findValues(
    name: Uint8Array,
    accepts: (bytes: Buffer, start: number, end: number) => boolean,
  ): DataObject[] {
    const file = this.#file;
    const field = this.#findField(name);
    const found: DataObject[] = [];
    if (field === 0) return found;
    let last = Number.POSITIVE_INFINITY;
    let lastEnd = 0;
    let offset = this.#uint64(FIELD.headDataOffset);
    for (let count = 0; offset !== 0; count++) {
      if (count === VALUES_MAX) throw this.#tooMany(name);
      if (offset >= last) throw this.#corrupt(offset, "the values of a field do not fall");
      this.#readHead(offset, ObjectType.data);
      last = offset;
      lastEnd = offset + align8(this.#uint64(OBJECT.size));
      const next = this.#uint64(DATA.nextFieldOffset);
      if (offset < this.#end) {
        const object = this.#dataObject(offset);
        file.readData(offset);
        const { payload, payloadStart, payloadEnd } = file;
        const equals = payloadStart + name.length;
        if (!isEqual(payload, payloadStart, equals, name) || payload[equals] !== EQUALS) {
          throw this.#corrupt(offset, "a value of another field");
        }
        if (accepts(payload, equals + 1, payloadEnd)) found.push(object);
      }
      offset = next;
    }
    // A FIELD object is made for its first value, right behind it.
    if (lastEnd !== field) throw this.#corrupt(field, "the values of a field end too soon");
    return found;
  }

  /**
   * Checks that the tables tell of a DATA object and of its field: they do not if the file's id, which is the key of the
   * hashes, or what the header says of them is damaged.
   * @throws AgentError E_JOURNAL_CORRUPT, E_IO
   */
  requireFindable(offset: number): void {
    const file = this.#file;
    file.readData(offset);
    const payload = Buffer.from(file.payload.subarray(file.payloadStart, file.payloadEnd));
    const name = payload.subarray(0, Math.max(0, payload.indexOf("=")));
    const isFound = this.find(payload)?.offset === offset && this.#findField(name) !== 0;
    if (!isFound) throw this.#corrupt(offset, "a field that the hash tables do not tell of");
  }

  #findField(name: Uint8Array): number {
    const { fieldHashTableOffset, fieldHashTableSize } = this.#file.header;
    return this.#findInTable(ObjectType.field, fieldHashTableOffset, fieldHashTableSize, name);
  }

  /** Offset of the object with this payload, whose head was read last; 0 = none. */
  #findInTable(type: ObjectType, table: number, tableSize: number, payload: Uint8Array): number {
    const { isKeyed, header } = this.#file;
    hashPayload(isKeyed ? header.fileId : undefined, viewOf(payload), 0, payload.length);
    const hash = { ...payloadHash };
    const buckets = Math.floor(tableSize / HASH_ITEM_SIZE);
    if (buckets === 0) throw this.#corrupt(table, "a hash table without buckets");
    const bucket = bucketOf(hash.low, hash.high, buckets);
    this.#read(table + bucket * HASH_ITEM_SIZE, HASH_ITEM_SIZE);
    const tail = this.#uint64(HASH_ITEM.tail);
    let offset = this.#uint64(HASH_ITEM.head);
    let last = 0;
    for (let depth = 0; offset !== 0; depth++) {
      if (offset <= last) throw this.#corrupt(offset, "a hash chain does not rise");
      if (depth === CHAIN_LENGTH_MAX) throw this.#corrupt(offset, "a hash chain is too long");
      this.#readHead(offset, type);
      const low = this.#view.getUint32(DATA.hash, true);
      const high = this.#view.getUint32(DATA.hash + 4, true);
      if (bucketOf(low, high, buckets) !== bucket) {
        throw this.#corrupt(offset, "an object in a hash chain of others");
      }
      // Chains rise: all that follow are newer still.
      if (offset >= this.#end) return 0;
      if (low === hash.low && high === hash.high) {
        this.#requirePayload(offset, type, payload);
        return offset;
      }
      last = offset;
      offset = this.#uint64(DATA.nextHashOffset);
    }
    if (last < tail) throw this.#corrupt(last, "a hash chain ends too soon");
    return 0;
  }

  /** Nothing else has the same 64 bits but by damage, or because somebody made it so. */
  #requirePayload(offset: number, type: ObjectType, payload: Uint8Array): void {
    const file = this.#file;
    if (type === ObjectType.data) {
      file.readData(offset);
      if (isEqual(file.payload, file.payloadStart, file.payloadEnd, payload)) return;
    } else {
      const size = FIELD.payload + payload.length;
      if (file.objectSize(offset, type, size) === size) {
        const at = file.locate(offset, size);
        if (isEqual(file.blocks.bytes, at + FIELD.payload, at + size, payload)) return;
      }
    }
    throw this.#corrupt(offset, "the hash of another payload");
  }

  #dataObject(offset: number): DataObject {
    return {
      offset,
      entryOffset: this.#uint64(DATA.entryOffset),
      entryArrayOffset: this.#uint64(DATA.entryArrayOffset),
      entries: this.#uint64(DATA.entries),
    };
  }

  #readHead(offset: number, type: ObjectType): void {
    if (offset % 8 !== 0 || offset < this.#file.header.headerSize) {
      throw this.#corrupt(offset, "no object can be here");
    }
    this.#read(offset, type === ObjectType.data ? HEAD_SIZE : FIELD.payload);
    const found = this.#head[OBJECT.type]!;
    if (found !== type) throw this.#corrupt(offset, `an object of type ${found}, need ${type}`);
  }

  #read(offset: number, size: number): void {
    const count = readAt(this.#file, this.#head.subarray(0, size), offset);
    if (count < size) throw this.#corrupt(offset, "the file ends before");
  }

  #uint64(at: number): number {
    return this.#view.getUint32(at + 4, true) * TWO_32 + this.#view.getUint32(at, true);
  }

  #corrupt(offset: number, what: string): AgentError {
    return journalCorrupt(this.#file.path, offset, what);
  }

  #tooMany(name: Uint8Array): AgentError {
    const field = Buffer.from(name).toString("latin1");
    return new AgentError(
      "E_LIMIT",
      `Cannot list values of "${field}" in "${this.#file.path}": more than ${VALUES_MAX}`,
    );
  }
}

function isEqual(bytes: Uint8Array, start: number, end: number, other: Uint8Array): boolean {
  if (end - start !== other.length) return false;
  for (let i = 0; i < other.length; i++) if (bytes[start + i] !== other[i]) return false;
  return true;
}
