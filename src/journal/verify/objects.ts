/**
 * First pass: every object from the header to the tail, each for itself (journal-verify.c:
 * journal_file_object_verify() and the first loop of journal_file_verify()), and what the second
 * pass needs of it kept. HOT: guarded by scripts/bench/verify.ts.
 */
import { align8 } from "../../bytes/uint64.ts";
import { viewOf } from "../../bytes/view.ts";
import {
  Compatible,
  DATA,
  DATA_SIZE_MAX,
  ENTRY,
  ENTRY_ARRAY,
  ENTRY_ARRAY_ITEM_SIZE_COMPACT,
  ENTRY_ARRAY_ITEM_SIZE_REGULAR,
  ENTRY_ITEM_SIZE_COMPACT,
  ENTRY_ITEM_SIZE_REGULAR,
  FIELD,
  HASH_ITEM,
  HASH_ITEM_SIZE,
  HASH_TABLE,
  HEADER,
  OBJECT,
  OBJECT_FLAGS_COMPRESSION,
  OBJECT_HEADER_SIZE,
  ObjectType,
  TAG,
  TAG_SIZE,
  TIMESTAMP_LIMIT,
} from "../format.ts";
import { hashPayload, payloadHash } from "../payload-hash.ts";
import { NO_SLOT, WINDOW_SIZE } from "./file-window.ts";
import type { Buckets, Scan } from "./scan.ts";

/** Longest field name that is told apart from others; systemd allows 64. */
const NAME_SIZE_MAX = 256;
const EQUALS = 0x3d;
const SAFE_INTEGER_LIMIT = 2 ** 53;
/** Word numbers of the parts of an object, relative to its first word. */
const WORD = 4;

/**
 * Walks all objects. False if the walk broke off: then links cannot be judged.
 */
export function scanObjects(scan: Scan): boolean {
  const { headerSize, arenaSize, tailObjectOffset } = scan.header;
  const end = headerSize + arenaSize;
  if (tailObjectOffset === 0) return true;
  let offset = headerSize;
  for (;;) {
    if (offset > tailObjectOffset) {
      scan.findings.problem(HEADER.tailObjectOffset, `no object begins at ${tailObjectOffset}`);
      return false;
    }
    const size = scanObject(scan, offset, end);
    if (size === 0) return false;
    scan.objects++;
    if (offset === tailObjectOffset) return true;
    offset += align8(size);
  }
}

/** Returns the size of the object, 0 if it is not one. */
function scanObject(scan: Scan, offset: number, end: number): number {
  const { window, findings } = scan;
  if (offset % 8 !== 0 || offset + OBJECT_HEADER_SIZE > end) {
    findings.problem(offset, `no object fits here, before the end at ${end}`);
    return 0;
  }
  const word = window.load(offset, OBJECT_HEADER_SIZE);
  const type = window.words[word]! & 0xff;
  const flags = (window.words[word]! >>> 8) & 0xff;
  const size = window.uint64(word + OBJECT.size / WORD);
  const sizeMin = sizeMinOf(type, scan.isCompact);
  if (sizeMin === 0 || size < sizeMin || offset + size > end) {
    findings.problem(
      offset,
      `object of type ${type} with ${size} bytes, need a type from 1 to 7 and ${sizeMin} to ${end - offset} bytes`,
    );
    return 0;
  }
  checkFlags(scan, offset, type, flags);
  scanByType(scan, offset, type, flags, size);
  return size;
}

function scanByType(scan: Scan, offset: number, type: number, flags: number, size: number): void {
  switch (type) {
    case ObjectType.data:
      scanData(scan, offset, size, flags & OBJECT_FLAGS_COMPRESSION);
      break;
    case ObjectType.field:
      scanField(scan, offset, size);
      break;
    case ObjectType.entry:
      scanEntry(scan, offset, size);
      break;
    case ObjectType.dataHashTable:
      scan.dataBuckets = scanHashTable(scan, offset, size, "data", scan.dataBuckets);
      break;
    case ObjectType.fieldHashTable:
      scan.fieldBuckets = scanHashTable(scan, offset, size, "field", scan.fieldBuckets);
      break;
    case ObjectType.entryArray:
      scanEntryArray(scan, offset, size);
      break;
    default:
      scanTag(scan, offset, size);
  }
}

