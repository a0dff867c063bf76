/**
 * One journal file on its way through a JournalSet: where reading is, and the entry that comes next of it.
 * HOT: guarded by scripts/bench/read.ts.
 */
import { dirname } from "node:path";
import { isEqualId128 } from "../../bytes/id128.ts";
import { AgentError } from "../../errors.ts";
import { FileState } from "../format.ts";
import type { JournalHeader } from "../header.ts";
import type { BlockCache } from "./block-cache.ts";
import { JournalFile } from "./journal-file.ts";
import { copyBoot, type Location } from "./order.ts";
import type { Retry } from "./retry.ts";
import type { FileSelector, Selection } from "./selection-types.ts";
import type { Sequence } from "./sequence.ts";

/**
 * Where a file is: not begun, or held back; with an entry that comes next; waiting for more of them; not readable for
 * now; at its end; or unusable.
 */
export type FileStage = "waiting" | "ready" | "idle" | "delayed" | "finished" | "failed";

/** The smallest an entry can be: header, one item. */
const ENTRY_SIZE_MIN = 72;

export interface SetFileOptions {
  path: string;
  file: JournalFile;
  sequence: Sequence;
  selection: Selection;
  /** Told of entries that cannot be read: why, and how many. */
  onDamage(reason: string, count: number): void;
}

export class SetFile implements Location {
  path: string;
  readonly sequence: Sequence;
  stage: FileStage = "waiting";
  /** Of the entry that comes next, or is looked at next. */
  index = 0;
  seqnum = 0;
  readonly bootWords = new Int32Array(4);
  monotonicUsec = 0;
  realtimeUsec = 0;
  xorHashHigh = 0;
  xorHashLow = 0;
  /** Its name is gone from all directories. */
  isDeleted = false;
  /** What it had is gone, and was counted. */
  isLost = false;
  /** Where to begin in it was found out. */
  isPlaced = false;
  /** It was there at the beginning, and is begun as all that were. */
  isEarly = false;
  /** It could not be read, and was not read on since. */
  retry: Retry | undefined;
  /** An entry is not there yet that the header tells of. */
  isStalled = false;

  #file: JournalFile | undefined;
  /** What stays known while it is closed. */
  #header: JournalHeader;
  #size: number;
  #selector: FileSelector | undefined;
  readonly #options: SetFileOptions;
  /** Entries before this one were published long ago: what is wrong with them stays wrong. */
  #settled = 0;

  constructor(options: SetFileOptions) {
    this.#options = options;
    this.path = options.path;
    this.sequence = options.sequence;
    this.#file = options.file;
    this.#header = options.file.header;
    this.#size = options.file.size;
    this.#selector = options.selection.open(options.file);
  }

