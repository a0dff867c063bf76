import { describe, expect, test } from "bun:test";
import fs from "node:fs";
import { join } from "node:path";
import type { JournalFile } from "../../../src/journal/reader/journal-file.ts";
import type { JournalSet, SetPosition } from "../../../src/journal/reader/journal-set.ts";
import { EVERY_ENTRY, type FileSelector } from "../../../src/journal/reader/selection-types.ts";
import type { StartPoint } from "../../../src/journal/reader/start.ts";
import { FailingFiles } from "../../support/failing-files.ts";
import { seededRandom } from "../../support/journal-damage.ts";
import {
  createWriter,
  drain,
  idOf,
  numbers,
  plain,
  plains,
  publish,
  START_USEC,
  writeFile,
} from "../../support/reader-journals.ts";
import { openSet } from "../../support/set-export.ts";
import { journalFiles } from "../../support/stored-journals.ts";
import { useWorkDirectories } from "../../support/work-directory.ts";

/** More looks than any file is waited for. */
const LOOKS_MAX = 200;

let work = "";
useWorkDirectories((path) => {
  work = path;
});

type Options = Parameters<typeof openSet>[0];

function openDirectory(options: Options = {}) {
  const opened = openSet(options);
  look(opened.set);
  return opened;
}

function look(set: JournalSet): void {
  set.rescan(journalFiles(work), true);
}

/** Where an earlier run ended: sequence 1 at this entry. */
function tailsAt(seqnum: number) {
  const realtimeUsec = START_USEC + seqnum * 1_000_000;
  return new Map([[idOf(1), { seqnum, realtimeUsec, bootId: idOf(1) }]]);
}

function tailOf(set: JournalSet): number | undefined {
  return set.position()?.tails.get(idOf(1))?.seqnum;
}

/** The name that journald gives to a file that it has finished. */
function archiveName(head: number, sequence = 1, series = "system"): string {
  const hex = (value: number): string => value.toString(16).padStart(16, "0");
  return `${series}@${idOf(sequence)}-${hex(head)}-${hex(START_USEC + head * 1_000_000)}.journal`;
}

/** Looks until the file is given up. @returns how often that was */
function lookUntilGivenUp(set: JournalSet): number {
  for (let looks = 1; looks <= LOOKS_MAX; looks++) {
    look(set);
    if (set.damaged.has("file-unreadable")) return looks;
  }
  return Number.POSITIVE_INFINITY;
}

