/**
 * The journal of one sender: its series of entries, and what makes them durable. Shared by all requests
 * and streams of that sender.
 */
import { basename, join } from "node:path";
import { formatId128, isEqualId128, parseId128 } from "../../bytes/id128.ts";
import { AgentError, reasonOf } from "../../errors.ts";
import type { Entry } from "../../journal/entry.ts";
import { FileState } from "../../journal/format.ts";
import type { JournalWriter } from "../../journal/writer.ts";
import { archivePath, exists, removeFile, renameFile, setAside, syncFile } from "./directory.ts";
import type { StoreEnvironment } from "./environment.ts";
import { derivedId128 } from "./machine-id.ts";
import { activeFileName, isDoubtfulFileName } from "./names.ts";
import { type EndState, Series, type SeriesOwner } from "./series.ts";
import { hasNoHeader, isInPlace, readStoredFile, type StoredFile } from "./stored-file.ts";

/** Files of one sender open for writing; past that those of the least recently used series are closed. */
const LANES_MAX = 256;

/**
 * Of a file that takes no more entries and is being synced and closed. While that waits for the disk the file may be
 * given up, closed at last, or taken back and even retired anew: then this is no longer what the writer has.
 */
interface Retirement {
  state: EndState;
  /** Undefined after it failed: whoever syncs next tries again. */
  syncing: Promise<void> | undefined;
  /** All entries are on disk; now the file gets its final state. Never rejects. */
  closing: Promise<void> | undefined;
}

export class SenderJournal implements SeriesOwner {
  readonly base: string;
  /** Sinks now open. */
  sinks = 0;
  lastUsedMs = 0;
  /** Has entries that wait to be published. */
  isWaiting = false;
  /** When everything was published last. */
  publishedMs = 0;
  /** How often entries that were added may not have reached the disk, and why they did not the last time. */
  losses = 0;
  lossCode: "E_NO_SPACE" | "E_IO" = "E_IO";
  readonly #environment: StoreEnvironment;
  /** Names of files that were not looked at yet. */
  readonly #unread: string[];
  /** By seqnum id, the least recently used first. */
  readonly #series = new Map<string, Series>();
  #lastSeries: Series | undefined;
  #ownSeries: Series | undefined;
  /** The one that has, or had, the file `<base>.journal`. */
  #activeSeries: Series | undefined;
  readonly #retiring = new Map<JournalWriter, Retirement>();

  /** @param names of the sender's files in the directory */
  constructor(base: string, names: readonly string[], environment: StoreEnvironment) {
    this.base = base;
    this.#unread = [...names];
    this.#environment = environment;
  }

  /**
   * Stores an entry unless it is stored.
   * @returns false for a duplicate
   * @throws AgentError E_NO_SPACE, E_IO
   */
  add(entry: Entry): boolean {
    if (entry.seqnum === 0) {
      const own = this.#ownSequence();
      own.append(entry, own.tailSeqnum + 1);
      return true;
    }
    const series = this.#seriesOf(entry.seqnumId);
    if (series.isStored(entry)) return false;
    series.append(entry, entry.seqnum);
    return true;
  }

