/**
 * Which journal files there are, by inode: a file that is renamed is the same one, another one under an old name is
 * not, and one that is found twice counts once.
 */
import fs from "node:fs";
import { AgentError, errnoOf } from "../../errors.ts";
import type { BlockCache } from "./block-cache.ts";
import { JournalFile } from "./journal-file.ts";
import type { SetFile } from "./set-file.ts";

export interface FileTableOptions {
  blocks: BlockCache;
  openFilesMax: number;
  /** Takes a new file in. */
  adopt(path: string, file: JournalFile): SetFile;
  /** Told once of each file that cannot be used, and again when it has changed and still cannot. */
  onProblem(path: string, error: AgentError): void;
}

/** What a look at the directories found. */
export interface Changes {
  added: SetFile[];
  /** There is no name for them any more. */
  gone: SetFile[];
  /** At their end or unusable when they were looked at last, and changed since. */
  changed: SetFile[];
}

interface Row {
  file: SetFile | undefined;
  /** Of the file when it was looked at last: time of change and size. */
  signature: string;
  /** The same at the last regular look. */
  seenSignature: string;
  round: number;
  /** It cannot be used, which was told. */
  isReported: boolean;
  /** That may change without a change of the file. */
  isPassing: boolean;
}

/** No descriptors, no memory. */
const PASSING_ERRORS = ["EMFILE", "ENFILE", "ENOMEM"];

export class FileTable {
  readonly #options: FileTableOptions;
  readonly #rows = new Map<string, Row>();
  #byPath = new Map<string, Row>();
  #round = 0;
  /** Files that are open. */
  #open = 0;

  constructor(options: FileTableOptions) {
    this.#options = options;
  }

  *[Symbol.iterator](): Generator<SetFile> {
    for (const { file } of this.#rows.values()) if (file !== undefined) yield file;
  }

  /** Undefined for a file that cannot be used as well. */
  atPath(path: string): SetFile | undefined {
    return this.#byPath.get(path)?.file;
  }

  /** Whether it was there at the last look. */
  knows(path: string): boolean {
    return this.#byPath.has(path);
  }

  /**
   * Looks at all files again.
   * @param isRegular some time after the last regular look: what is empty since then is not about to be written
   */
  rescan(paths: readonly string[], isRegular: boolean): Changes {
    this.#round++;
    const changes: Changes = { added: [], gone: [], changed: [] };
    const byPath = new Map<string, Row>();
    for (const path of paths) {
      const stat = statOf(path);
      if (stat === undefined) continue;
      const row = this.#rowOf(stat);
      row.round = this.#round;
      if (row.file !== undefined) row.file.path = path;
      this.#examine(row, path, `${stat.ctimeMs} ${stat.size}`, isRegular, changes);
      byPath.set(path, row);
    }
    for (const [key, { file, round }] of this.#rows) {
      if (round === this.#round) continue;
      if (file !== undefined) changes.gone.push(file);
      this.#rows.delete(key);
    }
    this.#byPath = byPath;
    return changes;
  }

  /**
   * Opens a file, if need be in place of another one.
   * @returns false when it is not there any more
   * @throws AgentError when it cannot be read
   */
  open(file: SetFile): boolean {
    if (file.isOpen) return true;
    if (!this.hasRoom) this.#closeOne();
    if (!file.open(this.#options.blocks)) return false;
    this.#open++;
    return true;
  }

  close(file: SetFile): void {
    if (!file.isOpen) return;
    file.close();
    this.#open--;
  }

  /** Files are kept open before their turn where possible: so they can be read even when they are deleted. */
  get hasRoom(): boolean {
    return this.#open < this.#options.openFilesMax;
  }

  #rowOf({ dev, ino }: fs.Stats): Row {
    const key = `${dev}:${ino}`;
    const known = this.#rows.get(key);
    if (known !== undefined) return known;
    const row: Row = {
      file: undefined,
      signature: "",
      seenSignature: "",
      round: 0,
      isReported: false,
      isPassing: false,
    };
    this.#rows.set(key, row);
    return row;
  }

  #examine(row: Row, path: string, signature: string, isRegular: boolean, changes: Changes): void {
    const isSettled = isRegular && signature === row.seenSignature;
    let error = this.#tryLook(row, path, signature, changes);
    // Not about what its writer is about to write, or has written this moment.
    if (error !== undefined && (isSettled || !isBlank(path))) {
      error = this.#tryLook(row, path, signature, changes);
      if (error !== undefined) this.#complain(row, path, error);
    }
    row.signature = signature;
    if (isRegular) row.seenSignature = signature;
  }

  #tryLook(row: Row, path: string, signature: string, changes: Changes): AgentError | undefined {
    try {
      this.#look(row, path, signature, changes);
      return undefined;
    } catch (error) {
      if (error instanceof AgentError) return error;
      throw error;
    }
  }

  /** Opens what was not known, or is at rest and has changed. */
  #look(row: Row, path: string, signature: string, changes: Changes): void {
    const { file } = row;
    const isAtRest = file?.stage === "finished" || file?.stage === "failed";
    if (file !== undefined && !isAtRest) return;
    const isKnown = isAtRest || (row.isReported && !row.isPassing);
    if (signature === row.signature && isKnown) return;
    if (file !== undefined && this.open(file)) {
      changes.changed.push(file);
      return;
    }
    if (file !== undefined) changes.gone.push(file);
    row.file = undefined;
    const opened = new JournalFile(path, this.#options.blocks);
    try {
      row.file = this.#options.adopt(path, opened);
    } catch (error) {
      opened.close();
      throw error;
    }
    this.#open++;
    changes.added.push(row.file);
    row.isReported = false;
    if (!this.hasRoom) this.close(row.file);
  }

  #complain(row: Row, path: string, error: AgentError): void {
    const errno = errnoOf(error.cause) ?? "";
    if (errno === "ENOENT") return;
    row.isPassing = PASSING_ERRORS.includes(errno);
    if (row.isReported && row.isPassing) return;
    row.isReported = true;
    this.#options.onProblem(path, error);
  }

  /** Of those that wait for their turn, else of those that come last. */
  #closeOne(): void {
    let chosen: SetFile | undefined;
    for (const file of this) {
      if (file.isOpen && (chosen === undefined || isFarther(file, chosen))) chosen = file;
    }
    if (chosen !== undefined) this.close(chosen);
  }
}

function isFarther(a: SetFile, b: SetFile): boolean {
  // These may be renamed, or replaced, before they are opened again.
  if (a.isLive !== b.isLive) return b.isLive;
  if ((a.stage === "waiting") !== (b.stage === "waiting")) return a.stage === "waiting";
  return a.header.headEntryRealtime > b.header.headEntryRealtime;
}

function statOf(path: string): fs.Stats | undefined {
  try {
    return fs.statSync(path, { throwIfNoEntry: false });
  } catch {
    // A directory that may not be entered: as if nothing were there.
    return undefined;
  }
}

/** Whether nothing was written to it yet. */
function isBlank(path: string): boolean {
  try {
    const fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    try {
      const first = new Uint8Array(8);
      fs.readSync(fd, first, 0, first.length, 0);
      return first.every((byte) => byte === 0);
    } finally {
      fs.closeSync(fd);
    }
  } catch {
    return false;
  }
}