describe("a file that cannot be read for a while", () => {
  /** Three files, of which only two may be open, so that the last one is opened again when its turn comes. */
  function writeThree(): string[] {
    return [1, 11, 21].map((from) => {
      return writeFile(work, `${from + 10}.journal`, plains(from, from + 10));
    });
  }

  for (const errno of ["EMFILE", "EIO", "ESTALE", "EACCES", "ENOMEM"]) {
    test(`holds back what follows it, and comes when it can be opened again: ${errno}`, () => {
      using files = new FailingFiles();
      const [, second = ""] = writeThree();
      const { set, problems, delays } = openDirectory({ openFilesMax: 2 });
      files.fail("openSync", second, errno);
      writeFile(work, "other.journal", plains(1, 4), 2);
      expect(drain(set)).toEqual(numbers(1, 11));
      expect(tailOf(set)).toBe(10);
      expect(set.isHolding).toBe(true);
      expect(set.backlog()).toBe(20);
      look(set);
      look(set);
      expect(drain(set)).toEqual(numbers(1, 4));
      expect(tailOf(set)).toBe(10);
      files.mend();
      for (let i = 0; i < 4; i++) look(set);
      expect(drain(set)).toEqual(numbers(11, 31));
      expect(set.isHolding).toBe(false);
      expect(problems).toEqual([]);
      expect(delays).toEqual([
        expect.stringMatching(new RegExp(`^${second}: Cannot open journal file .*${errno}`)),
        `${second}: read again`,
      ]);
      expect(set.damaged.size).toBe(0);
      set.close();
    });
  }

  test("is read on at the entry where reading failed, each entry once", () => {
    using files = new FailingFiles();
    const big = (from: number, to: number) =>
      Array.from({ length: to - from }, (_, i) =>
        plain(from + i, { fields: [`BODY=${i}${"x".repeat(700)}`] }),
      );
    const path = writeFile(work, "a.journal", big(1, 2001), 1, {
      compressThresholdBytes: undefined,
    });
    writeFile(work, "b.journal", plains(2001, 2011));
    // The same entries, in part: these are held back, too.
    writeFile(work, "c.journal", big(1, 2001).slice(1500), 1);
    const { set, problems, delays } = openDirectory();
    const read = drain(set, 100);
    files.fail("readSync", path);
    read.push(...drain(set));
    expect(read.length).toBeLessThan(1500);
    expect(tailOf(set)).toBe(read.length);
    for (let i = 0; i < 4; i++) look(set);
    expect(drain(set)).toEqual([]);
    files.mend();
    for (let i = 0; i < 8; i++) look(set);
    read.push(...drain(set));
    expect(read).toEqual(numbers(1, 2011));
    expect(tailOf(set)).toBe(2010);
    expect([problems, delays.length, set.damaged.size]).toEqual([[], 2, 0]);
    set.close();
  });

  test("is given up after so many attempts: what follows it comes, and it is told and counted once", () => {
    using files = new FailingFiles();
    const [, second = ""] = writeThree();
    const { set, problems, delays } = openDirectory({ openFilesMax: 2 });
    files.fail("openSync", second);
    expect(drain(set)).toEqual(numbers(1, 11));
    files.failures = 0;
    expect(lookUntilGivenUp(set)).toBe(111);
    expect(files.failures).toBe(10);
    expect(drain(set)).toEqual(numbers(21, 31));
    expect(problems).toEqual([expect.stringContaining(`Cannot open journal file "${second}"`)]);
    expect(delays).toHaveLength(1);
    expect([...set.damaged]).toEqual([["file-unreadable", 1]]);
    expect([set.isHolding, tailOf(set)]).toEqual([false, 30]);
    look(set);
    expect(problems).toHaveLength(1);
    set.close();
  });

  test("that can be opened, but not read at one place, is given up as well", () => {
    using files = new FailingFiles();
    const big = Array.from({ length: 2000 }, (_, i) =>
      plain(i + 1, { fields: [`BODY=${i}${"x".repeat(700)}`] }),
    );
    const path = writeFile(work, "a.journal", big, 1, { compressThresholdBytes: undefined });
    writeFile(work, "b.journal", plains(2001, 2011));
    const { set, problems, delays } = openDirectory();
    const read = drain(set, 100);
    // Its beginning can be read, where the header is.
    files.fail("readSync", path);
    files.failFrom = 512 * 1024;
    read.push(...drain(set));
    const known = read.length;
    for (let i = 0; i < LOOKS_MAX; i++) {
      look(set);
      read.push(...drain(set));
    }
    expect(known).toBeLessThan(1000);
    expect(read).toEqual([...numbers(1, known + 1), ...numbers(2001, 2011)]);
    expect([problems.length, delays.length, set.isHolding]).toEqual([1, 1, false]);
    expect([...set.damaged]).toEqual([["file-unreadable", 1]]);
    set.close();
  });

  test("while it is written is read on when it can be, before the file that follows it", () => {
    using files = new FailingFiles();
    const path = join(work, "system.journal");
    const first = createWriter(path);
    publish(first, plains(1, 10));
    const { set } = openDirectory();
    expect(drain(set)).toEqual(numbers(1, 10));
    publish(first, plains(10, 15));
    files.fail("readSync", path);
    set.refreshAll();
    files.mend();
    const archived = join(work, archiveName(1));
    first.moveTo(archived);
    const second = createWriter(path);
    publish(second, plains(15, 20));
    files.fail("openSync", archived);
    look(set);
    expect(drain(set)).toEqual([]);
    expect(tailOf(set)).toBe(9);
    files.mend();
    for (let i = 0; i < 4; i++) look(set);
    expect(drain(set)).toEqual(numbers(10, 20));
    first.close("archived");
    second.close("archived");
    set.close();
  });

  test("and is deleted meanwhile is counted as vacuumed, and holds nothing back any more", () => {
    using files = new FailingFiles();
    const [, second = ""] = writeThree();
    const { set, gaps } = openDirectory({ openFilesMax: 2 });
    files.fail("openSync", second);
    expect(drain(set)).toEqual(numbers(1, 11));
    fs.rmSync(second);
    look(set);
    expect(drain(set)).toEqual(numbers(21, 31));
    expect([set.vacuumed, gaps, set.isHolding]).toEqual([10, [10], false]);
    set.close();
  });

  for (let first = 0; first < 12; first++) {
    test(`does not bring what its copy has brought, when it fails after ${first} entries`, () => {
      using files = new FailingFiles();
      const paths = [1, 2, 3, 1].map((n, i) => {
        const own = plains(1, 6).map((_, k) => plain(k + 1, { second: k * 3 + n, boot: n }));
        return writeFile(work, `${i}.journal`, own, n);
      });
      const { set } = openDirectory({ openFilesMax: 2 });
      const read = drain(set, first);
      for (const path of paths.slice(first % 2)) files.fail("openSync", path, "EMFILE");
      read.push(...drain(set));
      expect(read.length).toBeLessThan(15);
      files.mend();
      for (let i = 0; i < 8; i++) {
        look(set);
        read.push(...drain(set));
      }
      const thrice = numbers(1, 6).flatMap((number) => [number, number, number]);
      expect(read.toSorted()).toEqual(thrice);
      set.close();
    });
  }

  test("is still there when it, or its directory, cannot be looked at", () => {
    using files = new FailingFiles();
    const paths = writeThree();
    const { set, gaps } = openDirectory({ openFilesMax: 2 });
    expect(drain(set, 5)).toHaveLength(5);
    for (const path of paths) files.fail("statSync", path, "ESTALE");
    look(set);
    files.mend();
    set.rescan([], true);
    expect(drain(set)).toEqual(numbers(6, 31));
    expect(gaps).toEqual([]);
    set.close();
  });
});

