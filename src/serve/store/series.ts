/**
 * All entries of one sender under one sequence-number id: which are stored, and the files that take more.
 *
 * A journal file holds its entries by rising sequence number, and journalctl bisects it by time. So an
 * entry that arrives late, or whose clock went back, goes to another open file ("lane") where it fits.
 */
import fs from "node:fs";
import { join } from "node:path";
import { formatId128, randomId128 } from "../../bytes/id128.ts";
import { AgentError, reasonOf } from "../../errors.ts";
import type { Entry } from "../../journal/entry.ts";
import { FileState } from "../../journal/format.ts";
import { SeqnumLookup } from "../../journal/seqnum-lookup.ts";
import { JournalWriter } from "../../journal/writer.ts";
import type { StoreEnvironment } from "./environment.ts";
import { nextDataBuckets } from "./hash-table-size.ts";
import { machineIdOf } from "./machine-id.ts";
import { activeFileName, archivedFileName, uncleanFileName } from "./names.ts";
import { readStoredFile, type StoredFile } from "./stored-file.ts";

/** Files of one series open for writing at once. */
const LANES_MAX = 4;
/** Closed files of one series held open to look sequence numbers up. */
const LOOKUPS_MAX = 4;

/** What a series needs of the sender it belongs to. */
export interface SeriesOwner {
  readonly base: string;
  /** Whether this series may write `<base>.journal`; asked when it needs a new file. */
  claimActiveName(series: Series): boolean;
  /** The writer takes no more entries; it is synced and closed in the background. */
  retire(writer: JournalWriter): void;
  /** A writer was given up with entries that may not be on disk. */
  lost(): void;
}

export class Series {
  readonly seqnumId: Uint8Array;
  readonly #environment: StoreEnvironment;
  readonly #owner: SeriesOwner;
  /** Files not open for writing. */
  readonly #files: StoredFile[];
  #lanes: JournalWriter[] = [];
  /** Full files that the owner is completing; from then on they are among `#files`. */
  #retiring: JournalWriter[] = [];
  #lookups: SeqnumLookup[] = [];
  /** Highest number stored in any file. */
  #tailSeqnum: number;
  /** DATA objects of the last file that was full, or 0. */
  #fullFileData: number;

  constructor(
    seqnumId: Uint8Array,
    files: StoredFile[],
    environment: StoreEnvironment,
    owner: SeriesOwner,
  ) {
    this.seqnumId = seqnumId.slice();
    this.#files = files;
    this.#environment = environment;
    this.#owner = owner;
    this.#tailSeqnum = files.reduce((tail, file) => Math.max(tail, file.tailSeqnum), 0);
    this.#fullFileData = files.reduce((most, file) => Math.max(most, file.data), 0);
  }

  get tailSeqnum(): number {
    return this.#tailSeqnum;
  }

  get lanes(): readonly JournalWriter[] {
    return this.#lanes;
  }

  get files(): readonly StoredFile[] {
    return this.#files;
  }