/** Smallest size of an object of this type, 0 if there is no such type. */
function sizeMinOf(type: number, isCompact: boolean): number {
  switch (type) {
    case ObjectType.data:
      return (isCompact ? DATA.compactPayload : DATA.regularPayload) + 1;
    case ObjectType.field:
      return FIELD.payload + 1;
    case ObjectType.entry:
      return ENTRY.items + (isCompact ? ENTRY_ITEM_SIZE_COMPACT : ENTRY_ITEM_SIZE_REGULAR);
    case ObjectType.dataHashTable:
    case ObjectType.fieldHashTable:
      return HASH_TABLE.items + HASH_ITEM_SIZE;
    case ObjectType.entryArray:
      return ENTRY_ARRAY.items + arrayItemSize(isCompact);
    case ObjectType.tag:
      return TAG_SIZE;
    default:
      return 0;
  }
}

export function arrayItemSize(isCompact: boolean): number {
  return isCompact ? ENTRY_ARRAY_ITEM_SIZE_COMPACT : ENTRY_ARRAY_ITEM_SIZE_REGULAR;
}

function checkFlags(scan: Scan, offset: number, type: number, flags: number): void {
  const compression = flags & OBJECT_FLAGS_COMPRESSION;
  if (compression === 0) return;
  if (type !== ObjectType.data) {
    scan.findings.problem(offset, `object of type ${type} is compressed, only data may be`);
  } else if ((compression & (compression - 1)) !== 0) {
    scan.findings.problem(offset, `more than one compression flag: 0x${compression.toString(16)}`);
  } else if ((scan.header.incompatibleFlags & headerFlagOf(compression)) === 0) {
    scan.findings.problem(
      offset,
      `compression flag 0x${compression.toString(16)} is not among those of the file`,
    );
  }
}

/** The bits are the same up to LZ4; keyed hash stands between LZ4 and ZSTD. */
function headerFlagOf(objectFlag: number): number {
  return objectFlag < 4 ? objectFlag : objectFlag << 1;
}

function scanData(scan: Scan, offset: number, size: number, compression: number): void {
  const { window, findings, data, isCompact } = scan;
  const payload = isCompact ? DATA.compactPayload : DATA.regularPayload;
  const word = window.load(offset, payload);
  const { words } = window;
  data.index.add(offset / 8);
  data.hashLow.push(words[word + DATA.hash / WORD]!);
  data.hashHigh.push(words[word + DATA.hash / WORD + 1]!);
  data.nextHash.push(link(scan, offset, word + DATA.nextHashOffset / WORD));
  data.nextField.push(link(scan, offset, word + DATA.nextFieldOffset / WORD));
  data.firstEntry.push(link(scan, offset, word + DATA.entryOffset / WORD));
  data.firstArray.push(link(scan, offset, word + DATA.entryArrayOffset / WORD));
  if (isCompact) {
    data.tailArray.push(words[word + DATA.tailEntryArrayOffset / WORD]!);
    data.tailArrayEntries.push(words[word + DATA.tailEntryArrayEntries / WORD]!);
  }
  const entries = window.uint64(word + DATA.entries / WORD);
  const isUnused = window.uint64(word + DATA.entryOffset / WORD) === 0;
  if (isUnused !== (entries === 0)) {
    findings.problem(offset, `data with ${entries} entries ${isUnused ? "but no" : "and a"} first`);
  }
  if (entries > scan.header.entries) {
    findings.problem(offset, `data with ${entries} entries, the file has ${scan.header.entries}`);
  }
  data.entries.push(isUnused ? 0 : Math.min(entries, scan.header.entries));
  if (isUnused) scan.unusedData++;
  data.name.push(scanDataPayload(scan, offset, offset + payload, size - payload, compression));
}

