/**
 * Entries of export-format files, pipes and standard input, one after the other to their ends. No position is kept: a
 * stream cannot be asked for what follows an entry.
 *
 * The parser calls for each entry it finds, and an EntrySource is asked for one: so it gets the stream in pieces that
 * end where an entry may end, at an empty line.
 */
import { closeSync, fstatSync, openSync, readSync, statSync } from "node:fs";
import { setImmediate as nextTurn } from "node:timers/promises";
import { hashJenkins, jenkins } from "../bytes/lookup3.ts";
import { viewOf } from "../bytes/view.ts";
import { AgentError, reasonOf } from "../errors.ts";
import { ExportParser } from "../export-format/parser.ts";
import { ENTRY_FIELDS_MAX, type Entry } from "../journal/entry.ts";
import { DataCache, NO_RECORD } from "../journal/reader/data-cache.ts";
import {
  addMoreTags,
  type JournalEntry,
  newJournalEntry,
} from "../journal/reader/journal-entry.ts";
import type { Selection } from "../journal/reader/selection-types.ts";
import { log } from "../log.ts";
import { type Input, openInput } from "../platform/open-input.ts";
import {
  type EntrySource,
  PASSED_MAX,
  type Position,
  type SourceLosses,
} from "./delivery-types.ts";
import { ReadAhead } from "./read-ahead.ts";
import type { StartSettings } from "./settings.ts";

const CHUNK_SIZE = 256 * 1024;
const LF = 0x0a;
const ENTRY_END = Buffer.from("\n\n");
/** Size of an entry as long as none was read. */
const ENTRY_SIZE_GUESS = 1024;
/** Shorter fields are compared byte by byte: a call costs more. */
const LOOP_SIZE_MAX = 256;
/** Of the table that finds a field that an entry before had. */
const SLOTS = 128 * 1024;

/** What files begin with that are something else. */
const OTHER_FORMATS = [
  { magic: "28b52ffd", name: "compressed by zstd", hint: "zstd -dc FILE | agent upload -" },
  { magic: "1f8b", name: "compressed by gzip", hint: "gzip -dc FILE | agent upload -" },
  { magic: "fd377a585a00", name: "compressed by xz", hint: "xz -dc FILE | agent upload -" },
  { magic: "04224d18", name: "compressed by lz4", hint: "lz4 -dc FILE | agent upload -" },
  { magic: "4c504b5348485248", name: "a journal file", hint: "agent upload --file=FILE" },
].map(({ magic, ...format }) => ({ magic: Buffer.from(magic, "hex"), ...format }));

export interface ExportSourceOptions {
  /** "-" is standard input. */
  files: readonly string[];
  selection: Selection;
  /** Entries before or after are not sent. */
  start: Pick<StartSettings, "sinceUsec" | "untilUsec">;
}

/** The stream that is being read. */
interface OpenStream {
  readonly path: string;
  readonly parser: ExportParser;
  /** Of a regular file, which never makes one wait. */
  readonly fd: number;
  /** Of everything else. */
  readonly pipe: ReadAhead | undefined;
  /** Bytes that were not read yet, as far as that is known. */
  bytesLeft: number;
  close(): void;
}

const EMPTY: Buffer = Buffer.alloc(0);

export class ExportSource implements EntrySource {
  /** Of the first file that was not sent whole. */
  failure: AgentError | undefined;
  isPausing = false;
  readonly #options: ExportSourceOptions;
  readonly #files: string[];
  readonly #fields: FieldRecords;
  readonly #entry: JournalEntry;
  #hasEntry = false;
  #stream: OpenStream | undefined;
  readonly #buffer = Buffer.alloc(CHUNK_SIZE);
  /** What was read, and is parsed up to `#at`. */
  #chunk: Buffer = EMPTY;
  #at = 0;
  #lastByte = 0;
  readonly #damaged = new Map<string, number>();
  #refused = new Map<string, number>();
  #entries = 0;
  /** Those of the streams before this one. */
  #entriesBefore = 0;
  #bytes = 0;

