/**
 * Which journal files there are, by inode: a file that is renamed is the same one, another one under an old name is
 * not, and one that is found twice counts once.
 */
import fs from "node:fs";
import { AgentError, errnoOf } from "../../errors.ts";
import { journalIoError } from "../io-error.ts";
import type { BlockCache } from "./block-cache.ts";
import { JournalFile } from "./journal-file.ts";
import { isPassing, Retry } from "./retry.ts";
import type { SetFile } from "./set-file.ts";

export interface FileTableOptions {
  blocks: BlockCache;
  openFilesMax: number;
  /** Takes a new file in. */
  adopt(path: string, file: JournalFile): SetFile;
  /** Told once of each file that cannot be used, and again when it has changed and still cannot. */
  onProblem(path: string, error: AgentError): void;
  /** Told when a file cannot be opened at the moment, and, without an error, when it could be. */
  onDelay(path: string, error: AgentError | undefined): void;
}

/** A file that could not be opened yet: what is in it is not known. */
export interface UnopenedFile {
  path: string;
  /** It may not be read, which is likely to stay so. */
  isDenied: boolean;
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
  path: string;
  /** Of the file when it was looked at last: time of change and size. */
  signature: string;
  /** The same at the last regular look. */
  seenSignature: string;
  round: number;
  /** It cannot be used, which was told. */
  isReported: boolean;
  /** It cannot be opened at the moment, which may change without a change of the file. */
  retry: Retry | undefined;
  isDenied: boolean;
}

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

  /** Files that may yet be opened, and are still waited for. */
  *unopened(): Generator<UnopenedFile> {
    for (const { file, retry, path, isDenied } of this.#rows.values()) {
      if (file === undefined && retry?.isUsedUp === false) yield { path, isDenied };
    }
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
      if (stat instanceof AgentError) {
        this.#noteUnseen(path, stat, isRegular);
        continue;
      }
      const row = this.#rowOf(stat, path);
      row.round = this.#round;
      row.path = path;
      if (row.file !== undefined) row.file.path = path;
      this.#examine(row, path, `${stat.ctimeMs} ${stat.size}`, isRegular, changes);
      byPath.set(path, row);
    }
    for (const [key, row] of this.#rows) {
      if (row.round === this.#round) continue;
      // Where directories, or files, cannot be looked at just then, they are still there.
      if (isThere(row.path, key)) {
        byPath.set(row.path, row);
        if (row.retry !== undefined) {
          this.#examine(row, row.path, row.signature, isRegular, changes);
        }
        continue;
      }
      if (row.file !== undefined) changes.gone.push(row.file);
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

  #rowOf(stat: fs.Stats, path: string): Row {
    const key = keyOf(stat);
    const known = this.#rows.get(key);
    if (known !== undefined) return known;
    // It could not be looked at before.
    const row = this.#rows.get(path) ?? newRow();
    this.#rows.delete(path);
    this.#rows.set(key, row);
    return row;
  }

  /** It cannot be looked at just then: if it is not known already, it is by its path. */
  #noteUnseen(path: string, error: AgentError, isRegular: boolean): void {
    const row = this.#byPath.get(path) ?? this.#rows.get(path) ?? newRow();
    if (row.file !== undefined) return;
    if (!this.#byPath.has(path)) this.#rows.set(path, row);
    row.path = path;
    row.round = this.#round;
    if (isRegular) row.retry?.pass();
    if (row.retry?.isDue !== false) this.#complain(row, path, error);
  }

  #examine(row: Row, path: string, signature: string, isRegular: boolean, changes: Changes): void {
    const isSettled = isRegular && signature === row.seenSignature;
    if (isRegular) row.retry?.pass();
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
    const isDue = row.retry === undefined ? !isAtRest && !row.isReported : row.retry.isDue;
    if (signature === row.signature && !isDue) return;
    if (file !== undefined && this.open(file)) {
      this.#noteOpened(row);
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
    this.#noteOpened(row);
    if (!this.hasRoom) this.close(row.file);
  }

  #noteOpened(row: Row): void {
    if (row.retry !== undefined) this.#options.onDelay(row.path, undefined);
    row.retry = undefined;
    row.isReported = false;
  }

  #complain(row: Row, path: string, error: AgentError): void {
    const errno = errnoOf(error.cause) ?? "";
    if (errno === "ENOENT") return;
    row.isDenied = errno === "EACCES";
    const isWaitedFor = this.#delay(row, path, error);
    // Who may not read it is told at once.
    if (row.isReported ? row.retry !== undefined : isWaitedFor && !row.isDenied) return;
    row.isReported = true;
    this.#options.onProblem(path, error);
  }

  /** @returns whether it is waited for */
  #delay(row: Row, path: string, error: AgentError): boolean {
    if (!isPassing(error)) {
      row.retry = undefined;
      return false;
    }
    if (row.retry === undefined && !row.isDenied) this.#options.onDelay(path, error);
    row.retry ??= new Retry();
    row.retry.fail();
    return !row.retry.isUsedUp;
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

function keyOf({ dev, ino }: fs.Stats): string {
  return `${dev}:${ino}`;
}

function newRow(): Row {
  return {
    file: undefined,
    path: "",
    signature: "",
    seenSignature: "",
    round: 0,
    isReported: false,
    retry: undefined,
    isDenied: false,
  };
}

/** @returns an error that may pass; undefined where there is nothing, or in a directory that may not be entered */
function statOf(path: string): fs.Stats | AgentError | undefined {
  try {
    return fs.statSync(path, { throwIfNoEntry: false });
  } catch (cause) {
    const error = journalIoError("look at", path, cause);
    return isPassing(error) && errnoOf(cause) !== "EACCES" ? error : undefined;
  }
}

/** Whether the path still names this file, as far as can be told. */
function isThere(path: string, key: string): boolean {
  try {
    const stat = fs.statSync(path, { throwIfNoEntry: false });
    return stat !== undefined && keyOf(stat) === key;
  } catch (error) {
    return errnoOf(error) !== "ENOTDIR";
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
