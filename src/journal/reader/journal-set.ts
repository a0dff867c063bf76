/**
 * Many journal files as one stream of entries, in sd-journal's order (order.ts). Files may grow, be renamed, deleted
 * and appear while it is read. Nothing that is wrong with a file ends the stream: it is counted and passed over. What
 * may pass is waited for, and what follows in the same sequence with it, so that a tail never stands for unread entries.
 * HOT: guarded by scripts/bench/read.ts.
 */
import { parseId128 } from "../../bytes/id128.ts";
import { AgentError } from "../../errors.ts";
import { BlockCache } from "./block-cache.ts";
import { DataCache } from "./data-cache.ts";
import { type EntryWindow, isInWindow } from "./entry-window.ts";
import { FileTable } from "./file-table.ts";
import { countMissing } from "./gaps.ts";
import { holdBack } from "./hold.ts";
import { fillEntry, type JournalEntry, newJournalEntry } from "./journal-entry.ts";
import type { JournalFile } from "./journal-file.ts";
import { LastEntry } from "./last-entry.ts";
import { beginLines } from "./lines.ts";
import { Merge } from "./merge.ts";
import { Retry } from "./retry.ts";
import { hasEntry } from "./seek.ts";
import type { Selection } from "./selection-types.ts";
import { Sequence } from "./sequence.ts";
import { SetFile } from "./set-file.ts";
import { noteStart, type SequenceTail, type StartPoint, startIndex } from "./start.ts";

/** How far a set was read. */
export interface SetPosition {
  /** Of the last entry. */
  cursor: string;
  /** By seqnum id, 32 hex digits. */
  tails: Map<string, SequenceTail>;
}

export interface JournalSetOptions {
  selection: Selection;
  start: StartPoint;
  window: EntryWindow;
  /** Told of what is wrong with a file, once until it changes. */
  onProblem(path: string, error: AgentError): void;
  /** Told of a file that cannot be read at the moment and is waited for, and, without an error, when it was read on. */
  onDelay(path: string, error: AgentError | undefined): void;
  /** Told of entries that were deleted before they were read: at most so many. */
  onGap(path: string, entries: number): void;
  /** Files that are open at a time, at most; at least 2. */
  openFilesMax: number;
}

export class JournalSet {
  /** Entries that were deleted before they were read, at most. */
  vacuumed = 0;
  /** The last `next()` ended early: there may be an entry behind those that it passed over. */
  isPausing = false;
  readonly #options: JournalSetOptions;
  readonly #entry: JournalEntry;
  readonly #blocks = new BlockCache();
  readonly #table: FileTable;
  readonly #sequences = new Map<string, Sequence>();
  readonly #merge = new Merge((file) => this.#advance(file));
  /** Files without a name that are not read to their end. */
  readonly #deleted = new Set<SetFile>();
  readonly #last = new LastEntry();
  #isBegun = false;

