/** Reads damaged journal files in every way there is, and says what went wrong: scripts/bench/read-damage.ts, and a test. */
import fs from "node:fs";
import { AgentError } from "../../src/errors.ts";
import { RecordSerializer } from "../../src/export-format/record-serializer.ts";
import { parseCursor } from "../../src/journal/cursor.ts";
import { BlockCache } from "../../src/journal/reader/block-cache.ts";
import { addBoots } from "../../src/journal/reader/boots.ts";
import { JournalFile } from "../../src/journal/reader/journal-file.ts";
import type { StartPoint } from "../../src/journal/reader/start.ts";
import { openSelection } from "../../src/upload/selection.ts";
import { seededRandom } from "./journal-damage.ts";
import { NO_SELECTION, NO_TRANSFORM } from "./neutral-settings.ts";
import { openSet } from "./set-export.ts";

/** What a reading of one file takes at most; more is a hang. */
const READING_MS_MAX = 10_000;
/** Resident memory, at most: caches, and the largest fields of the files. */
const RSS_MAX = 400 * 1024 * 1024;

export interface ReaderDamageReport {
  readings: number;
  /** Of all readings. */
  entries: number;
  /** Entries, fields and files that were passed over. */
  passedOver: number;
  slowestMs: number;
  rssMax: number;
  problems: string[];
}

/** One journal file, whose copy is damaged and read, again and again. */
export class DamagedReadings {
  readonly report: ReaderDamageReport = {
    readings: 0,
    entries: 0,
    passedOver: 0,
    slowestMs: 0,
    rssMax: 0,
    problems: [],
  };
  readonly #path: string;
  readonly #sound: Buffer;
  /** Where the file's contents end; behind, there are zeros. */
  readonly #end: number;
  readonly #cursor: string;

  /** @param path of a copy that may be damaged */
  constructor(path: string) {
    this.#path = path;
    this.#sound = fs.readFileSync(path);
    fs.chmodSync(path, 0o600);
    this.#end = usedEnd(this.#sound);
    const { set } = openSet();
    set.rescan([path]);
    let count = 0;
    while (count++ < 100 && set.next() !== undefined);
    this.#cursor = set.position()?.cursor ?? "t=1";
    set.close();
  }

  /** Cut at so many places, evenly, the file's end first. */
  truncate(places: number): void {
    for (let i = places - 1; i >= 0; i--) {
      const size = Math.floor((i * this.#end) / places);
      fs.truncateSync(this.#path, size);
      this.#read(`cut to ${size}`, i);
    }
    fs.writeFileSync(this.#path, this.#sound);
  }

  /** With one to four random wounds each. */
  mutate(times: number, seed: number): void {
    const fd = fs.openSync(this.#path, "r+");
    for (let i = 0; i < times; i++) {
      const random = seededRandom(seed * 1_000_003 + i);
      const wounds: { offset: number; size: number }[] = [];
      for (let count = Math.floor(random() * 4); count >= 0; count--) {
        wounds.push(this.#wound(fd, random));
      }
      this.#read(`seed ${seed}, round ${i}`, i);
      for (const { offset, size } of wounds) fs.writeSync(fd, this.#sound, offset, size, offset);
    }
    fs.closeSync(fd);
  }

  #wound(fd: number, random: () => number): { offset: number; size: number } {
    // The header is hit more often than its size would have it.
    const end = random() < 0.2 ? 272 : this.#end;
    const offset = Math.floor((random() * (end - 8)) / 8) * 8;
    const other = Math.floor((random() * this.#end) / 8) * 8;
    const bytes = Buffer.alloc(8);
    this.#sound.copy(bytes, 0, offset, offset + 8);
    const kinds: (() => void)[] = [
      () => bytes.writeUInt8(bytes.readUInt8(3) ^ (1 << Math.floor(random() * 8)), 3),
      () => bytes.writeUInt8(bytes.readUInt8(0) ^ (1 << Math.floor(random() * 8)), 0),
      () => bytes.fill(0),
      () => bytes.fill(0xff),
      () => bytes.writeBigUInt64LE(BigInt(other)),
      () => bytes.writeBigUInt64LE(BigInt(offset)),
      () => bytes.writeBigUInt64LE(BigInt(Math.floor(random() * 2 ** 40))),
      () => bytes.writeUInt32LE(Math.floor(random() * 2 ** 32), random() < 0.5 ? 0 : 4),
    ];
    kinds[Math.floor(random() * kinds.length)]?.();
    fs.writeSync(fd, bytes, 0, 8, offset);
    return { offset, size: Math.min(8, this.#sound.length - offset) };
  }

  #read(what: string, round: number): void {
    const { report } = this;
    const startMs = performance.now();
    try {
      if (round % 4 === 0) this.#readAll({});
      if (round % 4 === 1) this.#readAll({ cursor: parseCursor(this.#cursor) });
      if (round % 4 === 2) this.#readAll({ lines: 20 });
      if (round % 4 === 3) this.#readMatches();
      if (round % 8 === 0) this.#readBoots();
    } catch (error) {
      report.problems.push(`${what}: ${error instanceof Error ? error.stack : error}`);
    }
    const ms = performance.now() - startMs;
    report.readings++;
    report.slowestMs = Math.max(report.slowestMs, ms);
    if (ms > READING_MS_MAX) report.problems.push(`${what}: ${ms.toFixed(0)} ms`);
    if (round % 16 !== 0) return;
    // Each set had caches of its own.
    Bun.gc(true);
    const rss = process.memoryUsage.rss();
    report.rssMax = Math.max(report.rssMax, rss);
    if (rss > RSS_MAX) report.problems.push(`${what}: ${rss} bytes of memory`);
  }

  #readAll(start: Partial<StartPoint>): void {
    this.#drain(openSet({ start }));
  }

  #readMatches(): void {
    const selection = openSelection(
      { ...NO_SELECTION, units: ["*.service"], priorities: [0, 1, 2, 3, 4] },
      NO_TRANSFORM,
    );
    this.#drain(openSet({ selection }));
  }

  #drain({ set }: ReturnType<typeof openSet>): void {
    const { report } = this;
    const serializer = new RecordSerializer();
    set.rescan([this.#path]);
    // What is not there in a live file is looked for a second time.
    for (let look = 0; look < 3; look++) {
      for (let entry = set.next(); entry !== undefined; entry = set.next()) {
        const target = Buffer.allocUnsafe(serializer.sizeMax(entry));
        serializer.begin(target);
        serializer.write(entry, 0);
        report.entries++;
      }
      set.refreshAll();
    }
    for (const count of set.damaged.values()) report.passedOver += count;
    if (set.backlog() !== 0) report.problems.push(`${set.backlog()} entries are left`);
    set.position();
    set.close();
  }

  #readBoots(): void {
    try {
      const file = new JournalFile(this.#path, new BlockCache(8, 8));
      addBoots(file, new Map());
      file.close();
    } catch (error) {
      if (!(error instanceof AgentError)) throw error;
    }
  }
}

function usedEnd(bytes: Buffer): number {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  return Math.min(bytes.length, end + 64);
}
