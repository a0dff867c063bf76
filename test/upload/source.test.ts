import { afterEach, describe, expect, test } from "bun:test";
import fs from "node:fs";
import { join } from "node:path";
import { HEADER } from "../../src/journal/format.ts";
import type { EntrySource, Position } from "../../src/upload/delivery-types.ts";
import { openSource, type SourceTimes } from "../../src/upload/source.ts";
import { formatState, parseState } from "../../src/upload/state.ts";
import { CapturedLog } from "../support/captured-log.ts";
import { readAll } from "../support/entry-source.ts";
import { FailingFiles } from "../support/failing-files.ts";
import { hasSystemd } from "../support/journal-tools.ts";
import { NO_TRANSFORM, placesOf } from "../support/neutral-settings.ts";
import {
  createWriter,
  drain,
  idOf,
  messageOf,
  numbers,
  plain,
  plains,
  publish,
  START_USEC,
  writeFile,
} from "../support/reader-journals.ts";
import { sourceSettings } from "../support/source-settings.ts";
import { journalctlExport } from "../support/stored-journals.ts";
import { until } from "../support/until.ts";
import { useWorkDirectories } from "../support/work-directory.ts";

const QUICK: SourceTimes = { pollMs: 50, deletedGraceMs: 200 };
/** What is found by looking now and then is not found in these tests. */
const NEVER: SourceTimes = { pollMs: 60_000, deletedGraceMs: 60_000 };

let work = "";
const dir = useWorkDirectories((path) => {
  work = path;
});
const open: EntrySource[] = [];
afterEach(() => {
  for (const source of open.splice(0)) source.close();
});

function start(
  options: Parameters<typeof sourceSettings>[1] = {},
  position?: Position,
  times: SourceTimes = NEVER,
): EntrySource {
  const source = openSource(sourceSettings(work, options), position, times);
  open.push(source);
  return source;
}

function read(options: Parameters<typeof sourceSettings>[1] = {}, position?: Position): string[] {
  const source = start(options, position);
  const messages = drain(source);
  expect(source.isEnded).toBe(true);
  return messages;
}

/** Takes entries as they come. */
class Follower {
  readonly messages: string[] = [];
  /** When each came. */
  readonly times: number[] = [];
  readonly #source: EntrySource;
  readonly #stop = new AbortController();
  readonly #done: Promise<void>;

  constructor(source: EntrySource) {
    this.#source = source;
    this.#done = this.#run();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#done;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted && !this.#source.isEnded) {
      for (let entry = this.#source.next(); entry !== undefined; entry = this.#source.next()) {
        this.messages.push(messageOf(entry));
        this.times.push(performance.now());
      }
      await this.#source.wait(signal);
    }
  }
}

