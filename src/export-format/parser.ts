/**
 * Reads application/vnd.fdo.journal, the journal export format, from chunks split anywhere.
 * https://systemd.io/JOURNAL_EXPORT_FORMATS/; behaves like journal-importer.c of systemd 252..262
 * except where that loses data. HOT: guarded by scripts/bench/parse.ts.
 *
 * A bad entry is refused, reported once with the first reason found, and read on to its end: its
 * lines are dropped, its binary data skipped by their length, nothing of it is kept in memory. The
 * stream goes on after the next empty line. So a stream that begins in the middle of an entry
 * gives that entry as far as its lines make sense, or one refusal, and then the entries after it.
 *
 * - A line without "=" names a binary field, if the 8 bytes after it are a size below 1 TiB.
 *   Otherwise it is a stray line of text, and those bytes are read again as lines.
 * - `_BOOT_ID` and the `__` fields count in text form only. A binary `_BOOT_ID` is a field like any
 *   other; a binary `__` field is dropped, since a journal cannot hold a field of that name.
 * - An entry without times or boot id gets those of the last entry that was handed on; refused
 *   entries leave no trace. A first entry without monotonic time gets 0.
 * - The identity (`__SEQNUM` with `__SEQNUM_ID`, else what `__CURSOR` says) is never inherited, and an
 *   unusable one is no reason to refuse: the entry then has none. Times in the cursor are not used.
 */
import { type Entry, newEntry } from "../journal/entry.ts";
import { FIELD_NAME_SIZE_MAX, isFieldName, NAME_BYTES, NameByte } from "../journal/field-name.ts";
import { describeBadName, describeByte } from "./describe.ts";
import { EntryBuffer } from "./entry-buffer.ts";
import { CR_LF, EntryHead, isHeadLine } from "./entry-head.ts";
import {
  DEFAULT_PARSER_LIMITS,
  type ParserLimits,
  type Refusal,
  type RefusalReason,
} from "./fields.ts";
import { findLineEnd, findNameEnd } from "./lines.ts";

export interface ParserHandler {
  /** One whole, valid entry; valid, with its buffers, during the call only. */
  onEntry(entry: Entry): void;
  /**
   * One entry that will not come.
   * @param offset where in the stream it begins, in bytes.
   * @param detail what is wrong, for a log line.
   */
  onRefused(reason: RefusalReason, offset: number, detail: string): void;
}

const LF = 0x0a;
const CR = 0x0d;
const EQUALS = 0x3d;
const UNDERSCORE = 0x5f;

/** What the next bytes are. */
const State = {
  /** A line: of a good entry, or (in a refused one) of one to be dropped. */
  line: 0,
  /** The line end after a binary field's name, and the 8 bytes of its size. */
  size: 1,
  /** A binary field's data and the line end after it. */
  data: 2,
  /** The rest of a text line of a refused entry. */
  droppedLine: 3,
  /** Binary data of a refused entry, and the line end after it. */
  droppedData: 4,
} as const;
type State = (typeof State)[keyof typeof State];

/** Fields that a new parser has room for; the tables grow with the entries. */
const FIELDS_INITIAL = 64;
/** In a refused entry, a line longer than this before any "=" is not a binary field's name. */
const DROPPED_NAME_MAX = 4096;
/** A binary field's size in front of its data: le64. */
const SIZE_BYTES = 8;
/** No field is this large; text read as a size is: its upper bytes are not zero. */
const PLAUSIBLE_SIZE_END = 2 ** 40;

const NO_FIELDS: Refusal = {
  reason: "no-fields",
  detail: 'entry has no field but those that begin with "__"',
};

export class ExportParser {
  readonly #handler: ParserHandler;
  readonly #limits: ParserLimits;
  readonly #buffer: EntryBuffer;
  readonly #head = new EntryHead();
  /** Between entries, its times and boot id are those of the last entry handed on. */
  readonly #entry: Entry;
  #state: State = State.line;
  /** Where the current line begins in the buffer; the entry begins at the buffer's start. */
  #lineStart = 0;
  /** Up to here the current line was searched for its end, in vain. */
  #scanned = 0;
  /** The current binary field's name. */
  #nameLength = 0;
  /** Size of the current binary field's data; in a refused entry: what is left to drop. */
  #dataSize = 0;
  #fieldCount = 0;
  #isRefused = false;
  /** Stream offset of the refused entry. */
  #refusedOffset = 0;
  #inherited = 0;

