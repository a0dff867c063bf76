/**
 * The header of a journal file (struct Header): decode with the checks that systemd 254+ makes
 * when it opens a file, and encode. Older systemd wrote shorter headers, so the declared
 * header_size says which fields exist: the hash table may begin right behind a short one.
 */
import { ID128_SIZE, isNullId128 } from "../bytes/id128.ts";
import { readUint64, writeUint64 } from "../bytes/uint64.ts";
import { AgentError } from "../errors.ts";
import {
  Compatible,
  ENTRY_ARRAY,
  ENTRY_ARRAY_ITEM_SIZE_COMPACT,
  ENTRY_ARRAY_ITEM_SIZE_REGULAR,
  FileState,
  HASH_TABLE,
  HEADER,
  HEADER_SIZE,
  HEADER_SIZE_MIN,
  INCOMPATIBLE_KNOWN,
  Incompatible,
  OBJECT_HEADER_SIZE,
  SIGNATURE,
  TIMESTAMP_LIMIT,
} from "./format.ts";

/** Offsets, sizes and counts are numbers, times microseconds, ids 16 bytes of their own. */
export interface JournalHeader {
  compatibleFlags: number;
  incompatibleFlags: number;
  /** One of FileState. */
  state: number;
  fileId: Uint8Array;
  machineId: Uint8Array;
  tailEntryBootId: Uint8Array;
  seqnumId: Uint8Array;
  headerSize: number;
  /** Bytes allocated behind the header, used or not. */
  arenaSize: number;
  /** Of the first item; the object begins 16 bytes before. */
  dataHashTableOffset: number;
  dataHashTableSize: number;
  /** Of the first item; the object begins 16 bytes before. */
  fieldHashTableOffset: number;
  fieldHashTableSize: number;
  tailObjectOffset: number;
  objects: number;
  entries: number;
  tailEntrySeqnum: number;
  headEntrySeqnum: number;
  entryArrayOffset: number;
  headEntryRealtime: number;
  tailEntryRealtime: number;
  tailEntryMonotonic: number;
  /** This and what follows is absent, not 0, where the header is too short to hold it. */
  data?: number;
  fields?: number;
  tags?: number;
  entryArrays?: number;
  dataHashChainDepth?: number;
  fieldHashChainDepth?: number;
  tailEntryArrayOffset?: number;
  tailEntryArrayEntries?: number;
  tailEntryOffset?: number;
}

/**
 * Decodes and checks a header. Tail pointers (tail_entry_array_*, tail_entry_offset) are decoded
 * only, for {@link tailPointerFault}: a reader can do without them.
 *
 * @param bytes the beginning of the file, 272 bytes or all there are
 * @param fileSize size of the whole file in bytes
 * @throws AgentError E_JOURNAL_CORRUPT, E_JOURNAL_UNSUPPORTED with the offset of the field at fault
 */