describe("what is there", () => {
  test("is read to its end, and then the source has ended", () => {
    writeFile(work, "a.journal", plains(1, 50));
    expect(read()).toEqual(numbers(1, 50));
  });

  test("is nothing where no journal is, which is told", () => {
    using log = new CapturedLog();
    expect(read()).toEqual([]);
    expect(log.lines).toEqual([`warn: Found no journal files in "${work}"`]);
  });

  test("is changed as the settings say", async () => {
    writeFile(work, "a.journal", plains(1, 3));
    const transform = {
      ...NO_TRANSFORM,
      dropFields: ["_HOSTNAME"],
      addFields: [{ name: "SITE", value: "north" }],
    };
    const entries = await readAll(start({ transform }));
    expect(entries.map(({ fields }) => fields.toSorted())).toEqual(
      ["1", "2"].map((number) => {
        return [`MESSAGE=${number}`, "PRIORITY=6", "SITE=north", `_BOOT_ID=${idOf(1)}`];
      }),
    );
  });

  test("is looked at entry by entry where indexes are damaged, which is counted", () => {
    using log = new CapturedLog();
    writeFile(work, "a.journal", plains(1, 50));
    const file = fs.openSync(join(work, "a.journal"), "r+");
    // Hashes are keyed with it.
    fs.writeSync(file, Buffer.alloc(16, 9), 0, 16, HEADER.fileId);
    fs.closeSync(file);
    const source = start({ selection: { matches: [["PRIORITY=6"]] } });
    expect(source.losses.damaged).toEqual(new Map([["index-damaged", 1]]));
    expect(drain(source)).toEqual(numbers(1, 50));
    expect(log.lines).toEqual([expect.stringContaining("Damaged index")]);
  });

  test("is passed over by steps where it is not wanted: others get their turn", async () => {
    writeFile(work, "a.journal", [...plains(1, 5000), plain(5000, { message: "wanted" })]);
    const source = start({ selection: { grep: ["wanted"] } });
    const isFound = source.next() !== undefined;
    expect([isFound, source.isPausing, source.isEnded]).toEqual([false, true, false]);
    expect((await readAll(source)).map(({ seqnum }) => seqnum)).toEqual([5000]);
  });

  test("is read from a time on, and up to a time", () => {
    writeFile(work, "a.journal", plains(1, 50));
    const time = (second: number) => START_USEC + second * 1_000_000;
    expect(read({ start: { sinceUsec: time(30) } })).toEqual(numbers(30, 50));
    expect(read({ start: { untilUsec: time(30) } })).toEqual(numbers(1, 31));
    expect(read({ start: { sinceUsec: time(20), untilUsec: time(30) } })).toEqual(numbers(20, 31));
    expect(read({ start: { sinceUsec: time(90) } })).toEqual([]);
  });

  test("is read up to a time even when it is followed: then it ends", async () => {
    writeFile(work, "a.journal", plains(1, 50));
    const source = start({ follow: true, start: { untilUsec: START_USEC + 30_000_000 } });
    expect(drain(source)).toEqual(numbers(1, 31));
    expect(source.isEnded).toBe(true);
    const later = start({ follow: true, start: { untilUsec: (Date.now() + 150) * 1000 } });
    const follower = new Follower(later);
    await until(() => later.isEnded);
    expect(follower.messages).toEqual(numbers(1, 50));
    await follower.stop();
  });

  test("is read of one boot, by its id or its place", () => {
    writeFile(work, "a.journal", plains(1, 10, { boot: 1 }).concat(plains(10, 20, { boot: 2 })));
    writeFile(work, "b.journal", plains(20, 30, { boot: 3 }));
    const cases: [string, string[]][] = [
      [idOf(2), numbers(10, 20)],
      ["0", numbers(20, 30)],
      ["-1", numbers(10, 20)],
      ["-2", numbers(1, 10)],
      ["1", numbers(1, 10)],
      ["3", numbers(20, 30)],
      ["all", numbers(1, 30)],
    ];
    for (const [boot, messages] of cases) expect(read({ start: { boot } })).toEqual(messages);
    expect(() => read({ start: { boot: "-3" } })).toThrow(
      'Cannot find boot "-3": the journals have 3 boots, need one of them',
    );
  });

  test("is not read when it is too old at that moment", () => {
    const age = (Date.now() * 1000 - START_USEC) / 1_000_000;
    writeFile(work, "a.journal", plains(1, 5).concat(plains(5, 8, { second: age - 60 })));
    expect(read({ start: { maxAgeUsec: 3_600_000_000 } })).toEqual(numbers(5, 8));
    expect(read({ start: { maxAgeUsec: 1_000_000 } })).toEqual([]);
  });

  test("is read from so many matching lines before the end", () => {
    const fields = (n: number) => [`SYSLOG_IDENTIFIER=${n % 100 === 0 ? "rare" : "common"}`];
    writeFile(
      work,
      "a.journal",
      Array.from({ length: 6000 }, (_, i) => plain(i + 1, { fields: fields(i + 1) })),
    );
    const rare = { selection: { identifiers: ["rare"] } };
    expect(read({ ...rare, start: { lines: 3 } })).toEqual(["5800", "5900", "6000"]);
    expect(read({ start: { lines: 3 } })).toEqual(["5998", "5999", "6000"]);
    expect(read(rare)).toHaveLength(60);
  });

  test("is read from a cursor, with its entry or without", () => {
    writeFile(work, "a.journal", plains(1, 50));
    const source = start();
    drain(source, 20);
    const cursor = source.position()?.cursor ?? "";
    expect(read({ start: { cursor } })).toEqual(numbers(20, 50));
    expect(read({ start: { afterCursor: cursor } })).toEqual(numbers(21, 50));
    if (!hasSystemd()) return;
    const theirs = journalctlExport("-D", work, `--after-cursor=${cursor}`).toString("latin1");
    expect(theirs.match(/^MESSAGE=21$/m)).not.toBeNull();
    expect(theirs.match(/^MESSAGE=20$/m)).toBeNull();
  });

  test("goes on where a state file says, ours or the stock one", () => {
    writeFile(work, "a.journal", plains(1, 50), 1);
    writeFile(work, "b.journal", plains(1, 50, { boot: 2 }), 2);
    const source = start();
    const before = drain(source, 31);
    const position = source.position();
    if (position === undefined) throw new Error("no position");
    const state = formatState({ position, target: undefined });
    const all = read();
    expect(before).toEqual(all.slice(0, 31));
    expect(read({}, parseState(state, "state").position)).toEqual(all.slice(31));
    const stock = `# This is private data. Do not parse.\nLAST_CURSOR=${position.cursor}\n`;
    expect(read({}, parseState(stock, "state").position)).toEqual(all.slice(31));
  });

  test("keeps the position it was given as long as nothing was read", () => {
    const position = { cursor: `s=${idOf(1)};i=1`, tails: new Map() };
    expect(start({}, position).position()).toEqual(position);
    expect(start().position()).toBeUndefined();
  });

  test("tells of a file that cannot be read, once", () => {
    writeFile(work, "a.journal", plains(1, 5));
    fs.writeFileSync(join(work, "b.journal"), "nonsense");
    using log = new CapturedLog();
    const source = start();
    expect(drain(source)).toEqual(numbers(1, 5));
    expect(log.lines).toEqual([
      `warn: Passing over journal file "${join(work, "b.journal")}": Cannot read journal header: no signature "LPKSHHRH", this is not a journal file`,
    ]);
    expect([...source.losses.damaged]).toEqual([["file-unreadable", 1]]);
  });

  test("may be export files", () => {
    fs.writeFileSync(
      join(work, "in.export"),
      "__REALTIME_TIMESTAMP=1\n_BOOT_ID=1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a\nMESSAGE=hello\n\n",
    );
    const places = placesOf({ exportFiles: [join(work, "in.export")] });
    const source = start({ places });
    expect(drain(source)).toEqual(["hello"]);
    expect(source.isEnded).toBe(true);
  });
});