describe("a file that cannot be opened from the start", () => {
  for (const errno of ["EMFILE", "EIO", "ESTALE"]) {
    test(`holds back what may follow it, where its name does not tell: ${errno}`, () => {
      using files = new FailingFiles();
      const path = writeFile(work, "a.journal", plains(1, 11));
      writeFile(work, "b.journal", plains(11, 21));
      files.fail("openSync", path, errno);
      const start = { tails: tailsAt(5) };
      const { set, problems, delays } = openDirectory({ start });
      expect(drain(set)).toEqual([]);
      expect(set.isHolding).toBe(true);
      set.close();
      // A further run, which begins as this one did.
      const again = openDirectory({ start });
      expect(drain(again.set)).toEqual([]);
      files.mend();
      look(again.set);
      look(again.set);
      expect(drain(again.set)).toEqual(numbers(6, 21));
      expect([problems, delays.length, again.delays.length]).toEqual([[], 1, 2]);
      expect([again.set.isHolding, again.set.damaged.size]).toEqual([false, 0]);
      again.set.close();
    });
  }

  for (const errno of ["EIO", "EACCES"]) {
    test(`holds back its own sequence where its name tells of it: ${errno}`, () => {
      using files = new FailingFiles();
      const names = [1, 11, 21].map((head) => archiveName(head));
      const [, second = ""] = names.map((name, i) =>
        writeFile(work, name, plains(1 + i * 10, 11 + i * 10)),
      );
      writeFile(work, archiveName(1, 2, "user-1000"), plains(1, 4, { message: "user" }), 2);
      files.fail("openSync", second, errno);
      const { set } = openDirectory();
      expect(drain(set).filter((message) => message !== "user")).toEqual(numbers(1, 11));
      expect([set.isHolding, tailOf(set)]).toEqual([true, 10]);
      files.mend();
      look(set);
      expect(drain(set)).toEqual(numbers(11, 31));
      set.close();
    });
  }

  test("is given up after so many attempts", () => {
    using files = new FailingFiles();
    const path = writeFile(work, "a.journal", plains(1, 11));
    writeFile(work, "b.journal", plains(11, 21));
    files.fail("openSync", path);
    const { set, problems, delays } = openDirectory();
    expect(lookUntilGivenUp(set)).toBe(111);
    expect(drain(set)).toEqual(numbers(11, 21));
    for (let i = 0; i < 40; i++) look(set);
    expect([problems.length, delays.length, set.isHolding]).toEqual([1, 1, false]);
    set.close();
  });

  test("or looked at holds back what may follow it as well", () => {
    using files = new FailingFiles();
    const path = writeFile(work, "a.journal", plains(1, 11));
    writeFile(work, "b.journal", plains(11, 21));
    files.fail("statSync", path, "ESTALE");
    const { set, problems, delays } = openDirectory({ start: { tails: tailsAt(5) } });
    expect(drain(set)).toEqual([]);
    files.mend();
    look(set);
    expect(drain(set)).toEqual(numbers(6, 21));
    expect([problems, set.damaged.size, set.vacuumed]).toEqual([[], 0, 0]);
    expect(delays).toEqual([expect.stringContaining("ESTALE"), `${path}: read again`]);
    files.fail("statSync", join(work, "c.journal"));
    set.rescan([...journalFiles(work), join(work, "c.journal")], true);
    expect([set.isHolding, delays.length]).toEqual([true, 3]);
    for (let i = 0; i < LOOKS_MAX; i++) {
      set.rescan([...journalFiles(work), join(work, "c.journal")], true);
    }
    expect([set.isHolding, delays.length, problems.length]).toEqual([false, 3, 1]);
    set.close();
  });

  test("and that nobody may read is told at once, and holds up no other journal", () => {
    using files = new FailingFiles();
    const path = writeFile(work, "system.journal", plains(1, 11), 1);
    writeFile(work, "user-1000.journal", plains(1, 6), 2);
    files.fail("openSync", path, "EACCES");
    const { set, problems } = openDirectory();
    expect(problems).toEqual([expect.stringContaining("EACCES")]);
    expect(drain(set)).toEqual(numbers(1, 6));
    expect(set.isHolding).toBe(false);
    set.close();
  });

  /** A set of three files, of which the last one is known, and cannot be opened to find where to begin. */
  function openWithoutLast(files: FailingFiles, start: Partial<StartPoint>) {
    const [, , last = ""] = [1, 11, 21].map((head) =>
      writeFile(work, archiveName(head), plains(head, head + 10)),
    );
    files.failAfter("openSync", last, 1);
    return openDirectory({ start, openFilesMax: 2 });
  }

  test("is begun at the time where reading begins", () => {
    using files = new FailingFiles();
    const { set } = openWithoutLast(files, { sinceUsec: START_USEC + 25_000_000 });
    expect(drain(set)).toEqual([]);
    expect(set.isHolding).toBe(true);
    files.mend();
    look(set);
    expect(drain(set)).toEqual(numbers(25, 31));
    set.close();
  });

  test("is begun behind the last entry that was read", () => {
    using files = new FailingFiles();
    const { set } = openWithoutLast(files, { tails: tailsAt(25) });
    expect(drain(set)).toEqual([]);
    files.mend();
    look(set);
    expect(drain(set)).toEqual(numbers(26, 31));
    set.close();
  });

  test("is not counted as read when nothing of what follows it is wanted", () => {
    using files = new FailingFiles();
    const open = (file: JournalFile): FileSelector => ({
      next: (index) => (file.header.headEntrySeqnum === 1 ? index : file.entries),
      refresh: () => {},
    });
    const selection = { ...EVERY_ENTRY, open };
    writeFile(work, "1.journal", plains(1, 6), 2);
    const writer = createWriter(join(work, "system.journal"));
    publish(writer, plains(11, 13));
    const { set } = openDirectory({ selection, start: { tails: tailsAt(5) } });
    expect(drain(set)).toEqual(numbers(1, 6));
    // It appears late, and may be of any sequence.
    const path = writeFile(work, "late.journal", plains(13, 14), 3);
    files.fail("openSync", path);
    publish(writer, plains(13, 21));
    look(set);
    set.refreshAll();
    expect(tailOf(set)).toBe(12);
    files.mend();
    look(set);
    publish(writer, plains(21, 22));
    set.refreshAll();
    expect(tailOf(set)).toBe(21);
    writer.close("archived");
    set.close();
  });
});

