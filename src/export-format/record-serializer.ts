/**
 * Writes journal entries one after the other in the export format, as `journalctl -o export` of systemd >= 254 does.
 * https://systemd.io/JOURNAL_EXPORT_FORMATS/ HOT: guarded by scripts/bench/read.ts.
 *
 * Entries repeat each other's fields, mostly several in a row. Where fields stand one behind the other in what
 * was written before, they are copied from there at once.
 */
import { formatId128, isEqualId128 } from "../bytes/id128.ts";
import { RECORDS_MAX } from "../journal/reader/data-cache.ts";
import type { JournalEntry } from "../journal/reader/journal-entry.ts";
import { ascii, BOOT_ID_NAME, isName } from "./fields.ts";
import { isPlainText } from "./text.ts";
import { writeDecimal, writeHex, writeHex64 } from "./values.ts";

const LF = 0x0a;
/** A binary field's size in front of its data: le64. */
const SIZE_BYTES = 8;
/** More than the lines before the fields can take: 120 bytes of labels, 4 ids, 7 numbers. */
const HEAD_SIZE_MAX = 512;

/** What is known of a record. */
const Kind = { unknown: 0, text: 1, binary: 2, skipped: 3 } as const;

const LABEL = {
  realtime: ascii(";t="),
  xorHash: ascii(";x="),
  realtimeLine: ascii("__REALTIME_TIMESTAMP="),
  monotonicLine: ascii("\n__MONOTONIC_TIMESTAMP="),
  seqnumLine: ascii("\n__SEQNUM="),
} as const;

/** The lines before the fields are these and numbers; they change with the ids, hardly ever. */
class HeadText {
  cursor: Uint8Array = new Uint8Array(0);
  cursorBoot: Uint8Array = new Uint8Array(0);
  ids: Uint8Array = new Uint8Array(0);
  bootLine: Uint8Array = new Uint8Array(0);
  readonly #seqnumId = new Uint8Array(16).fill(1);
  readonly #bootId = new Uint8Array(16).fill(1);

  update({ seqnumId, bootId }: JournalEntry): void {
    if (isEqualId128(seqnumId, this.#seqnumId) && isEqualId128(bootId, this.#bootId)) return;
    this.#seqnumId.set(seqnumId);
    this.#bootId.set(bootId);
    const boot = formatId128(bootId);
    this.cursor = ascii(`__CURSOR=s=${formatId128(seqnumId)};i=`);
    this.cursorBoot = ascii(`;b=${boot};m=`);
    this.bootLine = ascii(`\n_BOOT_ID=${boot}\n`);
    this.ids = ascii(`\n__SEQNUM_ID=${formatId128(seqnumId)}\n_BOOT_ID=${boot}\n`);
  }
}

export class RecordSerializer {
  #target: Buffer = Buffer.alloc(0);
  /** Where record r was written last in the target, and its size there; counts if `#epoch` is the current one. */
  readonly #place = new Uint32Array(RECORDS_MAX);
  readonly #writtenSize = new Uint32Array(RECORDS_MAX);
  readonly #placeEpoch = new Int32Array(RECORDS_MAX);
  readonly #kind = new Uint8Array(RECORDS_MAX);
  #epoch = 0;
  #generation = -1;
  readonly #headText = new HeadText();

  /** Entries are written to `target` from now on, the first one anywhere, each of the others behind the last. */
  begin(target: Buffer): void {
    this.#target = target;
    this.#epoch++;
  }

  /** Bytes that write() may need at most for this entry. */
  sizeMax(entry: JournalEntry): number {
    const { records, recordCount } = entry;
    const { size } = entry.cache;
    let sum = HEAD_SIZE_MAX + recordCount * (SIZE_BYTES + 1);
    for (let i = 0; i < recordCount; i++) sum += size[records[i]!]!;
    return sum;
  }

  /**
   * Writes the entry at `offset` of the target, which has room for `sizeMax(entry)`.
   * @returns the offset after it
   */
  write(entry: JournalEntry, offset: number): number {
    const { cache } = entry;
    if (cache.generation !== this.#generation) {
      this.#generation = cache.generation;
      this.#kind.fill(Kind.unknown);
      this.#epoch++;
    }
    let end = this.#writeHead(entry, offset);
    end = this.#writeFields(entry, end);
    this.#target[end] = LF;
    return end + 1;
  }

  #writeFields(entry: JournalEntry, offset: number): number {
    const { records, recordCount } = entry;
    const target = this.#target;
    const place = this.#place;
    const placeEpoch = this.#placeEpoch;
    const writtenSize = this.#writtenSize;
    const epoch = this.#epoch;
    let end = offset;
    let i = 0;
    while (i < recordCount) {
      const record = records[i]!;
      if (placeEpoch[record] !== epoch) {
        end = this.#writeFirst(entry, record, end);
        i++;
        continue;
      }
      const from = place[record]!;
      let to = from + writtenSize[record]!;
      place[record] = end;
      let next = i + 1;
      while (next < recordCount) {
        const follower = records[next]!;
        if (placeEpoch[follower] !== epoch || place[follower] !== to) break;
        place[follower] = end + to - from;
        to += writtenSize[follower]!;
        next++;
      }
      target.copyWithin(end, from, to);
      end += to - from;
      i = next;
    }
    return end;
  }

  /** A field that this target does not have yet. */
  #writeFirst(entry: JournalEntry, record: number, offset: number): number {
    const { cache } = entry;
    const bytes = cache.bytesOf(record);
    const start = cache.start[record]!;
    const end = start + cache.size[record]!;
    const nameLength = cache.nameLength[record]!;
    let kind = this.#kind[record]!;
    if (kind === Kind.unknown) {
      kind = kindOf(bytes, start, end, nameLength);
      this.#kind[record] = kind;
    }
    let written = 0;
    if (kind === Kind.text) {
      // The LF that follows it, too.
      bytes.copy(this.#target, offset, start, end + 1);
      written = end + 1 - start;
    } else if (kind === Kind.binary) {
      written = this.#writeBinary(bytes, start, nameLength, end, offset) - offset;
    }
    this.#place[record] = offset;
    this.#writtenSize[record] = written;
    this.#placeEpoch[record] = this.#epoch;
    return offset + written;
  }

  #writeBinary(
    bytes: Buffer,
    start: number,
    nameLength: number,
    fieldEnd: number,
    offset: number,
  ): number {
    const target = this.#target;
    bytes.copy(target, offset, start, start + nameLength);
    let end = offset + nameLength;
    target[end++] = LF;
    let size = fieldEnd - start - nameLength - 1;
    for (let i = 0; i < SIZE_BYTES; i++) {
      target[end++] = size % 256;
      size = Math.floor(size / 256);
    }
    bytes.copy(target, end, start + nameLength + 1, fieldEnd + 1);
    return end + fieldEnd - start - nameLength;
  }