describe("what is followed", () => {
  test("comes within 100 ms, of files that grow, appear, rotate", async () => {
    const path = join(work, "system.journal");
    let writer = createWriter(path, 1);
    const follower = new Follower(start({ follow: true }));
    const delays: number[] = [];
    let n = 0;
    for (let round = 0; round < 12; round++) {
      const writtenMs = performance.now();
      publish(writer, plains(n + 1, n + 8));
      n += 7;
      await until(() => follower.messages.length === n);
      delays.push((follower.times.at(-1) ?? 0) - writtenMs);
      if (round % 4 !== 3) continue;
      writer.moveTo(join(work, `system@${round}.journal`));
      writer.close("archived");
      writer = createWriter(path, 1);
    }
    expect(follower.messages).toEqual(numbers(1, n + 1));
    expect(delays.sort((a, b) => a - b)[6]).toBeLessThan(100);
    await follower.stop();
    writer.close("archived");
  });

  test("comes when the file's size is set anew, which is all that journald does", async () => {
    const path = join(work, "system.journal");
    const writer = createWriter(path, 1);
    publish(writer, plains(1, 2));
    const follower = new Follower(start({ follow: true }));
    await until(() => follower.messages.length === 1);
    // As if written through a map: what is not told of is not looked for.
    publish(writer, plains(2, 3));
    await until(() => follower.messages.length === 2);
    fs.truncateSync(path, fs.statSync(path).size);
    publish(writer, plains(3, 4));
    await until(() => follower.messages.length === 3);
    await follower.stop();
    writer.close("archived");
  });

  test("comes of a directory that appears later, or is replaced", async () => {
    const machine = join(work, idOf(5));
    const follower = new Follower(start({ follow: true }, undefined, QUICK));
    await Bun.sleep(20);
    fs.mkdirSync(machine);
    writeFile(machine, "a.journal", plains(1, 5), 1);
    await until(() => follower.messages.length === 4);
    fs.renameSync(machine, join(work, "old"));
    fs.mkdirSync(machine);
    const writer = createWriter(join(machine, "b.journal"), 2);
    publish(writer, plains(5, 8));
    await until(() => follower.messages.length === 7);
    publish(writer, plains(8, 10));
    await until(() => follower.messages.length === 9);
    expect(follower.messages).toEqual(numbers(1, 10));
    await follower.stop();
    writer.close("archived");
  });

  test("comes without inotify, by looking now and then", async () => {
    const path = join(work, "a.journal");
    const copy = join(dir.path, "outside.journal");
    // Written under a name outside of what is watched, as another machine would.
    const writer = createWriter(copy, 1);
    publish(writer, plains(1, 3));
    fs.mkdirSync(join(work, "x"));
    fs.linkSync(copy, path);
    const follower = new Follower(start({ follow: true }, undefined, QUICK));
    await until(() => follower.messages.length === 2);
    publish(writer, plains(3, 6));
    await until(() => follower.messages.length === 5);
    await follower.stop();
    writer.close("archived");
  });

  test("is complete and in order at thousands of entries a second, through rotations", async () => {
    const path = join(work, "system.journal");
    let writer = createWriter(path, 1);
    const follower = new Follower(start({ follow: true }));
    let n = 0;
    for (let round = 0; round < 300; round++) {
      for (let i = 0; i < 20; i++) publish(writer, [plain(++n)]);
      await Bun.sleep(1);
      if (round % 75 !== 74) continue;
      writer.moveTo(join(work, `system@${round}.journal`));
      writer.close("archived");
      writer = createWriter(path, 1);
    }
    await until(() => follower.messages.length === n);
    expect(follower.messages).toEqual(numbers(1, n + 1));
    await follower.stop();
    writer.close("archived");
  }, 20_000);

  test("wakes who waits when it is closed, or told to stop", async () => {
    const source = start({ follow: true });
    expect(source.next()).toBeUndefined();
    const waiting = source.wait(new AbortController().signal);
    source.close();
    await waiting;
    expect(source.isEnded).toBe(true);
    const other = start({ follow: true });
    const stop = new AbortController();
    const stopped = other.wait(stop.signal);
    stop.abort();
    await stopped;
    expect(other.isEnded).toBe(false);
  });

  test("is given up when it is deleted and nobody takes it, and that is told", async () => {
    using log = new CapturedLog();
    const path = writeFile(work, "a.journal", plains(1, 100));
    const source = start({ follow: true }, undefined, QUICK);
    expect(drain(source, 10)).toHaveLength(10);
    fs.rmSync(path);
    await until(() => source.losses.vacuumed > 0);
    expect(source.losses.vacuumed).toBe(89);
    expect(source.backlog()).toBe(0);
    expect(log.lines).toEqual([
      `warn: Up to 89 entries were deleted before they could be sent, at "${path}"`,
    ]);
  });

  test("is not given up while it is taken, however slowly", async () => {
    const path = writeFile(work, "a.journal", plains(1, 30));
    const source = start({ follow: true }, undefined, QUICK);
    drain(source, 1);
    fs.rmSync(path);
    const rest: string[] = [];
    while (rest.length < 28) {
      rest.push(...drain(source, 1));
      await Bun.sleep(20);
    }
    expect(rest).toEqual(numbers(2, 30));
    expect(source.losses.vacuumed).toBe(0);
  });
});