  constructor(handler: ParserHandler, limits: Partial<ParserLimits> = {}) {
    const highest = DEFAULT_PARSER_LIMITS;
    this.#handler = handler;
    this.#limits = {
      fieldsMax: Math.min(limits.fieldsMax ?? highest.fieldsMax, highest.fieldsMax),
      fieldSizeMax: Math.min(limits.fieldSizeMax ?? highest.fieldSizeMax, highest.fieldSizeMax),
      entrySizeMax: Math.min(limits.entrySizeMax ?? highest.entrySizeMax, highest.entrySizeMax),
    };
    this.#buffer = new EntryBuffer(this.#limits.entrySizeMax);
    this.#entry = newEntry(Math.min(FIELDS_INITIAL, this.#limits.fieldsMax));
  }

  /** Bytes of memory held for the unfinished entry, between two calls of push(). */
  get bufferedBytes(): number {
    return this.#buffer.heldBytes;
  }

  /** Entries handed on with a time or boot id of the entry before them. */
  get inherited(): number {
    return this.#inherited;
  }

  /**
   * Takes the next bytes of the stream and calls the handler for each entry that ends in them.
   * What the handler throws comes out here; the rest of the chunk is then lost.
   */
  push(chunk: Uint8Array): void {
    const buffer = this.#buffer;
    try {
      for (let taken = 0; taken < chunk.length; ) {
        const start = buffer.start;
        taken += buffer.append(chunk, taken);
        this.#shift(buffer.start - start);
        while (this.#step());
      }
    } finally {
      const start = buffer.start;
      buffer.settle();
      this.#shift(buffer.start - start);
    }
  }

  /**
   * The stream is over. Returns how many bytes of an unfinished entry it ended in; that entry is
   * refused as "truncated". 0 when the stream ended cleanly.
   */
  end(): number {
    const buffer = this.#buffer;
    const offset = this.#isRefused ? this.#refusedOffset : buffer.streamOffset + buffer.start;
    const unfinished = buffer.streamOffset + buffer.end - offset;
    if (unfinished > 0 && !this.#isRefused) {
      this.#refuse("truncated", `stream ended ${unfinished} bytes into an entry`);
    }
    buffer.start = buffer.end;
    buffer.settle();
    this.#state = State.line;
    this.#beginEntry(buffer.end);
    return unfinished;
  }

  /** Reads on as far as one state goes; false when more bytes are needed. */
  #step(): boolean {
    switch (this.#state) {
      case State.line:
        return this.#isRefused ? this.#dropLine() : this.#readTextFields();
      case State.size:
        return this.#readSize();
      case State.data:
        return this.#readData();
      case State.droppedLine:
        return this.#dropLineRest();
      case State.droppedData:
        return this.#dropData();
    }
  }

  /** The fast path: text field after text field, up to any other kind of line. */
  #readTextFields(): boolean {
    const { bytes, words, start, end } = this.#buffer;
    const { fieldStart, fieldEnd, nameLength: nameLengths } = this.#entry;
    const { fieldSizeMax, entrySizeMax } = this.#limits;
    const fieldRoom = nameLengths.length;
    // A line that ends before this is whole and within the limits.
    const checkFrom = Math.min(end, start + fieldSizeMax + 1, start + entrySizeMax + 1);
    let fieldCount = this.#fieldCount;
    let lineStart = this.#lineStart;
    const scanned = this.#scanned;
    for (;;) {
      const nameEnd = findNameEnd(bytes, lineStart);
      const nameLength = nameEnd - lineStart;
      if (
        bytes[nameEnd] !== EQUALS ||
        nameLength > FIELD_NAME_SIZE_MAX ||
        NAME_BYTES[bytes[lineStart]!] !== NameByte.anywhere
      ) {
        this.#pause(fieldCount, lineStart);
        return this.#readOtherLine(nameEnd);
      }
      const lineEnd = findLineEnd(bytes, words, Math.max(scanned, nameEnd + 1));
      if (lineEnd >= checkFrom) {
        this.#pause(fieldCount, lineStart);
        if (!this.#admitLine(lineEnd)) return this.#isRefused;
      }
      if (bytes[lineStart] === UNDERSCORE && isHeadLine(bytes, lineStart, nameLength)) {
        this.#pause(fieldCount, lineStart);
        const isField = this.#takeHeadLine(nameLength, lineEnd);
        if (this.#isRefused) return true;
        if (!isField) {
          lineStart = lineEnd + 1;
          continue;
        }
      }
      if (fieldCount === fieldRoom) {
        this.#pause(fieldCount, lineStart);
        this.#makeFieldRoom();
        return true;
      }
      fieldStart[fieldCount] = lineStart;
      fieldEnd[fieldCount] = lineEnd;
      nameLengths[fieldCount] = nameLength;
      fieldCount++;
      lineStart = lineEnd + 1;
    }
  }

  /** Leaves the fast path before the line at `lineStart`. */
  #pause(fieldCount: number, lineStart: number): void {
    this.#fieldCount = fieldCount;
    this.#lineStart = lineStart;
    this.#scanned = lineStart;
  }

  /** Whether the line is whole; remembers how far it was searched, refuses it when too long. */
  #admitLine(lineEnd: number): boolean {
    if (this.#isOverLimit(this.#lineStart, lineEnd)) {
      this.#refuseOverLimit(this.#lineStart);
      return false;
    }
    this.#scanned = lineEnd;
    return lineEnd < this.#buffer.end;
  }

  /**
   * A line that is no text field with a good name, as the byte at `index` shows: the first that
   * cannot be part of a name, or the end of what there is.
   */
  #readOtherLine(index: number): boolean {
    const { bytes, end } = this.#buffer;
    const lineStart = this.#lineStart;
    const nameLength = index - lineStart;
    const isGoodName = isFieldName(bytes, lineStart, index);
    if (nameLength <= FIELD_NAME_SIZE_MAX) {
      if (index === end) return false;
      const byte = bytes[index];
      if (byte === LF && nameLength === 0) {
        this.#endEntry(index + 1);
        return true;
      }
      if (byte === LF && isGoodName) {
        this.#nameLength = nameLength;
        this.#state = State.size;
        return true;
      }
      if (byte === CR) {
        if (index + 1 === end) return false;
        if (bytes[index + 1] === LF) {
          this.#readCrLf(index);
          return true;
        }
      }
    }
    this.#refuse("bad-name", describeBadName(bytes, lineStart, index));
    return true;
  }

  /** A line that ends in CR LF and has no "=". */
  #readCrLf(index: number): void {
    const isFirstAndEmpty = index === this.#buffer.start;
    if (isFirstAndEmpty) this.#beginEntry(index + 2);
    else this.#refuse(CR_LF.reason, CR_LF.detail);
  }

  /** Takes `_BOOT_ID` or a `__` field. True when the line is a field of the entry as well. */
  #takeHeadLine(nameLength: number, lineEnd: number): boolean {
    const { bytes, start } = this.#buffer;
    const refusal = this.#head.takeLine(bytes, start, this.#lineStart, nameLength, lineEnd);
    if (refusal !== undefined) this.#refuse(refusal.reason, refusal.detail);
    return bytes[this.#lineStart + 1] !== UNDERSCORE;
  }

  #readSize(): boolean {
    const { bytes, end } = this.#buffer;
    const sizeStart = this.#lineStart + this.#nameLength + 1;
    const dataStart = sizeStart + SIZE_BYTES;
    if (end < dataStart) return false;
    const size = readSize(bytes, sizeStart);
    if (size >= PLAUSIBLE_SIZE_END) {
      if (!this.#isRefused) {
        this.#refuse("binary-size", `size of a binary field is about ${size}, need less than 2^40`);
      }
      this.#dropFrom(sizeStart, State.line);
      return true;
    }
    if (!this.#isRefused) this.#admitBinary(size, dataStart);
    this.#dataSize = size;
    if (this.#isRefused) this.#dropFrom(dataStart, State.droppedData);
    else this.#state = State.data;
    return true;
  }

  /** Refuses the entry if the coming binary field would pass a limit; else there is room for it. */
  #admitBinary(size: number, dataStart: number): void {
    // Measured as it will be kept: the line end and the size become one "=".
    const fieldStart = this.#lineStart + SIZE_BYTES;
    if (this.#isOverLimit(fieldStart, dataStart + size)) this.#refuseOverLimit(fieldStart);
    else if (this.#fieldCount === this.#entry.nameLength.length && !this.#isDunder()) {
      this.#makeFieldRoom();
    }
  }

  #readData(): boolean {
    const { bytes, end } = this.#buffer;
    const nameLength = this.#nameLength;
    const dataStart = this.#lineStart + nameLength + 1 + SIZE_BYTES;
    const dataEnd = dataStart + this.#dataSize;
    if (end <= dataEnd) return false;
    if (bytes[dataEnd] !== LF) {
      this.#refuse("binary-end", `${describeByte(bytes[dataEnd]!)} after binary data, need LF`);
      this.#dropFrom(dataEnd, State.line);
      return true;
    }
    if (!this.#isDunder()) {
      // NAME goes over LF and size, up to its data, which stays where it is.
      const fieldStart = this.#lineStart + SIZE_BYTES;
      bytes.copyWithin(fieldStart, this.#lineStart, this.#lineStart + nameLength);
      bytes[dataStart - 1] = EQUALS;
      const entry = this.#entry;
      entry.fieldStart[this.#fieldCount] = fieldStart;
      entry.fieldEnd[this.#fieldCount] = dataEnd;
      entry.nameLength[this.#fieldCount] = nameLength;
      this.#fieldCount++;
    }
    this.#state = State.line;
    this.#lineStart = dataEnd + 1;
    this.#scanned = dataEnd + 1;
    return true;
  }

  /** Whether the current line's name begins with "__". */
  #isDunder(): boolean {
    const { bytes } = this.#buffer;
    return bytes[this.#lineStart] === UNDERSCORE && bytes[this.#lineStart + 1] === UNDERSCORE;
  }

  /** One line of a refused entry, up to where it shows what it is. */
  #dropLine(): boolean {
    const { bytes, end } = this.#buffer;
    const lineStart = this.#lineStart;
    const nameEnd = lineStart + DROPPED_NAME_MAX;
    const searchEnd = Math.min(end, nameEnd);
    let index = this.#scanned;
    while (index < searchEnd && bytes[index] !== LF && bytes[index] !== EQUALS) index++;
    this.#scanned = index;
    if (index === end && index < nameEnd) return false;
    if (index === nameEnd || bytes[index] === EQUALS) {
      this.#dropFrom(index, State.droppedLine);
      return true;
    }
    this.#nameLength = index - lineStart;
    const isEnd = index === lineStart || (index === lineStart + 1 && bytes[lineStart] === CR);
    if (isEnd) this.#beginEntry(index + 1);
    else this.#state = State.size;
    return true;
  }

  #dropLineRest(): boolean {
    const { bytes, words, start, end } = this.#buffer;
    const lineEnd = findLineEnd(bytes, words, start);
    if (lineEnd === end) {
      this.#dropFrom(end, State.droppedLine);
      return false;
    }
    this.#dropFrom(lineEnd + 1, State.line);
    return true;
  }

  #dropData(): boolean {
    const { bytes, start, end } = this.#buffer;
    const count = Math.min(this.#dataSize, end - start);
    const dataEnd = start + count;
    this.#dataSize -= count;
    this.#dropFrom(dataEnd, State.droppedData);
    if (this.#dataSize > 0 || dataEnd === end) return false;
    this.#dropFrom(bytes[dataEnd] === LF ? dataEnd + 1 : dataEnd, State.line);
    return true;
  }

  /** Forgets everything of a refused entry before `index`, where `state` begins. */
  #dropFrom(index: number, state: State): void {
    this.#buffer.start = index;
    this.#lineStart = index;
    this.#scanned = index;
    this.#state = state;
  }

  /** Reports the entry; the current line is the first to be dropped. */
  #refuse(reason: RefusalReason, detail: string): void {
    const buffer = this.#buffer;
    const offset = buffer.streamOffset + buffer.start;
    this.#isRefused = true;
    this.#refusedOffset = offset;
    this.#fieldCount = 0;
    this.#dropFrom(this.#lineStart, this.#state);
    this.#handler.onRefused(reason, offset, detail);
  }

  #isOverLimit(fieldStart: number, fieldEnd: number): boolean {
    const { fieldSizeMax, entrySizeMax } = this.#limits;
    return fieldEnd > Math.min(fieldStart + fieldSizeMax, this.#buffer.start + entrySizeMax);
  }

  /** Names the limit that is passed first, so that the reason does not depend on the chunks. */
  #refuseOverLimit(fieldStart: number): void {
    const { fieldSizeMax, entrySizeMax } = this.#limits;
    if (fieldStart + fieldSizeMax <= this.#buffer.start + entrySizeMax) {
      this.#refuse("field-too-large", `field has more than ${fieldSizeMax} bytes`);
    } else {
      this.#refuse("entry-too-large", `entry has more than ${entrySizeMax} bytes`);
    }
  }

  /** Doubles the field tables, up to the limit; past it, refuses the entry. */
  #makeFieldRoom(): void {
    const { fieldsMax } = this.#limits;
    const entry = this.#entry;
    const room = Math.min(2 * entry.nameLength.length, fieldsMax);
    if (this.#fieldCount >= room) {
      this.#refuse("too-many-fields", `entry has more than ${fieldsMax} fields`);
      return;
    }
    const { fieldStart, fieldEnd, nameLength } = entry;
    entry.fieldStart = new Uint32Array(room);
    entry.fieldStart.set(fieldStart);
    entry.fieldEnd = new Uint32Array(room);
    entry.fieldEnd.set(fieldEnd);
    entry.nameLength = new Uint8Array(room);
    entry.nameLength.set(nameLength);
  }

  /** At the empty line: hands the entry on, or refuses it for what it lacks. */
  #endEntry(next: number): void {
    const { bytes, start } = this.#buffer;
    const entry = this.#entry;
    if (this.#lineStart === start) {
      this.#beginEntry(next);
      return;
    }
    const isFirst = entry.realtimeUsec === 0;
    const refusal = this.#fieldCount === 0 ? NO_FIELDS : this.#head.fill(entry, bytes, start);
    if (refusal !== undefined) {
      this.#refuse(refusal.reason, refusal.detail);
      this.#beginEntry(next);
      return;
    }
    if (this.#head.isIncomplete && !isFirst) this.#inherited++;
    entry.bytes = bytes;
    entry.fieldCount = this.#fieldCount;
    this.#beginEntry(next);
    this.#handler.onEntry(entry);
  }

  #beginEntry(index: number): void {
    this.#dropFrom(index, State.line);
    this.#isRefused = false;
    this.#fieldCount = 0;
    this.#head.reset();
  }

  /** Follows the unfinished entry when its bytes moved in the buffer. */
  #shift(delta: number): void {
    if (delta === 0) return;
    this.#lineStart += delta;
    this.#scanned += delta;
    const { fieldStart, fieldEnd } = this.#entry;
    for (let i = 0; i < this.#fieldCount; i++) {
      fieldStart[i]! += delta;
      fieldEnd[i]! += delta;
    }
  }
}

/** A le64; the result is exact up to 2^53. */
function readSize(bytes: Uint8Array, offset: number): number {
  let size = 0;
  for (let i = SIZE_BYTES - 1; i >= 0; i--) size = size * 256 + bytes[offset + i]!;
  return size;
}
