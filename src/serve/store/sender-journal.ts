/**
 * The journal of one sender: its series of entries, and what makes them durable. Shared by all requests
 * and streams of that sender.
 */
import fs from "node:fs";
import { join } from "node:path";
import { formatId128, isEqualId128, parseId128 } from "../../bytes/id128.ts";
import { AgentError } from "../../errors.ts";
import type { Entry } from "../../journal/entry.ts";
import { FileState } from "../../journal/format.ts";
import type { JournalWriter } from "../../journal/writer.ts";
import type { StoreEnvironment } from "./environment.ts";
import { derivedId128 } from "./machine-id.ts";
import { activeFileName, uncleanFileName } from "./names.ts";
import { Series, type SeriesOwner } from "./series.ts";
import { hasNoHeader, isUnclean, readStoredFile, type StoredFile } from "./stored-file.ts";

export class SenderJournal implements SeriesOwner {
  readonly base: string;
  /** Sinks now open. */
  sinks = 0;
  lastUsedMs = 0;
  /** Has entries that wait to be published. */
  isWaiting = false;
  /** How often entries that were added may not have reached the disk. */
  losses = 0;
  readonly #environment: StoreEnvironment;
  readonly #series = new Map<string, Series>();
  #lastSeries: Series | undefined;
  #ownSeries: Series | undefined;
  #activeSeries: Series | undefined;
  #files: Map<string, StoredFile[]> | undefined;
  /** Full files that are being completed. */
  readonly #retiring = new Map<JournalWriter, Promise<void>>();

  constructor(base: string, environment: StoreEnvironment) {
    this.base = base;
    this.#environment = environment;
  }

  /**
   * Stores an entry unless one with its identity is stored.
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
    if (series.isStored(entry.seqnum)) return false;
    series.append(entry, entry.seqnum);
    return true;
  }

  /** A writer that is given up held entries that may not be on disk: whoever added them must be told. */
  lost(): void {
    this.losses++;
  }

