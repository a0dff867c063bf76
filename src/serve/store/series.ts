/**
 * All entries of one sender under one sequence-number id: which are stored, and the files that take more.
 *
 * A journal file holds its entries by rising sequence number, and journalctl bisects it by time. So an
 * entry that arrives late, or whose clock went back, goes to another open file ("lane") where it fits.
 */
import { join } from "node:path";
import { randomId128 } from "../../bytes/id128.ts";
import { AgentError, reasonOf } from "../../errors.ts";
import type { Entry } from "../../journal/entry.ts";
import { spellOutFields } from "../../journal/field-dictionary.ts";
import { FileState } from "../../journal/format.ts";
import { JournalWriter } from "../../journal/writer.ts";
import {
  archivePath,
  exists,
  removeFile,
  renameFile,
  setAside,
  syncDirectory,
  syncFile,
} from "./directory.ts";
import type { StoreEnvironment } from "./environment.ts";
import { nextDataBuckets } from "./hash-table-size.ts";
import { LateEntries } from "./late-entries.ts";
import { machineIdOf } from "./machine-id.ts";
import { activeFileName } from "./names.ts";
import {
  closedFile,
  isInPlace,
  isShortage,
  readStoredFile,
  type StoredFile,
} from "./stored-file.ts";

/** Files of one series open for writing at once. */
const LANES_MAX = 4;

/** How a file ends: full and never written to again, or to be continued. */
export type EndState = "archived" | "offline";

/** What a series needs of the sender it belongs to. */
export interface SeriesOwner {
  readonly base: string;
  /** Whether this series may write `<base>.journal`; asked when it needs a new file. */
  claimActiveName(series: Series): boolean;
  /** A file was opened for writing: time to see whether there are too many. */
  laneOpened(series: Series): void;
  /** The writer takes no more entries; it is synced and closed in the background. */
  retire(writer: JournalWriter, state: EndState): void;
  /** Takes back a writer whose file was to be continued later; false when it is too late. */
  reclaim(writer: JournalWriter): boolean;
  /**
   * Entries may not be on disk: whoever added them must be told.
   * @param writer that was given up with them
   */
  lost(code: "E_NO_SPACE" | "E_IO", writer?: JournalWriter): void;
}

export class Series {
  readonly seqnumId: Uint8Array;
  readonly #environment: StoreEnvironment;
  readonly #owner: SeriesOwner;
  /** Files not open for writing. */
  #files: StoredFile[] = [];
  #lanes: JournalWriter[] = [];
  /** Files that the owner is completing; from then on they are among `#files`. */
  #retiring: JournalWriter[] = [];
  /** Entries that wait for more of their kind before a file is opened for them. */
  readonly #late = new LateEntries();
  /** Highest number stored in any file. */
  #tailSeqnum = 0;
  /** DATA objects of the fullest file so far. */
  #dataMax = 0;

  constructor(seqnumId: Uint8Array, environment: StoreEnvironment, owner: SeriesOwner) {
    this.seqnumId = seqnumId.slice();
    this.#environment = environment;
    this.#owner = owner;
  }

  get tailSeqnum(): number {
    return this.#tailSeqnum;
  }

  /** Files that take entries. */
  get lanes(): readonly JournalWriter[] {
    return this.#lanes;
  }

  /** Files that do not. */
  get files(): readonly StoredFile[] {
    return this.#files;
  }

  get isEmpty(): boolean {
    const files = this.#files.length + this.#lanes.length + this.#retiring.length;
    return files === 0 && this.#late.isEmpty;
  }