  constructor(options: JournalSetOptions) {
    this.#options = options;
    this.#entry = newJournalEntry(new DataCache(options.selection.hooks));
    this.#table = new FileTable({
      blocks: this.#blocks,
      openFilesMax: options.openFilesMax,
      adopt: (path, file): SetFile => this.#adopt(path, file),
      onProblem: (path, error): void => this.#report(path, error),
      onDelay: options.onDelay,
    });
    for (const [text, tail] of options.start.tails) this.#restore(text, tail);
  }

  /** Fields, entries and files that were passed over, by reason. */
  get damaged(): ReadonlyMap<string, number> {
    return this.#entry.cache.damage;
  }

  /** All files that have a name. */
  get files(): Iterable<SetFile> {
    return this.#table;
  }

  /**
   * Takes in which files there are now.
   * @param isRegular some time after the last regular look: files that are empty since then are told of
   */
  rescan(paths: readonly string[], isRegular = false): void {
    this.#merge.stop();
    const { added, gone, changed } = this.#table.rescan(paths, isRegular);
    for (const file of gone) this.#noteGone(file);
    this.#holdBack();
    if (isRegular) this.#retryDelayed();
    for (const file of changed) this.#retry(file);
    // What a file got before the next one was begun comes first.
    if (added.length > 0) this.refreshAll();
    this.#begin(added);
    for (const sequence of this.#sequences.values()) this.#beginDue(sequence);
  }

  /** Some entries wait for a file that may be read later. */
  get isHolding(): boolean {
    for (const { isDenied } of this.#table.unopened()) if (!isDenied) return true;
    for (const { stage } of this.#table) if (stage === "delayed") return true;
    for (const { isWaiting } of this.#sequences.values()) if (isWaiting) return true;
    return false;
  }

  /** Takes in what was added to a file. @returns false when that takes a rescan */
  refresh(path: string): boolean {
    const file = this.#table.atPath(path);
    if (file === undefined) return !this.#table.knows(path);
    if (file.stage === "idle") {
      this.#merge.stop();
      this.#refresh(file);
    }
    return file.stage !== "finished" && file.stage !== "failed";
  }

  /** The same for all files. */
  refreshAll(): void {
    this.#merge.stop();
    for (const file of [...this.#table, ...this.#deleted]) {
      if (file.stage === "idle") this.#refresh(file);
      // Of the others, only to know how much there is to read.
      else if (file.isOpen && file.isLive) this.#guard(file, () => file.refresh());
    }
  }

  /**
   * The next entry, valid until the next call; undefined when there is none at the moment, or none was found among so
   * many that are not wanted: then `isPausing`.
   */
  next(passedMax = Number.POSITIVE_INFINITY): JournalEntry | undefined {
    const { selection, window } = this.#options;
    const entry = this.#entry;
    this.isPausing = false;
    for (let passed = 0; passed < passedMax; passed++) {
      const file = this.#merge.next();
      if (file === undefined) return undefined;
      if (file.seqnum >= file.sequence.heldFrom) {
        this.#wait(file);
        continue;
      }
      const isInside = isInWindow(file, window);
      if (isInside && !this.#fill(file)) continue;
      file.sequence.note(file);
      if (!isInside || !selection.accepts(entry)) continue;
      this.#last.note(file);
      return entry;
    }
    this.isPausing = true;
    return undefined;
  }

  /** Of the last entry that was returned; undefined before. */
  position(): SetPosition | undefined {
    const { cursor } = this.#last;
    if (cursor === undefined) return undefined;
    const tails = new Map<string, SequenceTail>();
    for (const sequence of this.#sequences.values()) {
      if (sequence.seqnum > 0) tails.set(sequence.text, sequence.tail);
    }
    return { cursor, tails };
  }

  /** Entries that wait to be read, wanted or not, as far as headers tell. */
  backlog(): number {
    let sum = this.#merge.isTaken ? -1 : 0;
    for (const file of this.#table) if (file.stage !== "failed") sum += file.unread;
    for (const file of this.#deleted) sum += file.unread;
    return Math.max(0, sum);
  }

  /** Closes files that are deleted, read or not: before, their space is not free. */
  giveUpDeleted(): void {
    this.#merge.stop();
    for (const file of [...this.#deleted]) this.#lose(file);
  }

  close(): void {
    this.#merge.stop();
    for (const file of [...this.#table, ...this.#deleted]) this.#table.close(file);
  }

  #restore(text: string, { seqnum, realtimeUsec, bootId }: SequenceTail): void {
    const id = parseId128(text);
    const boot = parseId128(bootId);
    if (id === undefined || boot === undefined) return;
    const sequence = this.#sequenceOf(id);
    sequence.note({ seqnum, realtimeUsec, bootWords: new Int32Array(boot.buffer) });
    sequence.isInterrupted = true;
    sequence.isRestored = true;
  }

  #sequenceOf(id: Uint8Array): Sequence {
    const fresh = new Sequence(id);
    const known = this.#sequences.get(fresh.text);
    if (known !== undefined) return known;
    this.#sequences.set(fresh.text, fresh);
    return fresh;
  }

  #adopt(path: string, file: JournalFile): SetFile {
    return new SetFile({
      path,
      file,
      sequence: this.#sequenceOf(file.header.seqnumId),
      selection: this.#options.selection,
      onDamage: (reason, count): void => this.#count(reason, count),
    });
  }

  /** New files: finds where to begin, and begins with those whose turn it is. */
  #begin(added: readonly SetFile[]): void {
    const isFirst = !this.#isBegun;
    this.#isBegun = true;
    const { start } = this.#options;
    const groups = Map.groupBy(added, ({ sequence }) => sequence);
    for (const [sequence, files] of groups) {
      if (isFirst && sequence.seqnum > 0) this.#examineTail(sequence, files);
    }
    for (const file of added) {
      file.isEarly = isFirst;
      this.#visit(file, () => this.#place(file));
    }
    if (isFirst && start.lines !== undefined) {
      beginLines(added, start.lines, {
        visit: (file, look) => this.#visit(file, look),
        isWanted: (file) => this.#isWanted(file),
      });
      for (const file of added) file.isPlaced = true;
    }
    for (const file of added) {
      if (isFirst) this.#visit(file, () => noteStart(file));
    }
    for (const file of added) if (file.stage === "waiting") file.sequence.wait(file);
    for (const sequence of groups.keys()) this.#beginDue(sequence);
  }

  /** Finds out how reading goes on behind the last entry of a sequence. */
  #examineTail(sequence: Sequence, files: readonly SetFile[]): void {
    const known = files.filter(({ header }) => header.entries > 0);
    const heads = known.map(({ header }) => header.headEntrySeqnum);
    sequence.isInterrupted = heads.every((head) => head > sequence.seqnum);
    for (const file of files) {
      this.#visit(file, () => {
        if (hasEntry(file.file, sequence)) sequence.mayReuse = false;
      });
    }
  }

  #place(file: SetFile): void {
    file.index = startIndex(file, this.#options.start, file.isEarly);
    file.isPlaced = true;
  }

  /** Has a look into a file whose turn has not come. */
  #visit(file: SetFile, look: () => void): void {
    if (file.stage !== "waiting") return;
    const wasOpen = file.isOpen;
    if (!this.#reopen(file)) return;
    this.#guard(file, look);
    if (!wasOpen) this.#table.close(file);
  }

  #beginDue(sequence: Sequence): void {
    // It may be called while it runs, by what it does.
    if (sequence.isBeginning) return;
    sequence.isBeginning = true;
    for (let file = sequence.takeDue(); file !== undefined; file = sequence.takeDue()) {
      this.#beginFile(file);
    }
    sequence.isBeginning = false;
  }

  #beginFile(file: SetFile): void {
    file.stage = "idle";
    if (file.isLost) this.#finish(file, "finished");
    else if (this.#reopen(file)) this.#guard(file, () => this.#settle(file));
  }

  /** The entry that came next of this file was dealt with. */
  #advance(file: SetFile): void {
    file.index++;
    if (file.retry !== undefined) this.#noteReadOn(file);
    if (!file.isOpen && !this.#reopen(file)) return;
    try {
      if (!file.settle()) this.#settle(file);
    } catch (error) {
      this.#fail(file, error);
    }
  }

  #refresh(file: SetFile): void {
    this.#guard(file, () => {
      if (file.refresh() || !file.isLive) this.#settle(file);
    });
  }

  /** Makes the file ready, or lets it rest when it has no further entry. */
  #settle(file: SetFile): void {
    // What was added meanwhile comes before what later files have.
    if (file.settle() || (file.isLive && !file.isStalled && file.refresh() && file.settle())) {
      if (file.stage === "ready") return;
      if (file.sequence.isInterrupted) this.#countGap(file);
      file.stage = "ready";
      file.sequence.begin(file);
      this.#merge.add(file);
      this.#blocks.widen(this.#merge.size);
      return;
    }
    if (file.isLive || file.isStalled) this.#leave(file, "idle");
    else this.#finish(file, "finished");
  }

  #leave(file: SetFile, stage: "idle" | "finished" | "failed"): void {
    if (file.retry !== undefined && stage !== "failed") this.#noteReadOn(file);
    file.stage = stage;
    file.sequence.end(file);
    this.#merge.remove(file);
    file.sequence.noteEnd(file.header, stage === "failed" ? 0 : file.unread);
    this.#beginDue(file.sequence);
  }

  #finish(file: SetFile, stage: "finished" | "failed"): void {
    this.#deleted.delete(file);
    this.#leave(file, stage);
    this.#table.close(file);
  }

  /** What is not read of the file is gone. */
  #lose(file: SetFile): void {
    const { unread } = file;
    file.retry = undefined;
    if (unread > 0) this.#noteLoss(file.path, unread);
    file.index = file.header.entries;
    // More may have been written to it than was known.
    if (file.isLive) file.sequence.isInterrupted = true;
    if (file.stage !== "waiting") {
      this.#finish(file, "finished");
      return;
    }
    // The sequence is not there yet.
    file.isLost = true;
    this.#deleted.delete(file);
    this.#table.close(file);
  }

  #noteGone(file: SetFile): void {
    file.isDeleted = true;
    if (file.stage === "finished" || file.isLost) return;
    if (!file.isOpen) {
      this.#lose(file);
      return;
    }
    this.#deleted.add(file);
    if (file.stage === "idle") this.#refresh(file);
    else this.#guard(file, () => file.file.afterRead());
  }

  #reopen(file: SetFile): boolean {
    let isSame = true;
    const isOpen = this.#guard(file, () => {
      isSame = this.#table.open(file);
      if (isSame && file.stage === "ready") file.settle();
    });
    if (!isSame) this.#lose(file);
    return isOpen && isSame;
  }

  #countGap(file: SetFile): void {
    file.sequence.isInterrupted = false;
    const missing = countMissing(file, this.#table);
    if (missing > 0) this.#noteLoss(file.path, missing);
  }

  #noteLoss(path: string, entries: number): void {
    this.vacuumed += entries;
    this.#options.onGap(path, entries);
  }

  #isWanted(file: SetFile): boolean {
    const { selection, window } = this.#options;
    return isInWindow(file, window) && this.#fill(file) && selection.accepts(this.#entry);
  }

  /** Makes the entry of the one that comes next of this file. */
  #fill(file: SetFile): boolean {
    if (!file.isOpen && !this.#reopen(file)) return false;
    try {
      fillEntry(file.file, this.#entry);
      return true;
    } catch (error) {
      this.#fail(file, error);
      return false;
    }
  }

  /** @returns whether it worked; if not, the file is set aside */
  #guard(file: SetFile, action: () => void): boolean {
    try {
      action();
      return true;
    } catch (error) {
      this.#fail(file, error);
      return false;
    }
  }

  /** @throws what is not the file's fault */
  #fail(file: SetFile, error: unknown): void {
    if (!(error instanceof AgentError)) throw error;
    if (file.isOpen && file.file.isErased) {
      this.#lose(file);
      return;
    }
    if (error.code === "E_IO" && !file.isDeleted && this.#delay(file, error)) return;
    this.#report(file.path, error);
    this.#finish(file, "failed");
  }

  /** Sets a file aside to be tried again. @returns false when that was done often enough */
  #delay(file: SetFile, error: AgentError): boolean {
    if (file.retry === undefined) this.#options.onDelay(file.path, error);
    file.retry ??= new Retry();
    file.retry.fail();
    if (file.retry.isUsedUp) {
      // What comes of it after all is held against what was read meanwhile.
      file.isEarly = false;
      return false;
    }
    file.stage = "delayed";
    file.sequence.end(file);
    this.#merge.remove(file);
    this.#table.close(file);
    file.sequence.holdFrom(file.nextSeqnum);
    return true;
  }

  #retryDelayed(): void {
    for (const file of this.#table) {
      if (file.stage !== "delayed") continue;
      file.retry?.pass();
      if (file.retry?.isDue === true) this.#retry(file);
    }
    this.#holdBack();
  }

  /** Goes on with a file that was set aside, or at its end. */
  #retry(file: SetFile): void {
    const { sequence } = file;
    file.stage = "waiting";
    this.#visit(file, () => {
      if (file.isPlaced) return;
      if (sequence.seqnum > 0 && hasEntry(file.file, sequence)) sequence.mayReuse = false;
      this.#place(file);
    });
    if (file.stage === "waiting") sequence.wait(file);
  }

  #holdBack(): void {
    const files = this.#table;
    holdBack({ sequences: this.#sequences, files, unopened: files.unopened() });
  }

  /** It waits until what it is held back for was read. */
  #wait(file: SetFile): void {
    this.#merge.remove(file);
    file.sequence.end(file);
    file.sequence.wait(file);
  }

  #noteReadOn(file: SetFile): void {
    file.retry = undefined;
    this.#options.onDelay(file.path, undefined);
  }

  #report(path: string, error: AgentError): void {
    this.#count("file-unreadable", 1);
    this.#options.onProblem(path, error);
  }

  #count(reason: string, count: number): void {
    const { damage } = this.#entry.cache;
    damage.set(reason, (damage.get(reason) ?? 0) + count);
  }
}