describe("whatever fails for a while, in whatever order, through restarts", () => {
  /** Two sequences in files of 8 entries, whose names tell or do not, and partial copies of them. */
  function writeMany(random: () => number): string[] {
    const paths: string[] = [];
    for (const sequence of [1, 2]) {
      for (let head = 1; head < 80; head += 8) {
        const own = Array.from({ length: 8 }, (_, i) =>
          plain(head + i, { second: head + i + sequence / 4, message: `${sequence}:${head + i}` }),
        );
        const name = random() < 0.5 ? archiveName(head, sequence) : `${sequence}-${head}.journal`;
        paths.push(writeFile(work, name, own, sequence));
        if (random() > 0.3) continue;
        const copy = `${sequence}-${head}-copy.journal`;
        paths.push(writeFile(work, copy, own.slice(Math.floor(random() * 8)), sequence));
      }
    }
    return paths;
  }

  /** At every third look some files begin to fail, up to the second look after that. */
  function failSome(
    files: FailingFiles,
    paths: readonly string[],
    looks: number,
    random: () => number,
  ): void {
    if (looks % 3 !== 2) files.mend();
    if (looks % 3 !== 1) return;
    for (const path of paths) {
      const call = (["openSync", "readSync", "statSync"] as const)[Math.floor(random() * 3)];
      if (random() < 0.2) files.fail(call ?? "openSync", path);
    }
  }

  /** Messages of all entries, in the order in which they come. */
  function readThrough(paths: readonly string[], openFilesMax: number, random: () => number) {
    using files = new FailingFiles();
    const read: string[] = [];
    const losses: number[] = [];
    let tails: SetPosition["tails"] = new Map();
    let { set } = openDirectory({ openFilesMax });
    for (let looks = 1; read.length < 160 && looks < 500; looks++) {
      failSome(files, paths, looks, random);
      look(set);
      read.push(...drain(set, Math.floor(random() * 12)));
      if (random() > 0.15) continue;
      tails = set.position()?.tails ?? tails;
      losses.push(set.vacuumed + set.damaged.size);
      set.close();
      ({ set } = openDirectory({ start: { tails }, openFilesMax }));
    }
    losses.push(set.vacuumed + set.damaged.size);
    set.close();
    return { read, losses: new Set(losses) };
  }

  for (let seed = 1; seed <= 25; seed++) {
    test(`each entry comes once, and in order: seed ${seed}`, () => {
      const random = seededRandom(seed);
      const { read, losses } = readThrough(writeMany(random), 2 + (seed % 5), random);
      for (const sequence of [1, 2]) {
        const own = read.filter((message) => message.startsWith(`${sequence}:`));
        expect(own).toEqual(numbers(1, 81).map((number) => `${sequence}:${number}`));
      }
      expect([...losses]).toEqual([0]);
    });
  }
});