  claimActiveName(series: Series): boolean {
    if (this.#activeSeries === undefined) {
      const path = join(this.#environment.directory, activeFileName(this.base));
      if (!fs.existsSync(path)) this.#activeSeries = series;
    }
    if (this.#activeSeries !== series) return false;
    return !fs.existsSync(join(this.#environment.directory, activeFileName(this.base)));
  }

  retire(writer: JournalWriter): void {
    const completed = this.#complete(writer);
    this.#retiring.set(writer, completed);
    // Whoever waits in `sync` gets the error; with nobody waiting the next sync tries again.
    completed.catch(() => undefined);
  }

  /** Makes what was appended visible to readers of the files. @throws AgentError E_NO_SPACE, E_IO */
  publish(): void {
    for (const series of this.#series.values()) for (const lane of series.lanes) lane.publish();
  }

  /**
   * Resolves when everything added so far is on disk, except what `losses` counts.
   * @throws AgentError E_NO_SPACE, E_IO
   */
  async sync(): Promise<void> {
    const retiring = Array.from(this.#retiring.keys(), (writer) => this.#syncRetiring(writer));
    await Promise.all([...retiring, ...this.lanes().map((lane) => this.#syncLane(lane))]);
  }

  /** Writers open for more entries. */
  lanes(): JournalWriter[] {
    return [...this.#series.values()].flatMap((series) => [...series.lanes]);
  }

  hasOpenFiles(): boolean {
    return this.#retiring.size > 0 || this.lanes().length > 0;
  }

  isOpen(path: string): boolean {
    for (const writer of this.#retiring.keys()) if (writer.path === path) return true;
    return this.lanes().some((lane) => lane.path === path);
  }

  /** Retention deleted a file. */
  forget(path: string): void {
    for (const series of this.#series.values()) series.forget(path);
    this.#files = undefined;
  }

  /**
   * Completes and closes all files; the sender holds no descriptor afterwards.
   * @throws AgentError E_NO_SPACE, E_IO of the first file that could not be completed; it stays unclean
   */
  async close(): Promise<void> {
    // The long part, writing to disk, without blocking other senders.
    await this.sync();
    for (const series of this.#series.values()) series.closeFiles();
  }

  /** Text of the newest stored entry's cursor, without the parts that need its fields. */
  lastCursor(): string | undefined {
    this.#knownFiles();
    for (const [idHex] of this.#knownFiles())
      this.#seriesOf(parseId128(idHex) ?? new Uint8Array(16));
    return newestCursor([...this.#series.values()]);
  }

  async #syncRetiring(writer: JournalWriter): Promise<void> {
    try {
      await this.#retiring.get(writer);
    } catch {
      // It failed before, on a full disk perhaps: this caller's turn to try.
      this.retire(writer);
      await this.#retiring.get(writer);
    }
  }

  async #syncLane(writer: JournalWriter): Promise<void> {
    await writer.sync();
    if (writer.isClosed || !writer.isUnlinked()) return;
    for (const series of this.#series.values()) series.drop(writer);
    writer.close("offline");
    this.lost();
    throw new AgentError("E_IO", `Cannot keep entries in "${writer.path}": it was deleted`);
  }

  async #complete(writer: JournalWriter): Promise<void> {
    await writer.sync();
    writer.close("archived");
    this.#retiring.delete(writer);
    this.#series.get(formatId128(writer.seqnumId))?.addFile(writer.path);
  }

  #seriesOf(seqnumId: Uint8Array): Series {
    const last = this.#lastSeries;
    if (last !== undefined && isEqualId128(last.seqnumId, seqnumId)) return last;
    const idHex = formatId128(seqnumId);
    let series = this.#series.get(idHex);
    if (series === undefined) {
      const files = this.#knownFiles().get(idHex) ?? [];
      series = new Series(seqnumId, files, this.#environment, this);
      this.#series.set(idHex, series);
      const activePath = join(this.#environment.directory, activeFileName(this.base));
      if (files.some((file) => file.path === activePath)) this.#activeSeries = series;
    }
    this.#lastSeries = series;
    return series;
  }

  /** The sequence for entries without identity: always the same id, so that it goes on after a restart. */
  #ownSequence(): Series {
    this.#ownSeries ??= this.#seriesOf(
      derivedId128(`sequence ${this.#environment.receiverId} ${this.base}`),
    );
    return this.#ownSeries;
  }

  /** Files of this sender in the directory, by seqnum id; unclean ones are set aside. */
  #knownFiles(): Map<string, StoredFile[]> {
    if (this.#files !== undefined) return this.#files;
    const files = new Map<string, StoredFile[]>();
    const { directory } = this.#environment;
    for (const name of this.#environment.namesOf(this.base)) {
      const path = join(directory, name);
      const isClosed = !this.isOpen(path);
      const file = isClosed ? this.#settle(path, name) : undefined;
      if (file === undefined) continue;
      const known = files.get(file.seqnumIdHex);
      if (known === undefined) files.set(file.seqnumIdHex, [file]);
      else known.push(file);
    }
    this.#files = files;
    return files;
  }

  /** Reads a file's header; a file that a crash left ONLINE is renamed, as systemd does. */
  #settle(path: string, name: string): StoredFile | undefined {
    const file = readStoredFile(path);
    const isActive = name === activeFileName(this.base);
    if (file === undefined) {
      if (hasNoHeader(path)) this.#removeUnborn(path);
      // Not a journal, or a damaged one: it must not stand where a new file has to go.
      else if (isActive && fs.existsSync(path)) this.#setAside(path, "its header is damaged");
      return undefined;
    }
    if (isUnclean(file) && !name.endsWith("~")) {
      file.path = this.#setAside(path, "it was not closed cleanly");
    }
    if (name.endsWith("~")) file.state = FileState.archived;
    return file;
  }

  #removeUnborn(path: string): void {
    fs.rmSync(path, { force: true });
    this.#environment.onNotice(`Removed "${path}": its writer was killed before it had a header`);
  }

  #setAside(path: string, why: string): string {
    const { directory, nowUsec, onNotice } = this.#environment;
    const random = crypto.getRandomValues(new Uint8Array(8));
    const target = join(directory, uncleanFileName(this.base, nowUsec(), random));
    fs.renameSync(path, target);
    onNotice(`Set "${path}" aside as "${target}": ${why}`);
    return target;
  }
}

/** Cursor parts that a header gives: enough for a gateway to seek to. */
function newestCursor(series: readonly Series[]): string | undefined {
  let newest: StoredFile | undefined;
  for (const one of series) {
    for (const file of one.files) {
      if (file.entries > 0 && file.tailRealtimeUsec >= (newest?.tailRealtimeUsec ?? 0))
        newest = file;
    }
  }
  if (newest === undefined) return undefined;
  return `s=${newest.seqnumIdHex};i=${newest.tailSeqnum.toString(16)};t=${newest.tailRealtimeUsec.toString(16)}`;
}