/** Checks the hash of the payload; returns the number of its field name. */
function scanDataPayload(
  scan: Scan,
  object: number,
  offset: number,
  size: number,
  compression: number,
): number {
  const { window, findings } = scan;
  if (size > DATA_SIZE_MAX) {
    findings.problem(object, `payload of ${size} bytes, at most ${DATA_SIZE_MAX} are written`);
    return 0;
  }
  let bytes: Buffer = window.bytes;
  let view: DataView = window.view;
  let start = 0;
  let end = size;
  if (size > WINDOW_SIZE) {
    bytes = window.read(offset, size);
    view = viewOf(bytes);
  } else {
    start = window.load(offset, size) * WORD;
    end = start + size;
  }
  if (compression !== 0) {
    // More than one flag was reported; the lowest is as good as any.
    const unpacked = scan.unpacker.unpack(compression & -compression, bytes.subarray(start, end));
    if (unpacked.kind === "damaged") findings.problem(object, unpacked.what);
    if (unpacked.kind !== "raw") return 0;
    const raw = unpacked.bytes;
    bytes = Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength);
    view = viewOf(bytes);
    start = 0;
    end = bytes.length;
  }
  const { index, hashLow, hashHigh } = scan.data;
  hashPayload(scan.key, view, start, end);
  checkHash(scan, object, hashLow.values[index.count - 1]!, hashHigh.values[index.count - 1]!);
  const nameEnd = indexOfEquals(bytes, start, end);
  return nameEnd > start ? nameNumber(scan, bytes, start, nameEnd) : 0;
}

function indexOfEquals(bytes: Uint8Array, start: number, end: number): number {
  const limit = Math.min(end, start + NAME_SIZE_MAX + 1);
  for (let i = start; i < limit; i++) if (bytes[i] === EQUALS) return i;
  return -1;
}

function nameNumber(scan: Scan, bytes: Buffer, start: number, end: number): number {
  const name = bytes.toString("latin1", start, end);
  const known = scan.names.get(name);
  if (known !== undefined) return known;
  const number = scan.names.size + 1;
  scan.names.set(name, number);
  return number;
}

function checkHash(scan: Scan, offset: number, low: number, high: number): void {
  if (low !== payloadHash.low || high !== payloadHash.high) {
    scan.findings.problem(
      offset,
      `hash ${hex(high)}${hex(low)} of a payload with hash ${hex(payloadHash.high)}${hex(payloadHash.low)}`,
    );
  }
}

function hex(word: number): string {
  return word.toString(16).padStart(8, "0");
}

function scanField(scan: Scan, offset: number, size: number): void {
  const { window, fields } = scan;
  const word = window.load(offset, FIELD.payload);
  const low = window.words[word + FIELD.hash / WORD]!;
  const high = window.words[word + FIELD.hash / WORD + 1]!;
  fields.index.add(offset / 8);
  fields.hashLow.push(low);
  fields.hashHigh.push(high);
  fields.nextHash.push(link(scan, offset, word + FIELD.nextHashOffset / WORD));
  fields.headData.push(link(scan, offset, word + FIELD.headDataOffset / WORD));
  const nameSize = size - FIELD.payload;
  if (nameSize > NAME_SIZE_MAX) {
    scan.findings.problem(offset, `field name of ${nameSize} bytes, at most 64 are allowed`);
    fields.name.push(0);
    return;
  }
  const start = window.load(offset + FIELD.payload, nameSize) * WORD;
  hashPayload(scan.key, window.view, start, start + nameSize);
  checkHash(scan, offset, low, high);
  fields.name.push(nameNumber(scan, window.bytes, start, start + nameSize));
}

/** Reads a link to another object: its slot, or 0 after a problem. */
function link(scan: Scan, object: number, word: number): number {
  const slot = scan.window.slot(word);
  if (slot !== NO_SLOT) return slot;
  scan.findings.problem(
    object,
    `link to ${scan.window.uint64(word)}, need a multiple of 8 below 32 GiB`,
  );
  return 0;
}