  /** The lines that come before the fields, in journalctl's order; without identity there is no cursor. */
  #writeHead(entry: JournalEntry, offset: number): number {
    const target = this.#target;
    const text = this.#headText;
    text.update(entry);
    let end = entry.seqnum === 0 ? offset : this.#writeCursor(entry, offset);
    end = writeLabel(target, end, LABEL.realtimeLine);
    end = writeDecimal(target, end, entry.realtimeUsec);
    end = writeLabel(target, end, LABEL.monotonicLine);
    end = writeDecimal(target, end, entry.monotonicUsec);
    if (entry.seqnum === 0) return writeText(target, end, text.bootLine);
    end = writeLabel(target, end, LABEL.seqnumLine);
    end = writeDecimal(target, end, entry.seqnum);
    return writeText(target, end, text.ids);
  }

  #writeCursor(entry: JournalEntry, offset: number): number {
    const target = this.#target;
    const text = this.#headText;
    let end = writeText(target, offset, text.cursor);
    end = writeHex(target, end, entry.seqnum);
    end = writeText(target, end, text.cursorBoot);
    end = writeHex(target, end, entry.monotonicUsec);
    end = writeLabel(target, end, LABEL.realtime);
    end = writeHex(target, end, entry.realtimeUsec);
    end = writeLabel(target, end, LABEL.xorHash);
    end = writeHex64(target, end, entry.xorHashLow, entry.xorHashHigh);
    target[end] = LF;
    return end + 1;
  }
}

function kindOf(bytes: Uint8Array, start: number, end: number, nameLength: number): number {
  // It stands among the first lines.
  if (isName(bytes, start, nameLength, BOOT_ID_NAME)) return Kind.skipped;
  return isPlainText(bytes, start, end) ? Kind.text : Kind.binary;
}

/** For a few bytes. */
function writeLabel(target: Uint8Array, offset: number, label: Uint8Array): number {
  for (let i = 0; i < label.length; i++) target[offset + i] = label[i]!;
  return offset + label.length;
}

function writeText(target: Uint8Array, offset: number, text: Uint8Array): number {
  target.set(text, offset);
  return offset + text.length;
}