  /** Time and number of the newest entry in any file; undefined when there is none. */
  newest(): { tailSeqnum: number; tailRealtimeUsec: number } | undefined {
    let newest: { tailSeqnum: number; tailRealtimeUsec: number } | undefined;
    for (const file of [...this.#files, ...this.#retiring, ...this.#lanes]) {
      if (file.entries === 0) continue;
      if (file.tailRealtimeUsec >= (newest?.tailRealtimeUsec ?? 0)) newest = file;
    }
    return newest;
  }

  /** Whether an entry that has an identity is stored, published or not. @throws AgentError E_IO, E_NO_SPACE */
  isStored(entry: Entry): boolean {
    const { seqnum } = entry;
    if (this.#late.has(entry)) return true;
    if (seqnum > this.#tailSeqnum) return false;
    for (const lane of this.#lanes) if (this.#writerHolds(lane, entry)) return true;
    for (const writer of this.#retiring) if (this.#writerHolds(writer, entry)) return true;
    // From the end: a file that turns out to be gone is taken out.
    for (let i = this.#files.length - 1; i >= 0; i--) {
      const file = this.#files[i];
      if (file === undefined || !spans(file, seqnum)) continue;
      if (this.#fileHolds(file, entry)) return true;
    }
    return false;
  }

  /**
   * Takes an entry that is not stored yet; if it is late, `settle` stores it.
   * @throws AgentError E_NO_SPACE, E_IO
   */
  append(entry: Entry, seqnum: number): void {
    const isLate = this.#lanes.length > 0 && this.#chooseLane(entry, seqnum) === undefined;
    if (isLate) this.#holdBack(entry, seqnum);
    else this.#store(entry, seqnum);
    if (seqnum > this.#tailSeqnum) this.#tailSeqnum = seqnum;
  }

  #holdBack(entry: Entry, seqnum: number): void {
    spellOutFields(entry);
    if (this.#late.add(entry, seqnum)) return;
    this.settle();
    this.#late.add(entry, seqnum);
  }

  /** Stores the late entries. @throws AgentError E_NO_SPACE, E_IO */
  settle(): void {
    if (!this.#late.isEmpty) this.#late.settle((entry, seqnum) => this.#store(entry, seqnum));
  }

  #store(entry: Entry, seqnum: number): void {
    const writer = this.#laneFor(entry, seqnum);
    try {
      writer.append(entry, seqnum);
    } catch (error) {
      this.giveUp(writer, error);
      throw error;
    }
  }

  /** A file is closed, or was found: it is one of those to look numbers up in. */
  addFile(file: StoredFile): void {
    this.#retiring = this.#retiring.filter((writer) => writer.path !== file.path);
    if (!this.#files.some((known) => known.path === file.path)) this.#files.push(file);
    if (file.tailSeqnum > this.#tailSeqnum) this.#tailSeqnum = file.tailSeqnum;
    if (file.data > this.#dataMax) this.#dataMax = file.data;
  }

  /** A file that is not open for writing was deleted. */
  forget(path: string): void {
    this.#files = this.#files.filter((file) => file.path !== path);
    this.#environment.lookups.forget(path);
  }

  /** Has all files completed in the background; they may be reopened. @throws AgentError E_NO_SPACE, E_IO */
  shelve(): void {
    this.settle();
    for (const lane of this.#lanes) this.#retire(lane, "offline");
  }

  /** Closes at once what takes entries, all synced or not. */
  closeAtLast(): void {
    this.#settleAtLast();
    for (const lane of this.#lanes) this.completeNow(lane, "offline");
  }

  /** Holds no descriptors to look numbers up with. */
  closeLookups(): void {
    for (const file of this.#files) this.#environment.lookups.forget(file.path);
  }

  #settleAtLast(): void {
    try {
      this.settle();
    } catch (error) {
      this.#owner.lost("E_IO");
      this.#environment.onNotice(`Gave up late entries: ${reasonOf(error)}`);
    }
  }

  /** Closes a writer at once; one that cannot be completed is given up. */
  completeNow(writer: JournalWriter, state: EndState): void {
    try {
      writer.close(state);
      this.completed(writer, state);
    } catch (error) {
      this.giveUp(writer, error);
    }
  }

  /** A writer is closed, with all it got on disk. */
  completed(writer: JournalWriter, state: EndState): void {
    this.#lanes = this.#lanes.filter((lane) => lane !== writer);
    this.addFile(closedFile(writer, FileState[state]));
    if (state === "archived") this.#environment.onArchived();
  }

  /**
   * Stops using a file that failed or that somebody changed. What it holds stays readable, as that of an unclean
   * file, but only after a full disk is it counted as stored: what a failed sync leaves on disk nobody knows.
   */
  giveUp(writer: JournalWriter, error: unknown): void {
    const { lookups, onNotice } = this.#environment;
    const { path } = writer;
    this.#lanes = this.#lanes.filter((lane) => lane !== writer);
    this.#retiring = this.#retiring.filter((other) => other !== writer);
    lookups.forget(path);
    const isFull = error instanceof AgentError && error.code === "E_NO_SPACE";
    this.#owner.lost(isFull ? "E_NO_SPACE" : "E_IO", writer);
    onNotice(`Gave up writing to "${path}": ${reasonOf(error)}`);
    const isWhole = isInPlace(writer);
    try {
      writer.close("offline");
    } catch {
      // It is closed all the same, and known to be in doubt.
    }
    this.#keepAside(path, isFull && isWhole);
  }

  #keepAside(path: string, isWhole: boolean): void {
    const { directory, nowUsec, onNotice } = this.#environment;
    try {
      if (!exists(path)) return;
      const isCounted = isWhole && syncFile(path) === undefined;
      // Even if somebody put another file there: the next one of ours may have to have this name.
      const target = setAside(path, directory, this.#owner.base, nowUsec(), !isCounted);
      const file = isCounted ? readStoredFile(target) : undefined;
      if (file !== undefined) this.addFile({ ...file, state: FileState.archived });
    } catch (error) {
      onNotice(`Cannot set "${path}" aside: ${reasonOf(error)}`);
    }
  }

  #writerHolds(writer: JournalWriter, entry: Entry): boolean {
    if (!spans(writer, entry.seqnum)) return false;
    if (!writer.isClosed) writer.publish();
    try {
      return this.#environment.lookups.holds(writer.path, entry, writer.entries);
    } catch (error) {
      if (isShortage(error)) throw error;
      this.giveUp(writer, error);
      return false;
    }
  }

  #fileHolds(file: StoredFile, entry: Entry): boolean {
    try {
      return this.#environment.lookups.holds(file.path, entry, file.entries);
    } catch (error) {
      if (isShortage(error)) throw error;
      // Unreadable here means unreadable for journalctl: storing the entry again loses nothing.
      this.forget(file.path);
      if (exists(file.path)) {
        const reason = reasonOf(error);
        this.#environment.onNotice(`Cannot look for duplicates in "${file.path}": ${reason}`);
      }
      return false;
    }
  }

  #laneFor(entry: Entry, seqnum: number): JournalWriter {
    const lane = this.#chooseLane(entry, seqnum) ?? this.#openLane(entry, seqnum);
    if (lane !== undefined) {
      if (!this.#isFull(lane, entry)) return lane;
      this.#archive(lane);
    }
    return this.#createLane(entry, seqnum);
  }

  #isFull(lane: JournalWriter, entry: Entry): boolean {
    if (lane.rotationReason(entry) !== undefined) return true;
    const { fileAgeMaxUsec } = this.#environment;
    // By the entries' own clock: a backlog of last month must not get a file per entry.
    const ageUsec = entry.realtimeUsec - lane.headRealtimeUsec;
    return fileAgeMaxUsec > 0 && lane.entries > 0 && ageUsec > fileAgeMaxUsec;
  }

  /** The lane that takes the entry most closely in order of number and, if possible, of time. */
  #chooseLane(entry: Entry, seqnum: number): JournalWriter | undefined {
    let inTime: JournalWriter | undefined;
    let inOrder: JournalWriter | undefined;
    for (const lane of this.#lanes) {
      if (!lane.fits(entry, seqnum)) continue;
      if (inOrder === undefined || isCloser(lane, inOrder)) inOrder = lane;
      if (entry.realtimeUsec < lane.tailRealtimeUsec) continue;
      if (inTime === undefined || isCloser(lane, inTime)) inTime = lane;
    }
    if (inTime !== undefined) return inTime;
    // A clock that keeps jumping must not make a file per jump: then order of number is enough.
    return this.#lanes.length < LANES_MAX ? undefined : inOrder;
  }

  /** Makes room for one more lane, and continues the closed file with the highest tail that takes the entry. */
  #openLane(entry: Entry, seqnum: number): JournalWriter | undefined {
    if (this.#lanes.length >= LANES_MAX) {
      this.#archive(this.#lanes.reduce((a, b) => (b.tailSeqnum < a.tailSeqnum ? b : a)));
    }
    const reclaimed = this.#reclaimLane(entry, seqnum);
    if (reclaimed !== undefined) return reclaimed;
    for (let file = this.#bestToReopen(entry, seqnum); file !== undefined; ) {
      const writer = this.#tryReopen(file);
      if (writer === undefined) {
        file = this.#bestToReopen(entry, seqnum);
        continue;
      }
      if (!writer.fits(entry, seqnum)) {
        // Its monotonic clock is ahead. The others end earlier still: not worth opening.
        writer.close("offline");
        return undefined;
      }
      this.forget(file.path);
      this.#addLane(writer);
      return writer;
    }
    return undefined;
  }

  #reclaimLane(entry: Entry, seqnum: number): JournalWriter | undefined {
    const writer = this.#retiring.find((one) => {
      return one.fits(entry, seqnum) && entry.realtimeUsec >= one.tailRealtimeUsec;
    });
    if (writer === undefined || !this.#owner.reclaim(writer)) return undefined;
    this.#retiring = this.#retiring.filter((one) => one !== writer);
    this.#addLane(writer);
    return writer;
  }

  #bestToReopen(entry: Entry, seqnum: number): StoredFile | undefined {
    let best: StoredFile | undefined;
    for (const file of this.#files) {
      if (file.state !== FileState.offline || file.tailSeqnum >= seqnum) continue;
      if (file.tailRealtimeUsec > entry.realtimeUsec) continue;
      if (best === undefined || file.tailSeqnum > best.tailSeqnum) best = file;
    }
    return best;
  }

  /** @returns undefined when this file is not to be continued, which its state says from now on */
  #tryReopen(file: StoredFile): JournalWriter | undefined {
    const { directory, format, cache, fileSizeMaxBytes } = this.#environment;
    try {
      return JournalWriter.reopen(file.path, { ...format, sizeMaxBytes: fileSizeMaxBytes }, cache);
    } catch (error) {
      if (!(error instanceof AgentError)) throw error;
      if (!exists(file.path)) {
        this.forget(file.path);
        return undefined;
      }
      if (error.code !== "E_JOURNAL_UNSUPPORTED" && error.code !== "E_JOURNAL_CORRUPT") throw error;
      // Not one to append to: it stays readable, under a name that is never written to.
      file.state = FileState.archived;
      if (file.path !== this.#activePath()) return undefined;
      const { headSeqnum, headRealtimeUsec } = file;
      const { base } = this.#owner;
      const path = archivePath(directory, base, this.seqnumId, headSeqnum, headRealtimeUsec);
      renameFile(file.path, path);
      this.#environment.lookups.forget(file.path);
      file.path = path;
      return undefined;
    }
  }

  #createLane(entry: Entry, seqnum: number): JournalWriter {
    const { directory, format, cache, fileSizeMaxBytes } = this.#environment;
    const { base } = this.#owner;
    spellOutFields(entry);
    const path = this.#owner.claimActiveName(this)
      ? this.#activePath()
      : archivePath(directory, base, this.seqnumId, seqnum, entry.realtimeUsec);
    const writer = JournalWriter.create(
      path,
      {
        ...format,
        fileId: randomId128(),
        machineId: machineIdOf(entry, base),
        seqnumId: this.seqnumId,
        dataBuckets: nextDataBuckets(this.#dataMax, fileSizeMaxBytes),
        sizeMaxBytes: fileSizeMaxBytes,
      },
      cache,
    );
    try {
      syncDirectory(directory);
    } catch (error) {
      writer.close("offline");
      removeFile(path);
      throw error;
    }
    this.#addLane(writer);
    return writer;
  }

  #addLane(writer: JournalWriter): void {
    this.#lanes.push(writer);
    this.#owner.laneOpened(this);
  }

  /** Gives a full file its final name and has it completed. */
  #archive(writer: JournalWriter): void {
    const { directory, lookups } = this.#environment;
    this.#dataMax = Math.max(this.#dataMax, writer.dataCount);
    try {
      if (writer.path === this.#activePath()) {
        const { headSeqnum, headRealtimeUsec } = writer;
        const { base } = this.#owner;
        lookups.forget(writer.path);
        writer.moveTo(archivePath(directory, base, this.seqnumId, headSeqnum, headRealtimeUsec));
        syncDirectory(directory);
      }
    } finally {
      // Under whatever name, what it holds has to reach the disk.
      freeMemory(writer);
      this.#retire(writer, "archived");
    }
  }

  #retire(writer: JournalWriter, state: EndState): void {
    this.#lanes = this.#lanes.filter((lane) => lane !== writer);
    this.#retiring.push(writer);
    this.#owner.retire(writer, state);
  }

  #activePath(): string {
    return join(this.#environment.directory, activeFileName(this.#owner.base));
  }
}

/** Of what only appending needs: the next file can have it at once. */
function freeMemory(writer: JournalWriter): void {
  try {
    writer.endAppending();
  } catch {
    // It cannot be published now: retiring it tries again, and says so.
  }
}

/**
 * Which of two lanes that both take an entry is the closer one. By the monotonic clock first: of two
 * interleaved clocks each keeps to its lane, and does not spoil the other's.
 */
function isCloser(lane: JournalWriter, other: JournalWriter): boolean {
  if (lane.tailMonotonicUsec !== other.tailMonotonicUsec) {
    return lane.tailMonotonicUsec > other.tailMonotonicUsec;
  }
  return lane.tailSeqnum > other.tailSeqnum;
}

function spans(file: StoredFile | JournalWriter, seqnum: number): boolean {
  return file.entries > 0 && seqnum >= file.headSeqnum && seqnum <= file.tailSeqnum;
}