  /** @throws RangeError when it is closed */
  get file(): JournalFile {
    if (this.#file === undefined) throw new RangeError(`Cannot read "${this.path}": it is closed`);
    return this.#file;
  }

  get isOpen(): boolean {
    return this.#file !== undefined;
  }

  get header(): JournalHeader {
    return this.#file === undefined ? this.#header : this.#file.header;
  }

  /** Entries that are still to be read have this number or a higher one. */
  get nextSeqnum(): number {
    return Math.max(this.seqnum, this.header.headEntrySeqnum);
  }

  get directory(): string {
    return dirname(this.path);
  }

  /** Entries from `index` on. Not more than the file has room for, whatever its header says. */
  get unread(): number {
    const fit = Math.floor((this.#file?.size ?? this.#size) / ENTRY_SIZE_MIN);
    return Math.max(0, Math.min(this.header.entries - this.index, fit));
  }

  /** Whether somebody may append to it. */
  get isLive(): boolean {
    return this.header.state !== FileState.archived && !this.path.endsWith("~");
  }

  /**
   * Reads on from `index` to a sound entry that may be wanted.
   * @returns whether there is one
   * @throws AgentError E_IO; E_JOURNAL_CORRUPT when the file was erased
   */
  settle(): boolean {
    const selector = this.#selector;
    for (;;) {
      if (selector !== undefined) this.index = selector.next(this.index);
      if (this.index >= this.header.entries) return false;
      const offset = this.#read();
      if (offset > 0) return true;
      if (!this.#passDamage(offset)) return false;
    }
  }

  /**
   * Reads the entry at an index.
   * @returns false when it is damaged
   * @throws AgentError E_IO; E_JOURNAL_CORRUPT when the file was erased
   */
  moveTo(index: number): boolean {
    this.index = index;
    return this.#read() > 0;
  }

  /** Indices from `start` up to `end` of entries that may be wanted. @throws AgentError E_IO */
  candidates(start: number, end: number): number[] {
    const indices: number[] = [];
    for (let index = start; index < end; index++) {
      if (this.#selector !== undefined) index = this.#selector.next(index);
      if (index < end) indices.push(index);
    }
    return indices;
  }

  /**
   * Takes in what was published since, if it is open.
   * @returns whether there may be an entry now
   * @throws AgentError E_IO, E_JOURNAL_CORRUPT when it cannot be used any more
   */
  refresh(): boolean {
    const { file } = this;
    const before = file.header.entries;
    const hasMore = file.refresh();
    if (hasMore) this.#selector?.refresh();
    else if (this.isStalled) file.forgetUnread();
    if (this.isStalled) this.#settled = before;
    const mayGoOn = hasMore || this.isStalled;
    this.isStalled = false;
    return mayGoOn;
  }

  /** Gives the descriptor back; `open` goes on where it was. */
  close(): void {
    if (this.#file === undefined) return;
    this.#header = this.#file.header;
    this.#size = this.#file.size;
    this.#file.close();
    this.#file = undefined;
    this.#selector = undefined;
  }

  /**
   * @returns false when another file is there now
   * @throws AgentError E_IO, E_JOURNAL_CORRUPT, E_JOURNAL_UNSUPPORTED
   */
  open(blocks: BlockCache): boolean {
    if (this.#file !== undefined) return true;
    const file = new JournalFile(this.path, blocks);
    if (!isEqualId128(file.header.fileId, this.header.fileId)) {
      file.close();
      return false;
    }
    try {
      this.#selector = this.#options.selection.open(file);
    } catch (error) {
      file.close();
      throw error;
    }
    this.#file = file;
    return true;
  }

  /**
   * The entry at `index`.
   * @returns its offset; 0 or less when it cannot be read: 0 when that is its own fault, -1 when it cannot be found
   */
  #read(): number {
    const { file } = this;
    let isFound = false;
    try {
      const offset = file.entryOffset(this.index);
      isFound = true;
      if (offset === 0) return 0;
      file.readEntry(offset, true);
      this.#copyNumbers(file);
      return offset;
    } catch (error) {
      if (!(error instanceof AgentError) || error.code !== "E_JOURNAL_CORRUPT") throw error;
      if (file.isErased) throw error;
      return isFound ? 0 : -1;
    }
  }

  #copyNumbers(file: JournalFile): void {
    this.seqnum = file.seqnum;
    this.monotonicUsec = file.monotonicUsec;
    this.realtimeUsec = file.realtimeUsec;
    this.xorHashHigh = file.xorHashHigh;
    this.xorHashLow = file.xorHashLow;
    copyBoot(file.bootWords, this.bootWords);
  }

  /**
   * @param offset what #read() returned
   * @returns whether to go on with the next entry
   */
  #passDamage(offset: number): boolean {
    if (this.isLive && this.index >= this.#settled) {
      this.isStalled = true;
      return false;
    }
    if (offset === -1) {
      this.#options.onDamage("entries-unreachable", this.unread);
      this.index = this.file.header.entries;
      return false;
    }
    this.#options.onDamage("entry-damaged", 1);
    this.index++;
    return true;
  }
}
