/**
 * What is sent, as the settings say: entries of journals, in order and followed while they grow, or of export files.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { type AgentError, errnoOf } from "../errors.ts";
import { type Cursor, parseCursor } from "../journal/cursor.ts";
import { DirectoryWatch } from "../journal/reader/directory-watch.ts";
import type { EntryWindow } from "../journal/reader/entry-window.ts";
import type { JournalEntry } from "../journal/reader/journal-entry.ts";
import { JournalSet } from "../journal/reader/journal-set.ts";
import { type SequenceTail, type StartPoint, tailOf } from "../journal/reader/start.ts";
import { log } from "../log.ts";
import { openFilesLimit } from "../platform/host.ts";
import { findBoot } from "./boot.ts";
import {
  type EntrySource,
  PASSED_MAX,
  type Position,
  type SourceLosses,
} from "./delivery-types.ts";
import { ExportSource } from "./export-source.ts";
import { type JournalPlaces, openPlaces, READERS_HINT } from "./places.ts";
import { openSelection, type UploadSelection } from "./selection.ts";
import type { StartSettings, UploadSettings } from "./settings.ts";
import { TAILS_MAX } from "./state.ts";
import { transformEntries } from "./transform.ts";

/** What the kernel does not tell (network file systems, overflows, directories that appear) is found by looking. */
const POLL_MS = 2_000;
/** Changes that come so close together make one wake-up. */
const SETTLE_MS = 10;
/** A deleted file is read on while entries are taken; without that, for so long. */
const DELETED_GRACE_MS = 10_000;
/** Where more journals grow at a time, they are opened by turns. sd-journal opens 7168. */
const OPEN_FILES_MAX = 2_048;
/** So many different ones are remembered, to be told once. */
const COMPLAINTS_MAX = 1_000;

export interface SourceTimes {
  pollMs: number;
  deletedGraceMs: number;
}

type SourceSettings = Pick<
  UploadSettings,
  "places" | "start" | "selection" | "transform" | "follow"
>;

/**
 * @param position where an earlier run ended
 * @throws AgentError E_CONFIG, E_USAGE when settings cannot be used
 */
export function openSource(
  settings: SourceSettings,
  position: Position | undefined,
  times: SourceTimes = { pollMs: POLL_MS, deletedGraceMs: DELETED_GRACE_MS },
): EntrySource {
  const { places, start, transform, follow } = settings;
  const selection = openSelection(settings.selection, transform);
  const files = places.exportFiles;
  const source =
    files.length > 0
      ? new ExportSource({ files, selection, start })
      : new JournalSource({
          places: openPlaces(places),
          selection,
          start,
          follow,
          position,
          times,
        });
  return transformEntries(source, transform);
}

interface JournalSourceOptions {
  places: JournalPlaces;
  selection: UploadSelection;
  start: StartSettings;
  follow: boolean;
  position: Position | undefined;
  times: SourceTimes;
}

class JournalSource implements EntrySource {
  readonly #options: JournalSourceOptions;
  readonly #window: EntryWindow;
  readonly #set: JournalSet;
  readonly #watch: DirectoryWatch | undefined;
  readonly #poll: ReturnType<typeof setInterval>;
  /** Paths of files that have changed. */
  readonly #changed = new Set<string>();
  /** There may be other files than before. */
  #isRescanDue = false;
  #hasChanges = false;
  #wake: (() => void) | undefined;
  readonly #complaints = new Set<string>();
  #isEnded = false;
  /** What comes now is the end. */
  #isLastLook = false;
  /** How often an entry was asked for, and when that was seen to have changed. */
  #asked = 0;
  #askedBefore = 0;
  #progressMs = performance.now();