function scanEntry(scan: Scan, offset: number, size: number): void {
  const { window, findings } = scan;
  const itemSize = scan.isCompact ? ENTRY_ITEM_SIZE_COMPACT : ENTRY_ITEM_SIZE_REGULAR;
  if ((size - ENTRY.items) % itemSize !== 0) {
    findings.problem(offset, `entry of ${size} bytes does not end with an item`);
  }
  const { words } = window;
  const word = window.load(offset, ENTRY.items);
  const seqnum = window.uint64(word + ENTRY.seqnum / WORD);
  const realtime = window.uint64(word + ENTRY.realtime / WORD);
  const monotonic = window.uint64(word + ENTRY.monotonic / WORD);
  const bootWord = word + ENTRY.bootId / WORD;
  checkTimes(scan, offset, seqnum, realtime, monotonic);
  if (
    (words[bootWord]! | words[bootWord + 1]! | words[bootWord + 2]! | words[bootWord + 3]!) ===
    0
  ) {
    findings.problem(offset, "entry without a boot id");
  }
  if (isSealed(scan) && scan.tags === 0) findings.problem(offset, "entry before the first tag");
  checkOrder(scan, offset, seqnum, realtime, monotonic, bootWord);
  const { last } = scan;
  last.seqnum = seqnum;
  last.realtime = realtime;
  last.monotonic = monotonic;
  for (let i = 0; i < 4; i++) last.bootId[i] = words[bootWord + i]!;
  scan.entries.add(offset / 8);
}

function checkTimes(
  scan: Scan,
  offset: number,
  seqnum: number,
  realtime: number,
  monotonic: number,
): void {
  const { findings } = scan;
  if (seqnum === 0 || seqnum >= SAFE_INTEGER_LIMIT) {
    findings.problem(offset, `entry with seqnum ${seqnum}, need 1 to 2^53-1`);
  }
  if (realtime === 0 || realtime >= TIMESTAMP_LIMIT) {
    findings.problem(offset, `entry with realtime ${realtime}, need 1 to 2^55-1`);
  }
  if (monotonic >= TIMESTAMP_LIMIT) {
    findings.problem(offset, `entry with monotonic ${monotonic}, need 0 to 2^55-1`);
  }
}

/** Against the entry before, or the header for the first. */
function checkOrder(
  scan: Scan,
  offset: number,
  seqnum: number,
  realtime: number,
  monotonic: number,
  bootWord: number,
): void {
  const { findings, header, last } = scan;
  if (scan.entries.count === 0) {
    if (seqnum !== header.headEntrySeqnum || realtime !== header.headEntryRealtime) {
      findings.problem(
        HEADER.headEntrySeqnum,
        `head entry ${header.headEntrySeqnum} at ${header.headEntryRealtime}, the first is ${seqnum} at ${realtime}`,
      );
    }
    return;
  }
  if (seqnum <= last.seqnum) {
    findings.problem(offset, `entry with seqnum ${seqnum} after ${last.seqnum}`);
  }
  if (monotonic < last.monotonic && isLastBoot(scan, bootWord)) {
    findings.problem(
      offset,
      `entry with monotonic ${monotonic} after ${last.monotonic} of the same boot`,
    );
  }
  if (realtime < last.realtime) scan.realtimeReversals++;
}

function isLastBoot(scan: Scan, bootWord: number): boolean {
  return scan.last.bootId.every((part, i) => part === scan.window.words[bootWord + i]);
}

function scanHashTable(
  scan: Scan,
  offset: number,
  size: number,
  of: "data" | "field",
  earlier: Buckets | undefined,
): Buckets | undefined {
  const { findings, header } = scan;
  const bytes = size - HASH_TABLE.items;
  if (earlier !== undefined) {
    findings.problem(offset, `second ${of} hash table, the first is at ${earlier.offset}`);
    return earlier;
  }
  const items = offset + HASH_TABLE.items;
  if (header[`${of}HashTableOffset`] !== items || header[`${of}HashTableSize`] !== bytes) {
    findings.problem(
      offset,
      `${of} hash table, the header has it at ${header[`${of}HashTableOffset`]} with ${header[`${of}HashTableSize`]} bytes`,
    );
    return undefined;
  }
  if (bytes % HASH_ITEM_SIZE !== 0) {
    findings.problem(offset, `${of} hash table of ${size} bytes does not end with an item`);
  }
  return readBuckets(scan, offset, Math.floor(bytes / HASH_ITEM_SIZE));
}