export function decodeHeader(bytes: Uint8Array, fileSize: number): JournalHeader {
  requireSignature(bytes);
  if (bytes.length < HEADER_SIZE_MIN) {
    throw corrupt(0, `${bytes.length} bytes, need at least ${HEADER_SIZE_MIN}`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const incompatibleFlags = view.getUint32(HEADER.incompatibleFlags, true);
  const unknownFlags = incompatibleFlags & ~INCOMPATIBLE_KNOWN;
  if (unknownFlags !== 0) {
    throw new AgentError(
      "E_JOURNAL_UNSUPPORTED",
      `Cannot read journal header: incompatible flags 0x${(unknownFlags >>> 0).toString(16)} are unknown`,
      { offset: HEADER.incompatibleFlags, hint: "A newer systemd wrote this file" },
    );
  }
  const headerSize = uint64(view, "headerSize");
  if (headerSize < HEADER_SIZE_MIN || headerSize > fileSize) {
    throw corrupt(
      HEADER.headerSize,
      `header size ${headerSize}, need ${HEADER_SIZE_MIN} to the file size ${fileSize}`,
    );
  }
  const presentSize = Math.min(headerSize, HEADER_SIZE);
  if (bytes.length < presentSize) throw corrupt(0, `${bytes.length} bytes, need ${presentSize}`);
  const header: JournalHeader = {
    ...decodeFirstFields(bytes, view, headerSize),
    ...decodeLaterFields(view, headerSize),
  };
  requirePlausible(header, fileSize);
  return header;
}

/** Writes all 272 bytes of the header this program makes, into the beginning of `into`. */
export function encodeHeader(header: JournalHeader, into: Uint8Array): void {
  if (header.headerSize !== HEADER_SIZE) {
    throw new RangeError(
      `Cannot encode journal header: size ${header.headerSize}, need ${HEADER_SIZE}`,
    );
  }
  const view = new DataView(into.buffer, into.byteOffset, HEADER_SIZE);
  for (let i = 0; i < SIGNATURE.length; i++) into[HEADER.signature + i] = SIGNATURE.charCodeAt(i);
  into.fill(0, HEADER.reserved, HEADER.fileId);
  view.setUint32(HEADER.compatibleFlags, header.compatibleFlags, true);
  view.setUint32(HEADER.incompatibleFlags, header.incompatibleFlags, true);
  into[HEADER.state] = header.state;
  for (const name of ID_FIELDS) into.set(header[name], HEADER[name]);
  for (const name of FIRST_UINT64_FIELDS) writeUint64(view, HEADER[name], header[name]);
  for (const name of LATER_UINT64_FIELDS) {
    writeUint64(view, HEADER[name], requirePresent(name, header[name]));
  }
  for (const name of LATER_UINT32_FIELDS) {
    view.setUint32(HEADER[name], requirePresent(name, header[name]), true);
  }
}

export interface HeaderFault {
  /** In the file, of the field at fault. */
  offset: number;
  what: string;
}

/**
 * What systemd 254+ would refuse the file for, with ENODATA, beyond what {@link decodeHeader}
 * checks: pointers to the last entry array and entry that contradict the rest.
 */
export function tailPointerFault(header: JournalHeader): HeaderFault | undefined {
  return tailArrayFault(header) ?? tailEntryFault(header);
}

const ID_FIELDS = ["fileId", "machineId", "tailEntryBootId", "seqnumId"] as const;

const FIRST_UINT64_FIELDS = [
  "headerSize",
  "arenaSize",
  "dataHashTableOffset",
  "dataHashTableSize",
  "fieldHashTableOffset",
  "fieldHashTableSize",
  "tailObjectOffset",
  "objects",
  "entries",
  "tailEntrySeqnum",
  "headEntrySeqnum",
  "entryArrayOffset",
  "headEntryRealtime",
  "tailEntryRealtime",
  "tailEntryMonotonic",
] as const;

const LATER_UINT64_FIELDS = [
  "data",
  "fields",
  "tags",
  "entryArrays",
  "dataHashChainDepth",
  "fieldHashChainDepth",
  "tailEntryOffset",
] as const;

const LATER_UINT32_FIELDS = ["tailEntryArrayOffset", "tailEntryArrayEntries"] as const;

function requireSignature(bytes: Uint8Array): void {
  for (let i = 0; i < SIGNATURE.length; i++) {
    if (bytes[i] !== SIGNATURE.charCodeAt(i)) {
      throw corrupt(HEADER.signature, `no signature "${SIGNATURE}", this is not a journal file`);
    }
  }
}

function decodeFirstFields(bytes: Uint8Array, view: DataView, headerSize: number): JournalHeader {
  // Not slice(): that of a Buffer would share the caller's memory.
  const id = (offset: number): Uint8Array =>
    new Uint8Array(bytes.subarray(offset, offset + ID128_SIZE));
  return {
    compatibleFlags: view.getUint32(HEADER.compatibleFlags, true),
    incompatibleFlags: view.getUint32(HEADER.incompatibleFlags, true),
    state: view.getUint8(HEADER.state),
    fileId: id(HEADER.fileId),
    machineId: id(HEADER.machineId),
    tailEntryBootId: id(HEADER.tailEntryBootId),
    seqnumId: id(HEADER.seqnumId),
    headerSize,
    arenaSize: uint64(view, "arenaSize"),
    dataHashTableOffset: uint64(view, "dataHashTableOffset"),
    dataHashTableSize: uint64(view, "dataHashTableSize"),
    fieldHashTableOffset: uint64(view, "fieldHashTableOffset"),
    fieldHashTableSize: uint64(view, "fieldHashTableSize"),
    tailObjectOffset: uint64(view, "tailObjectOffset"),
    objects: uint64(view, "objects"),
    entries: uint64(view, "entries"),
    tailEntrySeqnum: uint64(view, "tailEntrySeqnum"),
    headEntrySeqnum: uint64(view, "headEntrySeqnum"),
    entryArrayOffset: uint64(view, "entryArrayOffset"),
    headEntryRealtime: uint64(view, "headEntryRealtime"),
    tailEntryRealtime: uint64(view, "tailEntryRealtime"),
    tailEntryMonotonic: uint64(view, "tailEntryMonotonic"),
  };
}

function decodeLaterFields(view: DataView, headerSize: number): Partial<JournalHeader> {
  const later: Partial<JournalHeader> = {};
  for (const name of LATER_UINT64_FIELDS) {
    if (headerSize >= HEADER[name] + 8) later[name] = uint64(view, name);
  }
  for (const name of LATER_UINT32_FIELDS) {
    if (headerSize >= HEADER[name] + 4) later[name] = view.getUint32(HEADER[name], true);
  }
  return later;
}

function uint64(view: DataView, name: keyof typeof HEADER): number {
  if (view.getUint32(HEADER[name] + 4, true) > 0x1fffff) {
    throw corrupt(HEADER[name], `${name} exceeds 2^53-1`);
  }
  return readUint64(view, HEADER[name]);
}

/** journal-file.c: journal_file_verify_header(). */
function requirePlausible(header: JournalHeader, fileSize: number): void {
  const { headerSize, arenaSize, tailObjectOffset } = header;
  if (header.state > FileState.archived) {
    throw corrupt(HEADER.state, `state ${header.state}, need 0 to ${FileState.archived}`);
  }
  const end = headerSize + arenaSize;
  if (end > fileSize) {
    throw corrupt(HEADER.arenaSize, `it declares ${end} bytes, the file has ${fileSize}`);
  }
  requirePlace("tailObjectOffset", tailObjectOffset, headerSize, end - OBJECT_HEADER_SIZE);
  requireTable("dataHashTable", header, end);
  requireTable("fieldHashTable", header, end);
  requirePlace("entryArrayOffset", header.entryArrayOffset, headerSize, tailObjectOffset);
  const objectsMax = Math.floor(arenaSize / OBJECT_HEADER_SIZE);
  requireCount("objects", header.objects, objectsMax);
  requireCount("entries", header.entries, header.objects);
  requireCount("data", header.data ?? 0, header.objects);
  requireCount("fields", header.fields ?? 0, header.objects);
  requireCount("tags", header.tags ?? 0, header.objects);
  requireCount("entryArrays", header.entryArrays ?? 0, header.objects);
}

function requireTable(
  table: "dataHashTable" | "fieldHashTable",
  header: JournalHeader,
  end: number,
): void {
  const offset = header[`${table}Offset`];
  const size = header[`${table}Size`];
  if ((offset === 0) !== (size === 0)) {
    throw corrupt(HEADER[`${table}Offset`], `${table} at ${offset} with ${size} bytes`);
  }
  if (offset === 0) return;
  const objectMax = Math.min(header.tailObjectOffset, end - HASH_TABLE.items - size);
  const object = offset - HASH_TABLE.items;
  if (object % 8 !== 0 || object < header.headerSize || object > objectMax) {
    throw corrupt(
      HEADER[`${table}Offset`],
      `${table} at ${offset} with ${size} bytes is not inside the file of ${end} bytes`,
    );
  }
}

function requirePlace(
  name: keyof typeof HEADER,
  offset: number,
  offsetMin: number,
  offsetMax: number,
): void {
  if (!isPlace(offset, offsetMin, offsetMax)) {
    throw corrupt(
      HEADER[name],
      `${name} ${offset}, need 0 or a multiple of 8 from ${offsetMin} to ${offsetMax}`,
    );
  }
}

function requireCount(name: keyof typeof HEADER, count: number, countMax: number): void {
  if (count > countMax) throw corrupt(HEADER[name], `${name} ${count}, at most ${countMax} fit`);
}

function isPlace(offset: number, offsetMin: number, offsetMax: number): boolean {
  return offset === 0 || (offset % 8 === 0 && offset >= offsetMin && offset <= offsetMax);
}

function tailArrayFault(header: JournalHeader): HeaderFault | undefined {
  const { entryArrayOffset, tailObjectOffset } = header;
  const array = header.tailEntryArrayOffset;
  const items = header.tailEntryArrayEntries;
  if (array === undefined || items === undefined) return undefined;
  const offset = HEADER.tailEntryArrayOffset;
  if (!isPlace(array, entryArrayOffset, tailObjectOffset)) {
    return { offset, what: `tail entry array ${array} is not one behind ${entryArrayOffset}` };
  }
  if ((array === 0) !== (items === 0) || (array === 0) !== (entryArrayOffset === 0)) {
    return {
      offset,
      what: `tail entry array ${array} with ${items} items, first entry array ${entryArrayOffset}`,
    };
  }
  const itemSize =
    header.incompatibleFlags & Incompatible.compact
      ? ENTRY_ARRAY_ITEM_SIZE_COMPACT
      : ENTRY_ARRAY_ITEM_SIZE_REGULAR;
  const end = header.headerSize + header.arenaSize;
  const hasRoom = array === 0 || array + ENTRY_ARRAY.items + items * itemSize <= end;
  if (items > header.entries || !hasRoom) {
    return { offset, what: `tail entry array ${array} with ${items} of ${header.entries} entries` };
  }
  return undefined;
}

function tailEntryFault(header: JournalHeader): HeaderFault | undefined {
  const { headerSize, tailObjectOffset, tailEntryOffset, tailEntryMonotonic } = header;
  if (tailEntryOffset === undefined) return undefined;
  const offset = HEADER.tailEntryOffset;
  if (!isPlace(tailEntryOffset, headerSize, tailObjectOffset)) {
    return { offset, what: `tail entry offset ${tailEntryOffset} is not inside the file` };
  }
  const isSet = tailEntryOffset !== 0;
  const isBootNull = isNullId128(header.tailEntryBootId);
  // Before 254 the field was the boot id of the last writer, entries or not.
  const mayHaveBoot = (header.compatibleFlags & Compatible.tailEntryBootId) === 0;
  if (isSet ? isBootNull : !isBootNull && !mayHaveBoot) {
    return {
      offset: HEADER.tailEntryBootId,
      what: `tail entry offset ${tailEntryOffset} ${isSet ? "without" : "with"} a boot id`,
    };
  }
  const times = [header.headEntryRealtime, header.tailEntryRealtime];
  const isTimed = times.every((time) => (isSet ? isRealtime(time) : time === 0));
  if (!isTimed || tailEntryMonotonic >= (isSet ? TIMESTAMP_LIMIT : 1)) {
    times.push(tailEntryMonotonic);
    return { offset, what: `tail entry offset ${tailEntryOffset} with times ${times.join(", ")}` };
  }
  return undefined;
}

function isRealtime(time: number): boolean {
  return time > 0 && time < TIMESTAMP_LIMIT;
}

function requirePresent(name: string, value: number | undefined): number {
  if (value === undefined) throw new RangeError(`Cannot encode journal header: no ${name}`);
  return value;
}

function corrupt(offset: number, what: string): AgentError {
  return new AgentError("E_JOURNAL_CORRUPT", `Cannot read journal header: ${what}`, { offset });
}