  constructor(options: ExportSourceOptions) {
    const cache = new DataCache(options.selection.hooks);
    this.#options = options;
    this.#files = [...options.files];
    this.#fields = new FieldRecords(cache);
    this.#entry = newJournalEntry(cache);
  }

  get isEnded(): boolean {
    return this.#stream === undefined && this.#files.length === 0;
  }

  get losses(): SourceLosses {
    return { vacuumed: 0, damaged: this.#damaged };
  }

  next(): JournalEntry | undefined {
    this.isPausing = false;
    // Pieces of entries count as entries.
    for (let passed = 0; passed < PASSED_MAX; passed++) {
      if (this.#at < this.#chunk.length) {
        this.#parsePiece();
        if (this.#hasEntry && this.#isWanted()) return this.#entry;
      } else if (!(this.#stream === undefined ? this.#openFile() : this.#read(this.#stream))) {
        return undefined;
      }
    }
    this.isPausing = true;
    return undefined;
  }

  async wait(signal: AbortSignal): Promise<void> {
    if (this.isPausing) return await nextTurn();
    if (this.#stream === undefined) await this.#openPipe(signal);
    await this.#stream?.pipe?.wait(signal);
  }

  position(): Position | undefined {
    return undefined;
  }

  /** By the size of what is left, where that is known, and of the entries so far. */
  backlog(): number {
    const stream = this.#stream;
    const unread = (stream?.bytesLeft ?? 0) + (stream?.pipe?.size ?? 0);
    const bytes = this.#chunk.length - this.#at + unread;
    const entrySize = this.#entries === 0 ? ENTRY_SIZE_GUESS : this.#bytes / this.#entries;
    return Math.ceil(bytes / entrySize);
  }

  close(): void {
    this.#files.length = 0;
    this.#closeStream();
  }

  #parsePiece(): void {
    const start = this.#at;
    const end = this.#pieceEnd(start);
    this.#at = end;
    this.#lastByte = this.#chunk[end - 1] as number;
    this.#bytes += end - start;
    this.#hasEntry = false;
    this.#stream?.parser.push(this.#chunk.subarray(start, end));
  }

  /** After the next empty line, or the end of the chunk. */
  #pieceEnd(start: number): number {
    if (this.#lastByte === LF && this.#chunk[start] === LF) return start + 1;
    const found = this.#chunk.indexOf(ENTRY_END, start);
    return found < 0 ? this.#chunk.length : found + ENTRY_END.length;
  }

  #isWanted(): boolean {
    const { sinceUsec, untilUsec } = this.#options.start;
    const { realtimeUsec } = this.#entry;
    if (sinceUsec !== undefined && realtimeUsec < sinceUsec) return false;
    if (untilUsec !== undefined && realtimeUsec > untilUsec) return false;
    return this.#options.selection.accepts(this.#entry);
  }

  /** Takes the next chunk, or the end. False when one has to wait for it. */
  #read(stream: OpenStream): boolean {
    const { path, pipe, fd } = stream;
    try {
      const chunk = pipe === undefined ? readFile(fd, this.#buffer) : pipe.take();
      if (chunk !== undefined && chunk.length > 0) this.#take(stream, chunk);
      else if (pipe?.isEnded === false) return false;
      else if (pipe?.failure !== undefined) throw pipe.failure.cause;
      else this.#endStream(stream);
    } catch (cause) {
      this.#fail(readError(path, cause));
    }
    return true;
  }

  /** @throws AgentError when the stream begins as something else */
  #take(stream: OpenStream, chunk: Buffer): void {
    const isFirst = this.#chunk === EMPTY;
    this.#chunk = chunk;
    this.#at = 0;
    stream.bytesLeft = Math.max(0, stream.bytesLeft - chunk.length);
    if (isFirst) requireExport(stream.path, chunk);
  }

  /** Opens the next one if it is a regular file. */
  #openFile(): boolean {
    const path = this.#files[0];
    if (path === undefined || path === "-") return false;
    try {
      if (!statSync(path).isFile()) return false;
      this.#files.shift();
      const fd = openSync(path, "r");
      this.#begin(path, { fd, stats: fstatSync(fd), close: () => closeSync(fd) });
    } catch (cause) {
      if (this.#files[0] === path) this.#files.shift();
      this.#fail(new AgentError("E_IO", `Cannot open "${path}": ${reasonOf(cause)}`, { cause }));
    }
    return true;
  }

  async #openPipe(signal: AbortSignal): Promise<void> {
    const path = this.#files[0];
    if (path === undefined) return;
    try {
      const input = await openInput(path, signal);
      if (signal.aborted) return await input.close();
      this.#files.shift();
      // Nobody can do anything about an error of closing.
      this.#begin(path, { ...input, close: () => void input.close().catch(() => {}) });
    } catch (error) {
      if (!(error instanceof AgentError)) throw error;
      this.#files.shift();
      this.#fail(error);
    }
  }