  /** Makes what was appended visible to readers of the files. @throws AgentError E_NO_SPACE, E_IO */
  publish(): void {
    this.publishedMs = performance.now();
    for (const series of this.#series.values()) series.settle();
    for (const lane of this.#lanes()) lane.publish();
  }

  /**
   * Resolves when everything added so far is on disk, except what `losses` counts.
   * @throws AgentError E_NO_SPACE, E_IO of the first file that could not be synced, after trying all
   */
  async sync(): Promise<void> {
    this.publishedMs = performance.now();
    for (const series of this.#series.values()) series.settle();
    const running = [
      ...Array.from(this.#retiring.keys(), (writer) => this.#syncRetiring(writer)),
      ...Array.from(this.#lanes(), (lane) => this.#syncWriter(lane)),
    ];
    for (const result of await Promise.allSettled(running)) {
      if (result.status === "rejected") throw result.reason;
    }
  }

  /**
   * Completes and closes all files; the sender holds no descriptor afterwards.
   * @throws AgentError E_NO_SPACE, E_IO when that cannot be done now; the files stay open
   */
  async close(): Promise<void> {
    for (const series of this.#series.values()) series.shelve();
    await this.sync();
    await Promise.all(Array.from(this.#retiring.values(), ({ closing }) => closing));
    for (const series of this.#series.values()) series.closeLookups();
  }

  /** The same at the end of the process: what cannot be completed is closed as an unclean file. */
  async closeAtLast(): Promise<void> {
    await this.close().catch((error: unknown) => this.#environment.onNotice(reasonOf(error)));
    for (const series of this.#series.values()) series.closeAtLast();
    for (const [writer, { state }] of this.#retiring) {
      this.#retiring.delete(writer);
      this.#seriesWith(writer).completeNow(writer, state);
    }
    for (const series of this.#series.values()) series.closeLookups();
  }

  get hasOpenFiles(): boolean {
    return this.#retiring.size > 0 || this.openFiles > 0;
  }

  /** Files that take entries. */
  get openFiles(): number {
    let count = 0;
    for (const series of this.#series.values()) count += series.lanes.length;
    return count;
  }

  isOpen(path: string): boolean {
    for (const writer of this.#retiring.keys()) if (writer.path === path) return true;
    for (const lane of this.#lanes()) if (lane.path === path) return true;
    return false;
  }

  /** Names of its files, for whoever makes this anew. */
  fileNames(): string[] {
    const stored = [...this.#series.values()].flatMap((series) => series.files);
    return [...this.#unread, ...stored.map((file) => basename(file.path))];
  }

  /** Retention deleted a file. */
  forget(path: string): void {
    for (const [idHex, series] of this.#series) {
      series.forget(path);
      // The own one stays, or its numbers would begin anew.
      if (series.isEmpty && series !== this.#ownSeries) this.#forgetSeries(idHex, series);
    }
  }

  /** Text of the newest stored entry's cursor, without the parts that need its fields. */
  lastCursor(): string | undefined {
    this.#readFiles();
    let newestUsec = 0;
    let cursor: string | undefined;
    for (const [idHex, series] of this.#series) {
      const { tailSeqnum = 0, tailRealtimeUsec = 0 } = series.newest() ?? {};
      if (tailRealtimeUsec <= newestUsec) continue;
      newestUsec = tailRealtimeUsec;
      // Enough for a gateway to seek to.
      cursor = `s=${idHex};i=${tailSeqnum.toString(16)};t=${tailRealtimeUsec.toString(16)}`;
    }
    return cursor;
  }

  claimActiveName(series: Series): boolean {
    if (exists(this.#activePath())) return false;
    this.#activeSeries ??= series;
    return this.#activeSeries === series;
  }

  laneOpened(opened: Series): void {
    let surplus = this.openFiles - LANES_MAX;
    for (const series of this.#series.values()) {
      if (surplus <= 0) return;
      if (series === opened) continue;
      surplus -= series.lanes.length;
      series.shelve();
    }
  }

  retire(writer: JournalWriter, state: EndState): void {
    this.#retiring.set(writer, { state, syncing: undefined, closing: undefined });
    // Whoever waits in `sync` gets the error; with nobody waiting the next sync tries again.
    this.#syncRetiring(writer).catch(() => undefined);
  }

  reclaim(writer: JournalWriter): boolean {
    const retirement = this.#retiring.get(writer);
    if (retirement?.state !== "offline") return false;
    if (retirement.closing !== undefined && !writer.resume()) return false;
    return this.#retiring.delete(writer);
  }

  lost(code: "E_NO_SPACE" | "E_IO", writer?: JournalWriter): void {
    if (writer !== undefined) this.#retiring.delete(writer);
    this.losses++;
    this.lossCode = code;
  }

  /** Syncs a file that takes no more entries, after which it is closed. */
  #syncRetiring(writer: JournalWriter): Promise<void> {
    const retirement = this.#retiring.get(writer);
    if (retirement === undefined || retirement.closing !== undefined) return Promise.resolve();
    retirement.syncing ??= this.#syncRetirement(writer, retirement).finally(() => {
      retirement.syncing = undefined;
    });
    return retirement.syncing;
  }

  async #syncRetirement(writer: JournalWriter, retirement: Retirement): Promise<void> {
    await this.#syncWriter(writer);
    if (this.#retiring.get(writer) !== retirement) return;
    retirement.closing = this.#complete(writer, retirement);
  }

  async #complete(writer: JournalWriter, retirement: Retirement): Promise<void> {
    const series = this.#seriesWith(writer);
    try {
      await writer.complete(retirement.state);
    } catch (error) {
      if (this.#retiring.get(writer) === retirement) series.giveUp(writer, error);
      return;
    }
    if (this.#retiring.get(writer) !== retirement) return;
    this.#retiring.delete(writer);
    series.completed(writer, retirement.state);
  }

  async #syncWriter(writer: JournalWriter): Promise<void> {
    try {
      await writer.sync();
      if (writer.isClosed || isInPlace(writer)) return;
    } catch (error) {
      // A full disk may have space again later. After any other error, that of a sync above all, nobody knows
      // what is on disk, and trying again could succeed without it: the senders have to repeat it.
      if (!(error instanceof AgentError) || error.code === "E_NO_SPACE") throw error;
      this.#giveUp(writer, error);
      throw error;
    }
    const error = new AgentError(
      "E_IO",
      `Cannot keep entries in "${writer.path}": somebody deleted, renamed or cut it`,
    );
    this.#giveUp(writer, error);
    throw error;
  }

  #giveUp(writer: JournalWriter, error: AgentError): void {
    if (!writer.isClosed) this.#seriesWith(writer).giveUp(writer, error);
  }

  /** Writers open for more entries. */
  *#lanes(): Generator<JournalWriter> {
    for (const series of this.#series.values()) yield* series.lanes;
  }

  #seriesWith(writer: JournalWriter): Series {
    return this.#seriesBy(formatId128(writer.seqnumId), writer.seqnumId);
  }

  #seriesOf(seqnumId: Uint8Array): Series {
    const last = this.#lastSeries;
    if (last !== undefined && isEqualId128(last.seqnumId, seqnumId)) return last;
    this.#readFiles();
    const idHex = formatId128(seqnumId);
    const series = this.#seriesBy(idHex, seqnumId);
    this.#series.delete(idHex);
    this.#series.set(idHex, series);
    this.#lastSeries = series;
    return series;
  }

  #seriesBy(idHex: string, seqnumId: Uint8Array): Series {
    let series = this.#series.get(idHex);
    if (series === undefined) {
      series = new Series(seqnumId, this.#environment, this);
      this.#series.set(idHex, series);
    }
    return series;
  }

  #forgetSeries(idHex: string, series: Series): void {
    this.#series.delete(idHex);
    if (this.#lastSeries === series) this.#lastSeries = undefined;
    if (this.#activeSeries === series) this.#activeSeries = undefined;
  }

  /** The sequence for entries without identity: always the same id, so that it goes on after a restart. */
  #ownSequence(): Series {
    this.#ownSeries ??= this.#seriesOf(
      derivedId128(`sequence ${this.#environment.receiverId} ${this.base}`),
    );
    return this.#ownSeries;
  }

  /** Looks at the files found in the directory. @throws AgentError E_IO, then the rest is for another time */
  #readFiles(): void {
    const { directory } = this.#environment;
    for (let name = this.#unread.at(-1); name !== undefined; name = this.#unread.at(-1)) {
      const file = this.#settle(join(directory, name));
      this.#unread.pop();
      if (file === undefined) continue;
      const { seqnumIdHex } = file;
      const seqnumId = parseId128(seqnumIdHex);
      if (seqnumId === undefined) continue;
      const series = this.#seriesBy(seqnumIdHex, seqnumId);
      series.addFile(file);
      // Its numbers are taken, but its entries are stored again if they come.
      if (isDoubtfulFileName(file.path)) series.forget(file.path);
      if (file.path === this.#activePath()) this.#activeSeries = series;
    }
  }

  /** Reads a file's header; what is not to be continued leaves the place of the active file. */
  #settle(path: string): StoredFile | undefined {
    const { directory, format, onNotice } = this.#environment;
    const isActive = path === this.#activePath();
    const file = readStoredFile(path, format);
    if (file === undefined) {
      if (hasNoHeader(path)) this.#removeUnborn(path);
      else if (isActive && exists(path)) this.#setAside(path, "it is no readable journal", false);
      return undefined;
    }
    if (path.endsWith("~")) return { ...file, state: FileState.archived };
    if (file.state === FileState.online) {
      // What a killed process wrote may not have reached the disk yet, and counts as stored from now on.
      const failure = syncFile(path);
      const why = failure === undefined ? "it was not closed cleanly" : failure.message;
      const target = this.#setAside(path, why, failure !== undefined);
      return { ...file, path: target, state: FileState.archived };
    }
    if (isActive && file.state === FileState.archived) {
      const { seqnumIdHex, headSeqnum, headRealtimeUsec } = file;
      const seqnumId = parseId128(seqnumIdHex) ?? new Uint8Array(16);
      const target = archivePath(directory, this.base, seqnumId, headSeqnum, headRealtimeUsec);
      renameFile(path, target);
      onNotice(`Archived "${path}" as "${target}": it is not one to append to`);
      return { ...file, path: target };
    }
    return file;
  }

  #removeUnborn(path: string): void {
    removeFile(path);
    this.#environment.onNotice(`Removed "${path}": its writer was killed before it had a header`);
  }

  #setAside(path: string, why: string, isDoubtful: boolean): string {
    const { directory, nowUsec, onNotice } = this.#environment;
    const target = setAside(path, directory, this.base, nowUsec(), isDoubtful);
    onNotice(`Set "${path}" aside as "${target}": ${why}`);
    return target;
  }

  #activePath(): string {
    return join(this.#environment.directory, activeFileName(this.base));
  }
}