describe("a file that cannot be opened for a while", () => {
  const LOOKING: SourceTimes = { pollMs: 20, deletedGraceMs: 60_000 };

  /** Restarts, from what was saved. */
  function restart(source: EntrySource, options: Parameters<typeof sourceSettings>[1] = {}) {
    const position = source.position();
    source.close();
    if (position === undefined) throw new Error("nothing was read");
    const { position: saved } = parseState(formatState({ position, target: undefined }), "state");
    return start(options, saved, LOOKING);
  }

  test("is sent before what follows it, once, over restarts before, while and after that", async () => {
    using log = new CapturedLog();
    using files = new FailingFiles();
    const path = writeFile(work, "a.journal", plains(1, 11));
    writeFile(work, "b.journal", plains(11, 21));
    const first = start({}, undefined, LOOKING);
    const sent = drain(first, 4);
    files.fail("openSync", path, "EMFILE");
    const second = restart(first);
    expect(drain(second)).toEqual([]);
    // Others are sent meanwhile, and saved is that these are not.
    fs.mkdirSync(join(work, idOf(5)));
    writeFile(join(work, idOf(5)), "c.journal", plains(31, 36), 2);
    const stop = new AbortController();
    while (sent.length < 9) {
      await second.wait(stop.signal);
      sent.push(...drain(second));
    }
    expect(second.isEnded).toBe(false);
    const third = restart(second);
    expect(drain(third)).toEqual([]);
    files.mend();
    while (!third.isEnded) {
      await third.wait(stop.signal);
      sent.push(...drain(third));
    }
    expect(sent).toEqual([...numbers(1, 5), ...numbers(31, 36), ...numbers(5, 21)]);
    expect(restart(third).next()).toBeUndefined();
    expect(third.losses).toEqual({ vacuumed: 0, damaged: new Map() });
    const trying = expect.stringMatching(
      /^warn: Trying journal file "[^"]+a.journal" again for some minutes, what follows it waits: Cannot open journal file .*EMFILE/,
    );
    expect(log.lines).toEqual([trying, trying, `info: Journal file "${path}" can be read again`]);
  });

  test("and never can is given up: the rest is sent, and that ends", async () => {
    using log = new CapturedLog();
    using files = new FailingFiles();
    const path = writeFile(work, "a.journal", plains(1, 11));
    writeFile(work, "b.journal", plains(11, 21));
    files.fail("openSync", path);
    const source = start({}, undefined, { pollMs: 1, deletedGraceMs: 60_000 });
    const sent = drain(source);
    while (!source.isEnded) {
      await source.wait(new AbortController().signal);
      sent.push(...drain(source));
    }
    expect(sent).toEqual(numbers(11, 21));
    expect(log.lines).toEqual([
      expect.stringMatching(/^warn: Trying journal file .*EIO/),
      expect.stringMatching(/^warn: Passing over journal file .*EIO/),
    ]);
    expect([...source.losses.damaged]).toEqual([["file-unreadable", 1]]);
  });
});