  #begin(
    path: string,
    { fd, stats, close }: Pick<Input, "fd" | "stats"> & { close(): void },
  ): void {
    const pipe = stats.isFile() ? undefined : new ReadAhead(Bun.file(fd).stream());
    const bytesLeft = stats.isFile() ? stats.size : 0;
    this.#stream = { path, parser: this.#newParser(), fd, pipe, bytesLeft, close };
    this.#chunk = EMPTY;
    this.#at = 0;
    this.#lastByte = 0;
    this.#refused = new Map();
    this.#entriesBefore = this.#entries;
  }

  #newParser(): ExportParser {
    return new ExportParser({
      onEntry: (entry): void => this.#takeEntry(entry),
      onRefused: (reason): void => {
        this.#refused.set(reason, (this.#refused.get(reason) ?? 0) + 1);
        this.#damaged.set(reason, (this.#damaged.get(reason) ?? 0) + 1);
      },
    });
  }

  #takeEntry(from: Entry): void {
    if (this.#hasEntry) throw new Error("a piece of an export stream gave two entries");
    const entry = this.#entry;
    this.#hasEntry = true;
    this.#entries++;
    entry.seqnum = from.seqnum;
    entry.seqnumId.set(from.seqnumId);
    entry.bootId.set(from.bootId);
    entry.realtimeUsec = from.realtimeUsec;
    entry.monotonicUsec = from.monotonicUsec;
    entry.hasXorHash = from.hasXorHash;
    entry.xorHashLow = from.xorHashLow;
    entry.xorHashHigh = from.xorHashHigh;
    this.#fields.load(from, entry);
  }

  #endStream({ path, parser }: OpenStream): void {
    const lost = parser.end();
    if (this.#refused.size > 0) {
      const reasons = [...this.#refused].map(([reason, count]) => `${reason}=${count}`).join(" ");
      log.warn(`Entries of "${path}" that no journal can hold are left out: ${reasons}`);
    }
    this.#closeStream();
    if (lost > 0) {
      this.#tell(
        new AgentError(
          "E_EXPORT_SYNTAX",
          `Cannot send all of "${path}": it ends inside an entry, ${lost} bytes are lost`,
        ),
      );
    } else if (this.#refused.size > 0 && this.#entries === this.#entriesBefore) {
      this.#tell(new AgentError("E_EXPORT_SYNTAX", `Cannot send "${path}": it has no entries`));
    }
  }

  #fail(error: AgentError): void {
    this.#closeStream();
    this.#damaged.set("file", (this.#damaged.get("file") ?? 0) + 1);
    this.#tell(error);
  }

  #tell(error: AgentError): void {
    this.failure ??= error;
    log.error(error.hint === undefined ? error.message : `${error.message}; ${error.hint}`);
  }

  #closeStream(): void {
    const stream = this.#stream;
    this.#stream = undefined;
    this.#chunk = EMPTY;
    this.#at = 0;
    stream?.pipe?.close();
    stream?.close();
  }
}