  /** Whether an entry with this number is stored, published or not. */
  isStored(seqnum: number): boolean {
    if (seqnum > this.#tailSeqnum) return false;
    for (const lane of this.#lanes) if (this.#writerHolds(lane, seqnum)) return true;
    for (const writer of this.#retiring) if (this.#writerHolds(writer, seqnum)) return true;
    for (const file of this.#files.toReversed()) {
      if (file.entries === 0 || seqnum < file.headSeqnum || seqnum > file.tailSeqnum) continue;
      if (this.#holds(file.path, seqnum, file.entries)) return true;
    }
    return false;
  }

  /** Stores an entry that is not stored yet. */
  append(entry: Entry, seqnum: number): void {
    const writer = this.#laneFor(entry, seqnum);
    try {
      writer.append(entry, seqnum);
    } catch (error) {
      this.#abandon(writer);
      throw error;
    }
    if (seqnum > this.#tailSeqnum) this.#tailSeqnum = seqnum;
  }

  /** Stops writing to a file that was deleted or failed; what it holds is no longer counted on. */
  drop(writer: JournalWriter): void {
    this.#lanes = this.#lanes.filter((lane) => lane !== writer);
    this.#closeLookup(writer.path);
  }

  /** Closes all files; those that are not archived may be reopened. */
  closeFiles(): void {
    const lanes = this.#lanes;
    this.#lanes = [];
    for (const lookup of this.#lookups) lookup.close();
    this.#lookups = [];
    for (const lane of lanes) this.#closeLane(lane);
  }

  #closeLane(lane: JournalWriter): void {
    try {
      lane.close("offline");
      this.addFile(lane.path);
    } catch (error) {
      // It was synced just before, so only what came since is in doubt.
      this.#owner.lost();
      this.#setAside(lane);
      throw error;
    }
  }

  /** A file was deleted by retention. */
  forget(path: string): void {
    const index = this.#files.findIndex((file) => file.path === path);
    if (index >= 0) this.#files.splice(index, 1);
    this.#closeLookup(path);
  }

  /** A retired writer is closed: its file is one of those to look numbers up in. */
  addFile(path: string): void {
    this.#retiring = this.#retiring.filter((writer) => writer.path !== path);
    const file = readStoredFile(path);
    if (file !== undefined && !this.#files.some((known) => known.path === path)) {
      this.#files.push(file);
    }
  }

  #writerHolds(writer: JournalWriter, seqnum: number): boolean {
    if (writer.entries === 0) return false;
    if (seqnum < writer.headSeqnum || seqnum > writer.tailSeqnum) return false;
    if (!writer.isClosed) writer.publish();
    return this.#holds(writer.path, seqnum, writer.entries);
  }

  #holds(path: string, seqnum: number, entries: number): boolean {
    let lookup = this.#lookups.find((open) => open.path === path);
    try {
      if (lookup === undefined) {
        lookup = new SeqnumLookup(path);
        this.#lookups.push(lookup);
        if (this.#lookups.length > LOOKUPS_MAX) this.#lookups.shift()?.close();
      } else if (lookup.entries < entries) {
        lookup.refresh();
      }
      return lookup.has(seqnum);
    } catch (error) {
      // Unreadable here means unreadable for journalctl: storing the entry again loses nothing.
      this.#closeLookup(path);
      if (!fs.existsSync(path)) this.forget(path);
      else
        this.#environment.onNotice(`Cannot look for duplicates in "${path}": ${reasonOf(error)}`);
      return false;
    }
  }

  #closeLookup(path: string): void {
    const index = this.#lookups.findIndex((lookup) => lookup.path === path);
    if (index >= 0) this.#lookups.splice(index, 1)[0]?.close();
  }

  #laneFor(entry: Entry, seqnum: number): JournalWriter {
    const lane = this.#chooseLane(entry, seqnum);
    if (lane === undefined) return this.#openLane(entry, seqnum);
    const reason = lane.rotationReason(entry);
    const { fileAgeMaxUsec } = this.#environment;
    // By the entries' own clock: a backlog of last month must not get a file per entry.
    const tooOld =
      fileAgeMaxUsec > 0 &&
      lane.entries > 0 &&
      entry.realtimeUsec - lane.headRealtimeUsec > fileAgeMaxUsec;
    if (reason === undefined && !tooOld) return lane;
    this.#archive(lane);
    return this.#createLane(entry, seqnum);
  }

  /** The lane with the highest tail that takes the entry in order of number and, if possible, of time. */
  #chooseLane(entry: Entry, seqnum: number): JournalWriter | undefined {
    let inTime: JournalWriter | undefined;
    let inOrder: JournalWriter | undefined;
    for (const lane of this.#lanes) {
      if (!lane.fits(entry, seqnum)) continue;
      if (inOrder === undefined || lane.tailSeqnum > inOrder.tailSeqnum) inOrder = lane;
      if (entry.realtimeUsec < lane.tailRealtimeUsec) continue;
      if (inTime === undefined || lane.tailSeqnum > inTime.tailSeqnum) inTime = lane;
    }
    if (inTime !== undefined) return inTime;
    // A clock that keeps jumping must not make a file per jump: then order of number is enough.
    return this.#lanes.length < LANES_MAX ? undefined : inOrder;
  }

  #openLane(entry: Entry, seqnum: number): JournalWriter {
    if (this.#lanes.length >= LANES_MAX) this.#closeLowestLane();
    return this.#reopenLane(entry, seqnum) ?? this.#createLane(entry, seqnum);
  }

  #closeLowestLane(): void {
    const lowest = this.#lanes.reduce((a, b) => (b.tailSeqnum < a.tailSeqnum ? b : a));
    this.#archive(lowest);
  }