function readBuckets(scan: Scan, offset: number, count: number): Buckets {
  const { window, findings } = scan;
  const buckets = { offset, heads: new Uint32Array(count), tails: new Uint32Array(count) };
  const perLoad = WINDOW_SIZE / HASH_ITEM_SIZE;
  for (let first = 0; first < count; first += perLoad) {
    const loaded = Math.min(perLoad, count - first);
    const start = window.load(
      offset + HASH_TABLE.items + first * HASH_ITEM_SIZE,
      loaded * HASH_ITEM_SIZE,
    );
    for (let i = 0; i < loaded; i++) {
      const word = start + (i * HASH_ITEM_SIZE) / WORD;
      const head = link(scan, offset, word + HASH_ITEM.head / WORD);
      const tail = link(scan, offset, word + HASH_ITEM.tail / WORD);
      if ((head === 0) !== (tail === 0)) {
        findings.problem(offset, `bucket ${first + i} with head ${head * 8} and tail ${tail * 8}`);
      }
      buckets.heads[first + i] = head;
      buckets.tails[first + i] = tail;
    }
  }
  return buckets;
}

function scanEntryArray(scan: Scan, offset: number, size: number): void {
  const { window, findings, arrays } = scan;
  const itemSize = arrayItemSize(scan.isCompact);
  const capacity = Math.floor((size - ENTRY_ARRAY.items) / itemSize);
  if ((size - ENTRY_ARRAY.items) % itemSize !== 0) {
    findings.problem(offset, `entry array of ${size} bytes does not end with an item`);
  }
  const word = window.load(offset, ENTRY_ARRAY.items);
  const next = link(scan, offset, word + ENTRY_ARRAY.nextEntryArrayOffset / WORD);
  if (next !== 0 && next * 8 <= offset) {
    findings.problem(offset, `entry array with the next at ${next * 8}, need one further on`);
  }
  arrays.index.add(offset / 8);
  arrays.next.push(next * 8 > offset ? next : 0);
  arrays.capacity.push(capacity);
  checkArrayAlignment(scan, offset, capacity * itemSize);
}

/** Of all items, used or not. */
function checkArrayAlignment(scan: Scan, offset: number, size: number): void {
  const { window } = scan;
  const step = scan.isCompact ? 1 : 2;
  for (let done = 0; done < size; done += WINDOW_SIZE) {
    const loaded = Math.min(WINDOW_SIZE, size - done);
    const start = window.load(offset + ENTRY_ARRAY.items + done, loaded);
    let misaligned = 0;
    for (let word = start; word < start + loaded / WORD; word += step) {
      misaligned |= window.words[word]! & 7;
    }
    if (misaligned !== 0) {
      scan.findings.problem(offset, "entry array with an item that is not a multiple of 8");
      return;
    }
  }
}

function scanTag(scan: Scan, offset: number, size: number): void {
  const { window, findings, header } = scan;
  const word = window.load(offset, TAG_SIZE);
  const seqnum = window.uint64(word + TAG.seqnum / WORD);
  const epoch = window.uint64(word + TAG.epoch / WORD);
  if (!isSealed(scan)) findings.problem(offset, "tag in a file that is not sealed");
  if (size !== TAG_SIZE) findings.problem(offset, `tag of ${size} bytes, need ${TAG_SIZE}`);
  if (seqnum !== scan.tags + 1) {
    findings.problem(offset, `tag with number ${seqnum}, need ${scan.tags + 1}`);
  }
  if (epoch >= TIMESTAMP_LIMIT) findings.problem(offset, `tag with epoch ${epoch}, need < 2^55`);
  const isContinuous = (header.compatibleFlags & Compatible.sealedContinuous) !== 0;
  // The file begins with a tag, and its first epoch ends with another.
  const mayRepeat = !isContinuous || scan.tags === 1;
  const isInOrder =
    scan.tags === 0 ||
    epoch === scan.tagEpoch + 1 ||
    (mayRepeat && epoch === scan.tagEpoch) ||
    (!isContinuous && epoch > scan.tagEpoch);
  if (!isInOrder) findings.problem(offset, `tag with epoch ${epoch} after ${scan.tagEpoch}`);
  scan.tagEpoch = epoch;
  scan.tags++;
}

function isSealed(scan: Scan): boolean {
  return (scan.header.compatibleFlags & Compatible.sealed) !== 0;
}
