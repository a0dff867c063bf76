import { describe, expect, test } from "bun:test";
import fs from "node:fs";
import { join } from "node:path";
import { parseCursor } from "../../../src/journal/cursor.ts";
import { FileState, HEADER } from "../../../src/journal/format.ts";
import type { StartPoint } from "../../../src/journal/reader/start.ts";
import { tailOf } from "../../../src/journal/reader/start.ts";
import { entry, textField } from "../../support/export-stream.ts";
import { VARIANTS } from "../../support/journal-samples.ts";
import { hasSystemd, makeJournal } from "../../support/journal-tools.ts";
import {
  BOOT_ID,
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
import { exportSet, openSet } from "../../support/set-export.ts";
import { journalctlExport, journalFiles } from "../../support/stored-journals.ts";
import { useWorkDirectories } from "../../support/work-directory.ts";

let work = "";
const dir = useWorkDirectories((path) => {
  work = path;
});

const { AGENT_SHARED_DATA: DATA = join(import.meta.dir, "../../../../shared/data") } = Bun.env;

/** A set of the files of a directory, looked at. */
function openDirectory(options: Parameters<typeof openSet>[0] = {}, directory = work) {
  const opened = openSet(options);
  opened.set.rescan(journalFiles(directory));
  return opened;
}

/** Messages of all that a new set finds. */
function readAll(options: Parameters<typeof openSet>[0] = {}): string[] {
  const { set } = openDirectory(options);
  const messages = drain(set);
  set.close();
  return messages;
}

function resume(start: Partial<StartPoint>): string[] {
  return readAll({ start });
}

/** Where a set is after so many entries. */
function positionAfter(entries: number) {
  const { set } = openDirectory();
  drain(set, entries);
  const position = set.position();
  set.close();
  if (position === undefined) throw new Error("nothing was read");
  return position;
}

describe.skipIf(!hasSystemd())("the order of entries (needs systemd-journal-remote)", () => {
  /** Three hosts, whose boots and clocks contradict each other. */
  function streamOf(host: number, entries: number): Uint8Array {
    const parts = Array.from({ length: entries }, (_, i) => {
      const boot = idOf(i % 3 === 0 ? 7 : host);
      const time = START_USEC + i * 1000 + host * 300 + (i % 5 === 0 ? -2500 : 0);
      return entry(
        `__REALTIME_TIMESTAMP=${time}`,
        `__MONOTONIC_TIMESTAMP=${5_000_000 + i * 1000 + host}`,
        `_BOOT_ID=${boot}`,
        `MESSAGE=host ${host} entry ${i}`,
        textField("DETAIL", `${"long and dull ".repeat(i % 7 === 0 ? 100 : 1)}${i}`),
      );
    });
    return Buffer.concat(parts);
  }

  for (const [name, variant] of Object.entries(VARIANTS)) {
    test(`is that of journalctl, byte for byte, ${name}`, () => {
      for (const host of [1, 2, 3]) {
        makeJournal(join(work, `h${host}.journal`), streamOf(host, 400), variant);
      }
      const { set, problems } = openDirectory();
      const ours = exportSet(set);
      expect(ours.length).toBeGreaterThan(100_000);
      expect(ours === journalctlExport("-D", work).toString("latin1")).toBe(true);
      expect(problems).toEqual([]);
      expect([...set.damaged]).toEqual([]);
      set.close();
    });
  }

  test.skipIf(!fs.existsSync(DATA))("is that of journalctl for journals of a real machine", () => {
    for (const name of fs.readdirSync(DATA).filter((file) => file.endsWith(".zst"))) {
      const file = Bun.zstdDecompressSync(fs.readFileSync(join(DATA, name)));
      fs.writeFileSync(join(work, name.slice(0, -".zst".length)), file);
    }
    const { set } = openDirectory();
    expect(exportSet(set) === journalctlExport("-D", work).toString("latin1")).toBe(true);
    // The machine lost its power: what is not there may come, in a file that looks as if it were written.
    set.refreshAll();
    expect(exportSet(set)).toBe("");
    expect(set.backlog()).toBe(0);
    set.close();
    for (const file of journalFiles(work)) {
      const { set: one } = openSet();
      one.rescan([file]);
      expect(exportSet(one) === journalctlExport("--file", file).toString("latin1")).toBe(true);
      one.close();
    }
  });
});

describe("several files", () => {
  test("of one sequence come one after the other, whatever their times and names", () => {
    writeFile(work, "c.journal", plains(1, 50, { second: 900 }));
    writeFile(work, "a.journal", plains(50, 60, { second: 5, boot: 2 }));
    writeFile(work, "b.journal", plains(60, 90, { second: 400, boot: 3 }));
    expect(readAll()).toEqual(numbers(1, 90));
  });

  test("of one boot come by monotonic time, others by the wall clock", () => {
    const first = [1, 3, 5].map((n) => plain(n, { second: 100 - n, monotonic: n }));
    const second = [2, 4, 6].map((n) => plain(n, { second: n, monotonic: n }));
    const third = [plain(7, { boot: 2, second: 98, message: "other" })];
    writeFile(work, "a.journal", first, 1);
    writeFile(work, "b.journal", second, 2);
    expect(readAll()).toEqual(numbers(1, 7));
    writeFile(work, "c.journal", third, 3);
    expect(readAll().filter((message) => message !== "other")).toEqual(numbers(1, 7));
  });

  test("may have the same entry: it comes once", () => {
    const path = writeFile(work, "a.journal", plains(1, 50));
    fs.copyFileSync(path, join(work, "copy.journal"));
    writeFile(work, "b.journal", plains(30, 80));
    expect(readAll()).toEqual(numbers(1, 80));
  });

  test("may have equal entries with other numbers: each of them comes", () => {
    const twins = { second: 1, message: "twin" };
    writeFile(work, "a.journal", [plain(1, twins), plain(2, twins)], 1);
    writeFile(work, "b.journal", [plain(1, twins)], 2);
    expect(readAll()).toEqual(["twin", "twin", "twin"]);
  });

  test("can be many more than may be open", () => {
    for (let i = 0; i < 30; i++)
      writeFile(work, `${i}.journal`, plains(1 + i * 10, 11 + i * 10), 1);
    for (let i = 0; i < 6; i++) {
      const own = Array.from({ length: 20 }, (_, n) =>
        plain(n + 1, { second: n * 15 + i, boot: i + 2 }),
      );
      writeFile(work, `other-${i}.journal`, own, i + 2);
    }
    const all = readAll();
    expect(all).toHaveLength(420);
    const { set, problems } = openDirectory({ openFilesMax: 3 });
    const few = drain(set);
    expect(few).toEqual(all);
    expect(problems).toEqual([]);
    set.close();
  });

  test("that are none are told of once, and again when they have changed", () => {
    writeFile(work, "a.journal", plains(1, 5));
    fs.writeFileSync(join(work, "b.journal"), "no journal at all");
    const { set, problems } = openDirectory();
    expect(drain(set)).toEqual(numbers(1, 5));
    set.rescan(journalFiles(work));
    expect(problems).toEqual([expect.stringContaining('no signature "LPKSHHRH"')]);
    expect([...set.damaged]).toEqual([["file-unreadable", 1]]);
    fs.rmSync(join(work, "b.journal"));
    writeFile(work, "b.journal", plains(5, 9));
    set.rescan(journalFiles(work));
    expect(drain(set)).toEqual(numbers(5, 9));
    set.close();
  });

  test("of a newer format are told of by name, and the others are read", () => {
    const path = writeFile(work, "a.journal", plains(1, 5), 1);
    writeFile(work, "b.journal", plains(1, 5), 2);
    const fd = fs.openSync(path, "r+");
    fs.writeSync(fd, Buffer.of(0x20 | 0x14), 0, 1, HEADER.incompatibleFlags);
    fs.closeSync(fd);
    const { set, problems } = openDirectory();
    expect(drain(set)).toEqual(numbers(1, 5));
    expect(problems).toEqual([
      `${path}: Cannot read journal header: incompatible flags 0x20 are unknown`,
    ]);
    set.close();
  });

  test("that are being made are not complained about", () => {
    fs.writeFileSync(join(work, "a.journal"), "");
    fs.writeFileSync(join(work, "b.journal"), Buffer.alloc(4096));
    const { set, problems } = openDirectory();
    fs.rmSync(join(work, "a.journal"));
    const writer = createWriter(join(work, "a.journal"));
    publish(writer, plains(1, 3));
    set.rescan(journalFiles(work), true);
    expect(drain(set)).toEqual(numbers(1, 3));
    set.rescan(journalFiles(work));
    expect(problems).toEqual([]);
    // Nobody comes to write it.
    set.rescan(journalFiles(work), true);
    set.rescan(journalFiles(work), true);
    expect(problems).toEqual([expect.stringContaining("b.journal")]);
    writer.close("archived");
    set.close();
  });
});

describe("a position", () => {
  /** Three sequences that take turns, two of them in several files. */
  function writeThree(): void {
    const turn = (from: number, to: number, shift: number) =>
      Array.from({ length: to - from }, (_, i) => {
        const n = from + i;
        return plain(n, { second: n * 3 + shift, message: `${shift}:${n}` });
      });
    writeFile(work, "a1.journal", turn(1, 10, 0), 1);
    writeFile(work, "a2.journal", turn(10, 21, 0), 1);
    writeFile(work, "b1.journal", turn(1, 5, 1), 2);
    writeFile(work, "b2.journal", turn(5, 15, 1), 2);
    writeFile(work, "c.journal", turn(4, 12, 2), 3);
  }

  test("is where reading goes on, after any entry", () => {
    writeThree();
    const all = readAll();
    expect(all).toHaveLength(42);
    for (let n = 1; n <= all.length; n++) {
      const { tails } = positionAfter(n);
      expect(resume({ tails })).toEqual(all.slice(n));
    }
  });

  test("that is only a cursor goes on behind its entry", () => {
    writeThree();
    const all = readAll();
    for (let n = 1; n <= all.length; n++) {
      const cursor = parseCursor(positionAfter(n).cursor);
      const tails = new Map([tailOf(cursor)].filter((tail) => tail !== undefined));
      expect(resume({ cursor, isAfterCursor: true, tails })).toEqual(all.slice(n));
      expect(resume({ cursor, isAfterCursor: false })).toEqual(all.slice(n - 1));
    }
  });

  test("tells the cursor that journalctl does", () => {
    writeThree();
    const { cursor, tails } = positionAfter(42);
    expect(cursor).toMatch(/^s=1a1a.*;i=14;b=1a1a.*;m=3938700;t=60a241b/);
    expect(tails.get(idOf(2))?.seqnum).toBe(14);
    if (!hasSystemd()) return;
    const last = journalctlExport("-D", work, "-n1").toString("latin1");
    expect(last).toStartWith(`__CURSOR=${cursor}\n`);
  });

  test("does not hide entries of another sequence that come late", () => {
    writeFile(work, "a.journal", plains(100, 120), 1);
    const { set } = openDirectory();
    expect(drain(set)).toEqual(numbers(100, 120));
    writeFile(work, "late.journal", plains(1, 20), 2);
    const position = set.position();
    set.rescan(journalFiles(work));
    expect(drain(set)).toEqual(numbers(1, 20));
    set.close();
    expect(resume({ tails: position?.tails ?? new Map() })).toEqual(numbers(1, 20));
  });

  test("counts what was passed over at the start as read", () => {
    writeFile(work, "a.journal", plains(1, 20), 1);
    writeFile(work, "b.journal", plains(1, 10), 2);
    const { set } = openDirectory({ start: { sinceUsec: START_USEC + 15_000_000 } });
    expect(drain(set)).toEqual(numbers(15, 20));
    expect(resume({ tails: set.position()?.tails ?? new Map() })).toEqual([]);
    set.close();
  });

  test("knows numbers that journald gave twice, after a loss of power", () => {
    // The last three entries were read, and then lost with the machine's power.
    const lost = { seqnum: 13, realtimeUsec: START_USEC + 13_000_000, bootId: idOf(1) };
    writeFile(work, "system@1.journal~", plains(1, 11));
    writeFile(
      work,
      "system.journal",
      [11, 12].map((n) =>
        plain(n, { boot: 2, second: 100 + n, monotonic: n, message: `new ${n}` }),
      ),
    );
    const tails = new Map([[idOf(1), lost]]);
    expect(resume({ tails })).toEqual(["new 11", "new 12"]);
  });

  test("does not take older boots for such numbers where the clock was wrong", () => {
    writeFile(work, "a.journal", plains(1, 51, { boot: 1, second: 900 }));
    writeFile(work, "b.journal", plains(51, 80, { boot: 2, second: 5 }));
    const tails = new Map([
      [idOf(1), { seqnum: 60, realtimeUsec: START_USEC + 5_000_000, bootId: idOf(2) }],
    ]);
    expect(resume({ tails })).toEqual(numbers(61, 80));
  });
});

describe("where to start", () => {
  test("at a cursor of times alone", () => {
    writeFile(work, "a.journal", plains(1, 30));
    const at = (parts: string) => resume({ cursor: parseCursor(parts), isAfterCursor: false });
    expect(at(`t=${(START_USEC + 20_000_000).toString(16)}`)).toEqual(numbers(20, 30));
    expect(at(`b=${idOf(1)};m=${(25_000_000).toString(16)}`)).toEqual(numbers(25, 30));
    // Of a boot that nobody knows, by the wall clock.
    expect(at(`b=${idOf(9)};m=1;t=${(START_USEC + 28_000_000).toString(16)}`)).toEqual(
      numbers(28, 30),
    );
    // Behind the last entry of a boot the next one begins: nothing is lost.
    writeFile(
      work,
      "b.journal",
      [...plains(40, 50, { boot: 3 }), ...plains(50, 60, { boot: 4 })],
      2,
    );
    expect(at(`b=${idOf(3)};m=${(70_000_000).toString(16)}`)).toEqual([
      ...numbers(1, 30),
      ...numbers(50, 60),
    ]);
  });

  test("so many lines before the end of all files together", () => {
    writeFile(work, "a1.journal", plains(1, 20), 1);
    writeFile(work, "a2.journal", plains(20, 40), 1);
    const other = [10, 38, 39].map((n) => plain(n, { second: n, boot: 2, message: `b${n}` }));
    writeFile(work, "b.journal", other, 2);
    const all = readAll();
    for (const lines of [0, 1, 2, 5, 25, 42, 1000]) {
      expect(resume({ lines })).toEqual(all.slice(all.length - Math.min(lines, all.length)));
    }
  });

  test("so many lines, counted over those that are wanted", () => {
    writeFile(work, "a.journal", plains(1, 5000));
    const bootWords = new Int32Array(new Uint8Array(Buffer.from(idOf(1), "hex")).buffer);
    const window = { fromUsec: 0, untilUsec: START_USEC + 3_000_000_000, bootWords };
    expect(readAll({ start: { lines: 3 }, window })).toEqual(["2998", "2999", "3000"]);
    window.bootWords = new Int32Array(4);
    expect(readAll({ start: { lines: 3 }, window })).toEqual([]);
  });
});

describe("files that change", () => {
  test("are read on when they grow, and nothing of them twice", () => {
    const writer = createWriter(join(work, "system.journal"));
    const { set } = openDirectory();
    for (let n = 1; n < 400; n += 7) {
      publish(writer, plains(n, n + 7));
      set.refresh(join(work, "system.journal"));
      expect(drain(set)).toEqual(numbers(n, n + 7));
    }
    expect(set.damaged.size).toBe(0);
    writer.close("archived");
    set.close();
  });

  test("are read to their end before the file that follows", () => {
    const path = join(work, "system.journal");
    const first = createWriter(path);
    publish(first, plains(1, 10));
    const { set } = openDirectory();
    expect(drain(set, 5)).toEqual(numbers(1, 6));
    publish(first, plains(10, 15));
    first.moveTo(join(work, "system@1.journal"));
    first.close("archived");
    const second = createWriter(path);
    publish(second, plains(15, 20));
    set.rescan(journalFiles(work));
    expect(drain(set)).toEqual(numbers(6, 20));
    second.close("archived");
    set.close();
  });

  test("are closed when they are at their end for good", () => {
    for (let i = 0; i < 20; i++) writeFile(work, `${i}.journal`, plains(1 + i, 2 + i));
    const before = fs.readdirSync("/proc/self/fd").length;
    const { set } = openDirectory();
    expect(fs.readdirSync("/proc/self/fd").length).toBeGreaterThan(before + 15);
    expect(drain(set)).toHaveLength(20);
    expect(fs.readdirSync("/proc/self/fd").length).toBe(before);
    set.close();
  });

  test("are read on after they were closed, when somebody appends to them", () => {
    const path = writeFile(work, "a.journal", plains(1, 10));
    const copy = join(dir.path, "longer.journal");
    const writer = createWriter(copy, 1, {
      fileId: fs.readFileSync(path).subarray(HEADER.fileId, 40),
    });
    publish(writer, plains(1, 15));
    const { set } = openDirectory();
    expect(drain(set)).toHaveLength(9);
    fs.copyFileSync(copy, path);
    set.rescan(journalFiles(work));
    expect(drain(set)).toEqual(numbers(10, 15));
    writer.close("archived");
    set.close();
  });

  test("are new ones when they are others under the name of an old one", () => {
    const path = writeFile(work, "a.journal", plains(1, 10));
    const { set } = openDirectory();
    expect(drain(set)).toHaveLength(9);
    const other = writeFile(dir.path, "other.journal", plains(1, 5), 2);
    fs.copyFileSync(other, path);
    set.rescan(journalFiles(work));
    expect(drain(set)).toEqual(numbers(1, 5));
    set.close();
  });

  test("are found again in another directory and under another name", () => {
    const path = writeFile(work, "a.journal", plains(1, 10));
    const { set } = openDirectory();
    expect(drain(set, 3)).toHaveLength(3);
    fs.mkdirSync(join(work, "moved"));
    fs.renameSync(path, join(work, "moved", "b.journal"));
    set.rescan(journalFiles(join(work, "moved")));
    expect(drain(set)).toEqual(numbers(4, 10));
    expect(set.vacuumed).toBe(0);
    set.close();
  });
});

describe("files that are deleted", () => {
  /** What systemd does to a journal that it deletes while somebody has it open. */
  function erase(path: string): void {
    fs.writeFileSync(path, Buffer.alloc(fs.statSync(path).size), { flag: "r+" });
    fs.rmSync(path);
  }

  test("are read on as long as they are whole", () => {
    const path = writeFile(work, "a.journal", plains(1, 100));
    const { set, gaps } = openDirectory();
    expect(drain(set, 10)).toHaveLength(10);
    fs.rmSync(path);
    set.rescan([]);
    expect(drain(set)).toEqual(numbers(11, 100));
    set.giveUpDeleted();
    expect(gaps).toEqual([]);
    set.close();
  });

  test("free their space when they are given up, and what they had is counted", () => {
    const path = writeFile(work, "a.journal", plains(1, 100));
    const before = fs.readdirSync("/proc/self/fd").length;
    const { set, gaps } = openDirectory();
    expect(drain(set, 10)).toHaveLength(10);
    fs.rmSync(path);
    set.rescan([]);
    expect(set.backlog()).toBe(89);
    set.giveUpDeleted();
    expect(fs.readdirSync("/proc/self/fd").length).toBe(before);
    expect(drain(set)).toEqual([]);
    expect([set.vacuumed, gaps, set.backlog()]).toEqual([89, [89], 0]);
    expect(set.damaged.size).toBe(0);
    set.close();
  });

  test("and erased are lost, to the entry, and not called damaged", () => {
    const big = Array.from({ length: 2000 }, (_, i) =>
      plain(i + 1, { fields: [`BODY=${i}${"x".repeat(500)}`] }),
    );
    const path = writeFile(work, "a.journal", big, 1, { compressThresholdBytes: undefined });
    const next = writeFile(work, "b.journal", plains(2001, 2011));
    const { set, gaps } = openDirectory();
    const read = drain(set, 100);
    erase(path);
    // What is in memory may be read on; what is not is known to be gone.
    read.push(...drain(set));
    const known = read.length - 10;
    expect(read).toEqual([...numbers(1, known + 1), ...numbers(2001, 2011)]);
    expect(known).toBeLessThan(1000);
    expect([set.vacuumed, gaps]).toEqual([2000 - known, [2000 - known]]);
    expect(set.damaged.size).toBe(0);
    set.rescan([next]);
    expect(gaps).toHaveLength(1);
    set.close();
  });

  test("before their turn, and not open, are counted too", () => {
    const paths = [0, 1, 2, 3].map((i) =>
      writeFile(work, `${i}.journal`, plains(1 + i * 10, 11 + i * 10)),
    );
    const { set } = openDirectory({ openFilesMax: 2 });
    expect(drain(set, 5)).toEqual(numbers(1, 6));
    for (const path of paths.slice(2)) fs.rmSync(path);
    set.rescan(paths.slice(0, 2));
    expect(drain(set)).toEqual(numbers(6, 21));
    expect(set.vacuumed).toBe(20);
    expect(set.position()?.tails.get(idOf(1))?.seqnum).toBe(40);
    set.close();
  });

  test("while reading was stopped leave a gap in the numbers", () => {
    writeFile(work, "a.journal", plains(1, 50));
    const { tails, cursor } = positionAfter(20);
    fs.rmSync(join(work, "a.journal"));
    writeFile(work, "b.journal", plains(70, 80));
    const { set, gaps } = openDirectory({ start: { tails } });
    expect(drain(set)).toEqual(numbers(70, 80));
    expect([set.vacuumed, gaps]).toEqual([49, [49]]);
    set.close();
    const place = parseCursor(cursor);
    const fromCursor = new Map([tailOf(place)].filter((tail) => tail !== undefined));
    const stock = openDirectory({
      start: { cursor: place, isAfterCursor: true, tails: fromCursor },
    });
    expect(drain(stock.set)).toEqual(numbers(70, 80));
    expect(stock.gaps).toEqual([49]);
    stock.set.close();
  });

  test("leave no gap where the numbers stand in the files of others", () => {
    writeFile(work, "system1.journal", plains(1, 50), 1);
    const { tails } = positionAfter(49);
    fs.rmSync(join(work, "system1.journal"));
    writeFile(work, "user.journal", plains(50, 61), 2);
    writeFile(work, "system2.journal", plains(61, 70), 1);
    const { set, gaps } = openDirectory({ start: { tails } });
    drain(set);
    expect(gaps).toEqual([]);
    set.close();
  });
});

test("holes in the numbers of files that are all there are no gap", () => {
  const system = createWriter(join(work, "system.journal"), 1);
  const user = createWriter(join(work, "user-1000.journal"), 2);
  publish(system, plains(1, 10));
  publish(user, plains(10, 20));
  const { set, gaps } = openDirectory();
  drain(set);
  const tails = set.position()?.tails ?? new Map();
  system.moveTo(join(work, "system@1.journal"));
  system.close("archived");
  const next = createWriter(join(work, "system.journal"), 1);
  publish(user, plains(20, 300));
  publish(next, plains(300, 310));
  set.rescan(journalFiles(work));
  expect(drain(set)).toHaveLength(290);
  expect(gaps).toEqual([]);
  const again = openDirectory({ start: { tails } });
  expect(drain(again.set)).toHaveLength(290);
  expect(again.gaps).toEqual([]);
  for (const writer of [user, next]) writer.close("archived");
  for (const opened of [set, again.set]) opened.close();
});

test("entries of a state that names no boot of the file are not lost", () => {
  writeFile(work, "a.journal", plains(1, 10));
  const tails = new Map([[idOf(9), { seqnum: 5, realtimeUsec: START_USEC * 2, bootId: BOOT_ID }]]);
  expect(resume({ tails })).toEqual(numbers(1, 10));
});

test("a file left online by a crash is read to its end", () => {
  const path = writeFile(work, "a.journal~", plains(1, 10));
  const fd = fs.openSync(path, "r+");
  fs.writeSync(fd, Buffer.of(FileState.online), 0, 1, HEADER.state);
  fs.closeSync(fd);
  expect(readAll()).toEqual(numbers(1, 10));
});