  /** Continues the file that was left with the highest fitting tail. */
  #reopenLane(entry: Entry, seqnum: number): JournalWriter | undefined {
    const candidates = this.#files
      .filter((file) => file.state === FileState.offline && file.tailSeqnum < seqnum)
      .sort((a, b) => b.tailSeqnum - a.tailSeqnum);
    for (const file of candidates) {
      const writer = this.#tryReopen(file);
      if (writer === undefined) continue;
      if (writer.fits(entry, seqnum) && entry.realtimeUsec >= writer.tailRealtimeUsec) {
        this.forget(file.path);
        this.#lanes.push(writer);
        if (writer.rotationReason(entry) === undefined) return writer;
        this.#archive(writer);
        return undefined;
      }
      writer.close("offline");
      // Only the best candidate is worth opening: the others end earlier still.
      return undefined;
    }
    return undefined;
  }

  #tryReopen(file: StoredFile): JournalWriter | undefined {
    const { format, cache, fileSizeMaxBytes } = this.#environment;
    try {
      return JournalWriter.reopen(file.path, { ...format, sizeMaxBytes: fileSizeMaxBytes }, cache);
    } catch (error) {
      if (!(error instanceof AgentError)) throw error;
      if (!fs.existsSync(file.path)) {
        this.forget(file.path);
        return undefined;
      }
      if (error.code !== "E_JOURNAL_UNSUPPORTED" && error.code !== "E_JOURNAL_CORRUPT") throw error;
      // Not one to append to: it stays readable, under a name that is never written to.
      file.state = FileState.archived;
      this.#moveFromActiveName(file);
      return undefined;
    }
  }

  #createLane(entry: Entry, seqnum: number): JournalWriter {
    const { directory, format, cache, fileSizeMaxBytes } = this.#environment;
    const { base } = this.#owner;
    const name = this.#owner.claimActiveName(this)
      ? activeFileName(base)
      : this.#archiveName(seqnum, entry.realtimeUsec);
    const writer = JournalWriter.create(
      join(directory, name),
      {
        ...format,
        fileId: randomId128(),
        machineId: machineIdOf(entry, base),
        seqnumId: this.seqnumId,
        dataBuckets: nextDataBuckets(this.#fullFileData, fileSizeMaxBytes),
        sizeMaxBytes: fileSizeMaxBytes,
      },
      cache,
    );
    fsyncDirectory(directory);
    this.#lanes.push(writer);
    return writer;
  }

  /** Gives a full file its final name and lets the owner complete it. */
  #archive(writer: JournalWriter): void {
    this.#lanes = this.#lanes.filter((lane) => lane !== writer);
    this.#closeLookup(writer.path);
    this.#fullFileData = Math.max(this.#fullFileData, writer.dataCount);
    if (writer.path === this.#activePath()) {
      writer.moveTo(
        join(
          this.#environment.directory,
          this.#archiveName(writer.headSeqnum, writer.headRealtimeUsec),
        ),
      );
      fsyncDirectory(this.#environment.directory);
    }
    this.#retiring.push(writer);
    this.#owner.retire(writer);
    this.#environment.onRotated();
  }

  /** A writer failed half way through an entry: readers take it for what it is, an unclean file. */
  #abandon(writer: JournalWriter): void {
    this.drop(writer);
    this.#owner.lost();
    writer.close("offline");
    this.#setAside(writer);
  }

  #setAside(writer: JournalWriter): void {
    const { directory, nowUsec } = this.#environment;
    const name = uncleanFileName(
      this.#owner.base,
      nowUsec(),
      crypto.getRandomValues(new Uint8Array(8)),
    );
    const path = join(directory, name);
    fs.renameSync(writer.path, path);
    this.addFile(path);
  }

  #moveFromActiveName(file: StoredFile): void {
    if (file.path !== this.#activePath()) return;
    const path = join(
      this.#environment.directory,
      this.#archiveName(file.headSeqnum, file.headRealtimeUsec),
    );
    fs.renameSync(file.path, path);
    file.path = path;
  }

  #activePath(): string {
    return join(this.#environment.directory, activeFileName(this.#owner.base));
  }

  /** The archive name, moved on by a microsecond while another file has it: rename() would replace that. */
  #archiveName(headSeqnum: number, headRealtimeUsec: number): string {
    const { directory } = this.#environment;
    for (let realtime = headRealtimeUsec; ; realtime++) {
      const name = archivedFileName(this.#owner.base, this.seqnumId, headSeqnum, realtime);
      if (!fs.existsSync(join(directory, name))) return name;
    }
  }

  toString(): string {
    return `${this.#owner.base}@${formatId128(this.seqnumId)}`;
  }
}

function fsyncDirectory(directory: string): void {
  const fd = fs.openSync(directory, "r");
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}