  constructor(options: JournalSourceOptions) {
    const { places, selection, start, position, follow, times } = options;
    this.#options = options;
    this.#watch = follow ? new DirectoryWatch((path, isNew) => this.#note(path, isNew)) : undefined;
    const found = places.list();
    // Before the files are listed to be read: what appears meanwhile is told of.
    this.#watch?.update(found.directories);
    this.#window = windowOf(start, found.files, places.isLocal);
    this.#set = new JournalSet({
      selection,
      start: startPoint(start, position),
      window: this.#window,
      // The other half is for others.
      openFilesMax: Math.min(OPEN_FILES_MAX, Math.floor((openFilesLimit() ?? 1024) / 2)),
      onProblem: (path, error): void => this.#complain(path, error),
      onDelay: (path, error): void => this.#tellDelay(path, error),
      onGap: (path, entries): void => this.#tellGap(path, entries),
    });
    this.#rescan(true);
    if (found.files.length === 0) this.#tellEmpty(found.directories);
    this.#poll = setInterval(() => this.#look(), times.pollMs);
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  get isPausing(): boolean {
    return this.#set.isPausing;
  }

  get losses(): SourceLosses {
    const { vacuumed, damaged } = this.#set;
    const { damagedIndexes } = this.#options.selection;
    if (damagedIndexes === 0) return { vacuumed, damaged };
    return { vacuumed, damaged: new Map([...damaged, ["index-damaged", damagedIndexes]]) };
  }

  next(): JournalEntry | undefined {
    if (this.#isEnded) return undefined;
    if (this.#hasChanges) this.#takeChanges();
    const { maxAgeUsec } = this.#options.start;
    if (maxAgeUsec !== undefined) this.#window.fromUsec = Date.now() * 1000 - maxAgeUsec;
    this.#asked++;
    return this.#set.next(PASSED_MAX) ?? this.#nextAtEnd();
  }

  wait(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    if (this.#isEnded || signal.aborted) {
      resolve();
      return promise;
    }
    if (this.isPausing) return nextTurn();
    const finish = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", finish);
      this.#wake = undefined;
      resolve();
    };
    const timer = setTimeout(finish, this.#waitMs());
    signal.addEventListener("abort", finish, { once: true });
    this.#wake = finish;
    return promise;
  }

  /** Others may wake it before. */
  #waitMs(): number {
    // A writer that is busy raises thousands of events a second.
    if (this.#hasChanges) return SETTLE_MS;
    const { start, times } = this.#options;
    if (start.untilUsec === undefined) return times.pollMs;
    return Math.min(times.pollMs, Math.max(1, start.untilUsec / 1000 - Date.now()));
  }

  position(): Position | undefined {
    return this.#set.position() ?? this.#options.position;
  }

  backlog(): number {
    return this.#set.backlog();
  }

  close(): void {
    this.#end();
    this.#set.close();
    this.#wake?.();
  }

  /** There is no entry as far as is known. */
  #nextAtEnd(): JournalEntry | undefined {
    if (this.isPausing) return undefined;
    const { follow, start } = this.#options;
    const isOver = start.untilUsec !== undefined && Date.now() * 1000 > start.untilUsec;
    if ((follow && !isOver) || this.#set.isHolding) return undefined;
    let entry: JournalEntry | undefined;
    if (!this.#isLastLook) {
      // Once, not to stop at an entry that was not there yet when it was looked for.
      this.#isLastLook = true;
      this.#rescan(true);
      this.#set.refreshAll();
      entry = this.#set.next(PASSED_MAX);
    }
    if (entry === undefined && !this.isPausing && !this.#set.isHolding) this.#end();
    return entry;
  }

  #end(): void {
    this.#isEnded = true;
    clearInterval(this.#poll);
    this.#watch?.close();
  }

  #note(path: string, isNew: boolean): void {
    if (isNew) this.#isRescanDue = true;
    else this.#changed.add(path);
    if (this.#hasChanges) return;
    this.#hasChanges = true;
    setTimeout(() => this.#wake?.(), SETTLE_MS);
  }

  #takeChanges(): void {
    this.#hasChanges = false;
    const paths = [...this.#changed];
    this.#changed.clear();
    for (const path of paths) if (!this.#set.refresh(path)) this.#isRescanDue = true;
    if (this.#isRescanDue) this.#rescan(false);
  }

  #rescan(isRegular: boolean): void {
    this.#isRescanDue = false;
    const found = this.#options.places.list();
    this.#watch?.update(found.directories);
    for (const problem of found.problems) this.#complain("", problem);
    this.#set.rescan(found.files, isRegular);
  }

  /** Now and then, whoever waits for whom. */
  #look(): void {
    this.#rescan(true);
    this.#set.refreshAll();
    const nowMs = performance.now();
    if (this.#asked !== this.#askedBefore) this.#progressMs = nowMs;
    this.#askedBefore = this.#asked;
    if (nowMs - this.#progressMs >= this.#options.times.deletedGraceMs) this.#set.giveUpDeleted();
    this.#wake?.();
  }

  #complain(path: string, error: AgentError): void {
    if (this.#complaints.has(error.message)) return;
    if (this.#complaints.size === COMPLAINTS_MAX) this.#complaints.clear();
    this.#complaints.add(error.message);
    log.warn(path === "" ? error.message : `Passing over journal file "${path}": ${error.message}`);
    tellHint(error);
  }

  #tellDelay(path: string, error: AgentError | undefined): void {
    if (error === undefined) {
      log.info(`Journal file "${path}" can be read again`);
      return;
    }
    log.warn(
      `Trying journal file "${path}" again for some minutes, what follows it waits: ${error.message}`,
    );
    tellHint(error);
  }

  #tellGap(path: string, entries: number): void {
    log.warn(`Up to ${entries} entries were deleted before they could be sent, at "${path}"`);
  }

  #tellEmpty(directories: readonly string[]): void {
    const places = directories.map((directory) => `"${directory}"`).join(", ");
    const wait = this.#options.follow ? ", waiting for one" : "";
    log.warn(`Found no journal files ${places === "" ? "at all" : `in ${places}`}${wait}`);
  }
}

function tellHint(error: AgentError): void {
  const hint = error.hint ?? (errnoOf(error.cause) === "EACCES" ? READERS_HINT : undefined);
  if (hint !== undefined) log.info(hint);
}

function windowOf(start: StartSettings, paths: readonly string[], isLocal: boolean): EntryWindow {
  const { boot, untilUsec } = start;
  const id = boot === undefined || boot === "all" ? undefined : findBoot(boot, paths, isLocal);
  return {
    fromUsec: 0,
    untilUsec: untilUsec ?? Number.POSITIVE_INFINITY,
    bootWords: id === undefined ? undefined : new Int32Array(id.buffer),
  };
}

/** What was sent before counts, and else where the settings say to start. */
function startPoint(start: StartSettings, position: Position | undefined): StartPoint {
  const { sinceUsec, lines } = start;
  if (position !== undefined && position.tails.size > 0) {
    const { tails } = position;
    const newUsec = Math.max(sinceUsec ?? 0, forgottenUsec(tails)) || undefined;
    return { tails, cursor: undefined, isAfterCursor: false, sinceUsec: newUsec, lines: undefined };
  }
  const after = position?.cursor ?? start.afterCursor;
  if (after !== undefined) return atCursor(parseCursor(after), true, sinceUsec);
  if (start.cursor !== undefined) return atCursor(parseCursor(start.cursor), false, sinceUsec);
  return { tails: new Map(), cursor: undefined, isAfterCursor: false, sinceUsec, lines };
}

/** Ids without a tail are new, unless there were too many to keep: then those that are behind all others were dropped. */
function forgottenUsec(tails: Position["tails"]): number {
  if (tails.size < TAILS_MAX) return 0;
  return Math.min(...[...tails.values()].map(({ realtimeUsec }) => realtimeUsec)) + 1;
}

function atCursor(
  cursor: Cursor,
  isAfterCursor: boolean,
  sinceUsec: number | undefined,
): StartPoint {
  const tail = isAfterCursor ? tailOf(cursor) : undefined;
  const tails: ReadonlyMap<string, SequenceTail> = new Map(tail === undefined ? [] : [tail]);
  return { tails, cursor, isAfterCursor, sinceUsec, lines: undefined };
}