/** The records of fields as they come in a stream, the same one for the same field. */
class FieldRecords {
  readonly #cache: DataCache;
  readonly #slots = new Int32Array(SLOTS).fill(NO_RECORD);
  /** Of the entry before, by the index of the field. */
  readonly #last = new Int32Array(ENTRY_FIELDS_MAX).fill(NO_RECORD);
  #generation = 0;
  #bytes: Uint8Array | undefined;
  #buffer = EMPTY;
  #view = viewOf(EMPTY);

  constructor(cache: DataCache) {
    this.#cache = cache;
  }

  load(from: Entry, entry: JournalEntry): void {
    const cache = this.#cache;
    cache.beginEntry();
    if (cache.generation !== this.#generation) {
      this.#generation = cache.generation;
      this.#slots.fill(NO_RECORD);
      this.#last.fill(NO_RECORD);
    }
    if (from.bytes !== this.#bytes) {
      this.#bytes = from.bytes;
      this.#buffer = Buffer.from(from.bytes.buffer, from.bytes.byteOffset, from.bytes.length);
      this.#view = viewOf(from.bytes);
    }
    entry.recordCount = 0;
    entry.tags = 0;
    entry.moreTags.fill(0);
    for (let i = 0; i < from.fieldCount; i++) {
      const start = from.fieldStart[i] as number;
      const end = from.fieldEnd[i] as number;
      // Entries in a row share most fields, in the same places.
      let record = this.#last[i] ?? NO_RECORD;
      if (!this.#isSame(record, start, end)) record = this.#recordOf(start, end);
      this.#last[i] = record;
      entry.tags |= cache.tags[record] as number;
      addMoreTags(entry, record);
      if (cache.isDropped[record] === 0) entry.records[entry.recordCount++] = record;
    }
  }

  #recordOf(start: number, end: number): number {
    const slots = this.#slots;
    hashJenkins(this.#view, start, end);
    let slot = jenkins.low & (SLOTS - 1);
    for (; slots[slot] !== NO_RECORD; slot = (slot + 1) & (SLOTS - 1)) {
      const record = slots[slot] as number;
      if (this.#isSame(record, start, end)) return record;
    }
    const record = this.#cache.add(this.#buffer, start, end);
    // What was changed does not tell what it was.
    if (this.#isSame(record, start, end)) slots[slot] = record;
    return record;
  }

  #isSame(record: number, start: number, end: number): boolean {
    const cache = this.#cache;
    const size = end - start;
    if (record === NO_RECORD || cache.size[record] !== size) return false;
    const bytes = this.#buffer;
    const known = cache.bytesOf(record);
    const at = cache.start[record] as number;
    if (size > LOOP_SIZE_MAX) return bytes.compare(known, at, at + size, start, end) === 0;
    // From the end: names are the same more often than values.
    for (let i = size - 1; i >= 0; i--) if (known[at + i] !== bytes[start + i]) return false;
    return true;
  }
}

function requireExport(path: string, chunk: Buffer): void {
  for (const { magic, name, hint } of OTHER_FORMATS) {
    if (!chunk.subarray(0, magic.length).equals(magic)) continue;
    throw new AgentError(
      "E_EXPORT_SYNTAX",
      `Cannot read "${path}": it is ${name}, need an export stream`,
      {
        hint,
      },
    );
  }
}

/** The next bytes, none at the end; valid until the next call. */
function readFile(fd: number, buffer: Buffer): Buffer {
  return buffer.subarray(0, readSync(fd, buffer, 0, buffer.length, null));
}

function readError(path: string, cause: unknown): AgentError {
  if (cause instanceof AgentError) return cause;
  return new AgentError("E_IO", `Cannot read "${path}": ${reasonOf(cause)}`, { cause });
}
