import { afterAll, describe, expect, test } from "bun:test";
import { spawn, spawnSync } from "node:child_process";
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { parseId128 } from "../../src/bytes/id128.ts";
import { EVERY_ENTRY } from "../../src/journal/reader/selection-types.ts";
import { ExportSource } from "../../src/upload/export-source.ts";
import { openSelection } from "../../src/upload/selection.ts";
import { CapturedLog } from "../support/captured-log.ts";
import { readAll } from "../support/entry-source.ts";
import {
  BOOT_ID,
  binaryField,
  concat,
  REALTIME_USEC,
  SEQNUM_ID,
  sampleEntry,
} from "../support/export-stream.ts";
import { NO_SELECTION, NO_TRANSFORM } from "../support/neutral-settings.ts";
import { TempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";

const dir = new TempDir();
afterAll(() => dir[Symbol.dispose]());
let files = 0;
const write = (...parts: (string | Uint8Array)[]): string =>
  dir.write(`${files++}.export`, concat(...parts));

const NO_START = { sinceUsec: undefined, untilUsec: undefined };
const never = new AbortController().signal;

function sourceOf(...paths: string[]): ExportSource {
  return new ExportSource({ files: paths, selection: EVERY_ENTRY, start: NO_START });
}

function makeFifo(): string {
  const path = join(dir.path, `${files++}.fifo`);
  expect(spawnSync("mkfifo", [path]).status).toBe(0);
  return path;
}

const samples = (first: number, count: number): Uint8Array =>
  concat(...Array.from({ length: count }, (_, i) => sampleEntry(first + i)));
const seqnums = (first: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => first + i + 1);

describe("ExportSource", () => {
  test("gives the entries of files in the order in which they are named", async () => {
    const source = sourceOf(write(samples(5, 3)), write(), write(samples(0, 2)));
    expect((await readAll(source)).map(({ seqnum }) => seqnum)).toEqual([6, 7, 8, 1, 2]);
    expect(source.isEnded).toBe(true);
    expect(source.position()).toBeUndefined();
    expect(source.losses).toEqual({ vacuumed: 0, damaged: new Map() });
    expect(source.failure).toBeUndefined();
    source.close();
  });

  test("gives an entry as it stands in the stream", () => {
    const binary = binaryField("B", "\n\n\0\n\n");
    const source = sourceOf(write(sampleEntry(4, { fields: [binary, "A=1", "A=1"] })));
    expect(source.next()).toMatchObject({
      seqnum: 5,
      realtimeUsec: REALTIME_USEC + 4000,
      monotonicUsec: 5_004_000,
      bootId: parseId128(BOOT_ID),
      seqnumId: parseId128(SEQNUM_ID),
      hasXorHash: true,
      xorHashLow: 4 * 7919,
      xorHashHigh: 0,
      recordCount: 6,
    });
    source.close();
  });

  test("takes entries without an identity", async () => {
    const [entry] = await readAll(sourceOf(write(sampleEntry(1, { identity: false }))));
    expect(entry?.seqnum).toBe(0);
  });

  test("reads entries that are larger than a chunk, and empty lines of any number", async () => {
    const filler = ["\n".repeat(10), "A".repeat(300_000), "\n\n\n".repeat(50_000)];
    const large = (i: number) =>
      sampleEntry(i, { fields: filler.map((text) => binaryField("LARGE", `${i}${text}`)) });
    const path = write("\n\n", large(0), "\n", large(1), "\n\n\n\n", sampleEntry(2));
    const entries = await readAll(sourceOf(path));
    expect(entries.map(({ seqnum }) => seqnum)).toEqual([1, 2, 3]);
    const sizes = entries[1]?.fields
      .filter((field) => field.startsWith("LARGE"))
      .map(({ length }) => length);
    expect(sizes).toEqual([17, 300_007, 150_007]);
  });

  test("gives a field that comes again the same record", () => {
    const source = sourceOf(write(samples(0, 3)));
    const records = [0, 1, 2].map(() => {
      const entry = source.next();
      return [...(entry?.records.subarray(0, entry.recordCount) ?? [])];
    });
    expect(new Set(records.map(([bootId]) => bootId)).size).toBe(1);
    expect(new Set(records.map(([, , message]) => message)).size).toBe(3);
    source.close();
  });

  test("counts entries that are refused, says so once a file, and goes on", async () => {
    using log = new CapturedLog();
    const path = write(
      "MESSAGE=no time\n\n",
      samples(0, 1),
      "a=1\n\nb=2\n\n",
      samples(1, 1),
      "CUT=",
    );
    const source = sourceOf(path, write(samples(2, 1)));
    expect((await readAll(source)).map(({ seqnum }) => seqnum)).toEqual([1, 2, 3]);
    const refused = [
      ["no-realtime", 1],
      ["bad-name", 2],
      ["truncated", 1],
    ] as const;
    expect(source.losses.damaged).toEqual(new Map(refused));
    expect(log.lines).toEqual([
      `warn: Entries of "${path}" that no journal can hold are left out: no-realtime=1 bad-name=2 truncated=1`,
      `error: Cannot send all of "${path}": it ends inside an entry, 4 bytes are lost`,
    ]);
    expect(source.failure?.code).toBe("E_EXPORT_SYNTAX");
  });

  test("tells of a file without entries, unless it is empty", async () => {
    using log = new CapturedLog();
    const text = write("Title = 1\n\n".repeat(3));
    const source = sourceOf(write(samples(0, 1)), write(""), text);
    expect((await readAll(source)).map(({ seqnum }) => seqnum)).toEqual([1]);
    expect(log.lines.at(-1)).toBe(`error: Cannot send "${text}": it has no entries`);
    expect(source.failure?.code).toBe("E_EXPORT_SYNTAX");
  });

  test("tells of files that cannot be read, and reads the others", async () => {
    using log = new CapturedLog();
    const missing = join(dir.path, "missing");
    const source = sourceOf(missing, dir.path, write(samples(0, 1)), "/proc/self/mem");
    expect((await readAll(source)).map(({ seqnum }) => seqnum)).toEqual([1]);
    expect(source.losses.damaged).toEqual(new Map([["file", 3]]));
    expect(source.failure?.message).toStartWith(`Cannot open "${missing}": ENOENT`);
    expect(log.lines).toHaveLength(3);
    expect(log.lines[1]).toContain("it is a directory, a file is needed");
    expect(log.lines[2]).toStartWith('error: Cannot read "/proc/self/mem": ');
  });

  test("names what a file is instead of an export stream", async () => {
    using log = new CapturedLog();
    const zstd = write(Bun.zstdCompressSync("MESSAGE=a"));
    const gzip = write(Bun.gzipSync("MESSAGE=a"));
    const journal = write("LPKSHHRH", new Uint8Array(300));
    const source = sourceOf(zstd, gzip, journal);
    expect(await readAll(source)).toEqual([]);
    expect(log.lines).toEqual([
      `error: Cannot read "${zstd}": it is compressed by zstd, need an export stream; zstd -dc FILE | agent upload -`,
      `error: Cannot read "${gzip}": it is compressed by gzip, need an export stream; gzip -dc FILE | agent upload -`,
      `error: Cannot read "${journal}": it is a journal file, need an export stream; agent upload --file=FILE`,
    ]);
    expect(source.failure?.code).toBe("E_EXPORT_SYNTAX");
  });

  test("chooses entries by their fields and times", async () => {
    const selection = openSelection({ ...NO_SELECTION, grep: ["[246]$"] }, NO_TRANSFORM);
    const start = { sinceUsec: REALTIME_USEC + 2000, untilUsec: REALTIME_USEC + 5000 };
    const source = new ExportSource({ files: [write(samples(0, 9))], selection, start });
    expect((await readAll(source)).map(({ seqnum }) => seqnum)).toEqual([3, 5]);
  });

  test("passes over entries that are not wanted by steps: others get their turn", async () => {
    const selection = openSelection({ ...NO_SELECTION, matches: [["A=1"]] }, NO_TRANSFORM);
    const path = write(samples(0, 5000), sampleEntry(5000, { fields: ["A=1"] }));
    const source = new ExportSource({ files: [path], selection, start: NO_START });
    const isFound = source.next() !== undefined;
    expect([isFound, source.isPausing, source.isEnded]).toEqual([false, true, false]);
    expect((await readAll(source)).map(({ seqnum }) => seqnum)).toEqual([5001]);
  });

  test("estimates what is left from the bytes", () => {
    const source = sourceOf(write(samples(0, 4000)));
    expect(source.backlog()).toBe(0);
    for (let i = 0; i < 1000; i++) source.next();
    expect(source.backlog()).toBeWithin(2900, 3100);
    source.close();
    expect(source.backlog()).toBe(0);
    expect(source.next()).toBeUndefined();
  });
});

describe("ExportSource of a pipe", () => {
  test("reads it as it is written, to its end", async () => {
    const path = makeFifo();
    const source = sourceOf(path, write(samples(9, 1)));
    expect(source.next()).toBeUndefined();
    expect(source.isEnded).toBe(false);
    const opened = source.wait(never);
    const writer = openSync(path, "r+");
    writeSync(writer, samples(0, 2));
    writeSync(writer, sampleEntry(2).subarray(0, 20));
    await opened;
    expect([source.next()?.seqnum, source.next()?.seqnum, source.next()]).toEqual([
      1,
      2,
      undefined,
    ]);
    writeSync(writer, sampleEntry(2).subarray(20));
    await source.wait(never);
    expect([source.next()?.seqnum, source.next()]).toEqual([3, undefined]);
    closeSync(writer);
    expect((await readAll(source)).map(({ seqnum }) => seqnum)).toEqual([10]);
  });

  test("reads a large one whole, ahead of who takes its entries but not far", async () => {
    const path = makeFifo();
    const count = 60_000;
    const file = write(samples(0, count));
    const writer = spawn("sh", ["-c", `cat "${file}" > "${path}"`]);
    const source = sourceOf(path);
    await source.wait(never);
    // Of 1 KiB each, as long as none is known: 4 MiB and what came with the last read.
    await until(() => source.backlog() >= 4096);
    await Bun.sleep(100);
    expect(source.backlog()).toBeLessThan(5000);
    expect((await readAll(source)).map(({ seqnum }) => seqnum)).toEqual(seqnums(0, count));
    await until(() => writer.exitCode !== null);
  });

  test("waiting ends with the signal, for its writer and for its bytes", async () => {
    const path = makeFifo();
    const source = sourceOf(path);
    const first = new AbortController();
    const opening = source.wait(first.signal);
    first.abort();
    await opening;
    expect(source.isEnded).toBe(false);
    const opened = source.wait(AbortSignal.timeout(500));
    const writer = openSync(path, "r+");
    await opened;
    await source.wait(AbortSignal.timeout(20));
    expect(source.next()).toBeUndefined();
    source.close();
    closeSync(writer);
    expect(source.isEnded).toBe(true);
  });

  test("reads standard input", async () => {
    const program = `
      import { ExportSource } from "${join(import.meta.dir, "../../src/upload/export-source.ts")}";
      import { EVERY_ENTRY } from "${join(import.meta.dir, "../../src/journal/reader/selection-types.ts")}";
      import { readAll } from "${join(import.meta.dir, "../support/entry-source.ts")}";
      const start = { sinceUsec: undefined, untilUsec: undefined };
      const source = new ExportSource({ files: ["-"], selection: EVERY_ENTRY, start });
      console.log((await readAll(source)).map(({ seqnum }) => seqnum).join());`;
    const script = dir.write("stdin.ts", program);
    const stream = samples(0, 3);
    const stdins = [stream, Bun.file(write(stream))];
    for (const stdin of stdins) {
      const { stdout } = Bun.spawnSync([process.execPath, script], { stdin });
      expect(stdout.toString()).toBe("1,2,3\n");
    }
  });
});
