/** What a full disk does to files that are being written. */
import { afterAll, afterEach, describe, expect, mock, spyOn, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { AgentError } from "../../src/errors.ts";
import { FileState } from "../../src/journal/format.ts";
import { PageCache } from "../../src/journal/page-cache.ts";
import { JournalWriter } from "../../src/journal/writer.ts";
import {
  appendAll,
  complaints,
  exported,
  hostEntries,
  hostEntry,
  OPTIONS,
  type PlainEntry,
  toExported,
  writeJournal,
} from "../support/journal-entries.ts";
import { JournalImage } from "../support/journal-image.ts";
import { hasSystemd } from "../support/journal-tools.ts";
import { SmallDisk } from "../support/small-disk.ts";
import { TempDir } from "../support/temp-dir.ts";

const RAW = { ...OPTIONS, compressThresholdBytes: undefined };
const dir = new TempDir();
afterAll(() => dir[Symbol.dispose]());
afterEach(() => void mock.restore());

/** Entries of about two kilobytes each. */
function bulkyEntries(count: number, firstSeqnum = 1): PlainEntry[] {
  return Array.from({ length: count }, (_, i) =>
    hostEntry(firstSeqnum + i, `BODY=${firstSeqnum + i} ${"x".repeat(2000)}`),
  );
}

function expectEntries(file: string, entries: readonly PlainEntry[], state: number): void {
  const image = new JournalImage(fs.readFileSync(file));
  expect(image.header.state).toBe(state);
  expect(image.entries().map(({ seqnum }) => seqnum)).toEqual(entries.map(({ seqnum }) => seqnum));
  image.data();
  if (!hasSystemd()) return;
  expect(exported(file)).toEqual(entries.map(toExported));
  if (state !== FileState.online) expect(complaints(file)).toEqual([]);
}

function thrownBy(run: () => void): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  return undefined;
}

const FULL = {
  code: "E_NO_SPACE",
  hint: "Free space on this file system or lower MaxUse=",
  message: expect.stringContaining("ENOSPC"),
};

/** Has the n-th write from now on, and all that follow, fail as on a full disk; returns how to end that. */
function failWrites(from: number): () => void {
  const { writeSync } = fs;
  let left = from;
  const spy = spyOn(fs, "writeSync").mockImplementation((...args: unknown[]) => {
    if (left-- > 0) return Reflect.apply(writeSync, fs, args);
    throw Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
  });
  return () => spy.mockRestore();
}

describe("JournalWriter.publish() that fails", () => {
  test("at any of its writes changes nothing for readers, and succeeds when repeated", () => {
    const entries = bulkyEntries(60);
    let failures = 0;
    for (let allowed = 0; ; allowed++) {
      const file = path.join(dir.path, `publish-${allowed}.journal`);
      const writer = JournalWriter.create(file, RAW, new PageCache());
      appendAll(writer, entries.slice(0, 30));
      writer.publish();
      appendAll(writer, entries.slice(30));
      const heal = failWrites(allowed);
      const error = thrownBy(() => writer.publish());
      heal();
      if (error === undefined) {
        writer.close("archived");
        break;
      }
      failures++;
      expect(error).toMatchObject(FULL);
      expect(error).toBeInstanceOf(AgentError);
      const before = new JournalImage(fs.readFileSync(file));
      expect(before.entries()).toHaveLength(30);
      before.data();
      writer.publish();
      expect(new JournalImage(fs.readFileSync(file)).entries()).toHaveLength(60);
      writer.close("archived");
      expectEntries(file, entries, FileState.archived);
      fs.rmSync(file);
    }
    expect(failures).toBeGreaterThan(3);
  });

  test("in close() leaves the file online with what was published", () => {
    const file = path.join(dir.path, "close.journal");
    const writer = JournalWriter.create(file, RAW, new PageCache());
    appendAll(writer, bulkyEntries(10));
    writer.publish();
    appendAll(writer, bulkyEntries(10, 11));
    const heal = failWrites(0);
    expect(thrownBy(() => writer.close("archived"))).toMatchObject(FULL);
    heal();
    expect(writer.isClosed).toBe(true);
    expectEntries(file, bulkyEntries(10), FileState.online);
  });

  test("in create() leaves no file and no page behind", () => {
    const file = path.join(dir.path, "create.journal");
    for (let allowed = 0; allowed < 3; allowed++) {
      const cache = new PageCache(0);
      const heal = failWrites(allowed);
      expect(thrownBy(() => JournalWriter.create(file, RAW, cache))).toMatchObject(FULL);
      expect(fs.existsSync(file)).toBe(false);
      // A page left behind would be written now: to the file that has the descriptor next.
      const owner = { dirtyPages: 0, flushPages: (): void => {}, dropPage: (): void => {} };
      for (let page = 0; page < 64; page++) cache.dirty[cache.acquire(owner, page)] = 1;
      heal();
    }
  });

  test("in create() for want of pages that another file holds leaves none behind", () => {
    const cache = new PageCache(0);
    const other = JournalWriter.create(path.join(dir.path, "other.journal"), RAW, cache);
    appendAll(other, bulkyEntries(20));
    // Dirty pages fill the cache while the disk is full.
    const heal = failWrites(0);
    const file = path.join(dir.path, "crowded.journal");
    expect(thrownBy(() => appendAll(other, bulkyEntries(200, 21)))).toMatchObject(FULL);
    expect(thrownBy(() => JournalWriter.create(file, RAW, cache))).toMatchObject(FULL);
    heal();
    other.close("offline");
    expect(fs.existsSync(file)).toBe(false);
    writeJournal(file, bulkyEntries(500), RAW, cache);
    expectEntries(file, bulkyEntries(500), FileState.archived);
  });
});

describe("JournalWriter.append() that fails half way", () => {
  test("in the write of a large payload leaves a file that takes no more and shows what was published", async () => {
    const file = path.join(dir.path, "through.journal");
    const writer = JournalWriter.create(file, RAW, new PageCache());
    appendAll(writer, bulkyEntries(10));
    writer.publish();
    appendAll(writer, bulkyEntries(5, 11));
    const heal = failWrites(0);
    const large = hostEntry(16, `LARGE=${"y".repeat(1 << 20)}`);
    expect(thrownBy(() => appendAll(writer, [large]))).toMatchObject(FULL);
    heal();
    // With space again, it still does not: the failed entry's objects are half there.
    expect(thrownBy(() => appendAll(writer, bulkyEntries(1, 16)))).toMatchObject(FULL);
    writer.publish();
    expectEntries(file, bulkyEntries(10), FileState.online);
    await expect(writer.sync()).rejects.toMatchObject(FULL);
    writer.close("archived");
    expectEntries(file, bulkyEntries(10), FileState.online);
  });

  test("in the eviction of another file's pages does not keep that file from being written", () => {
    const cache = new PageCache(0);
    const [first, second] = ["first", "second"].map((name) =>
      JournalWriter.create(path.join(dir.path, `${name}.journal`), RAW, cache),
    ) as [JournalWriter, JournalWriter];
    appendAll(first, bulkyEntries(15));
    const heal = failWrites(0);
    expect(thrownBy(() => appendAll(second, bulkyEntries(100)))).toMatchObject(FULL);
    heal();
    second.close("archived");
    appendAll(first, bulkyEntries(15, 16));
    first.close("archived");
    expectEntries(first.path, bulkyEntries(30), FileState.archived);
    expectEntries(second.path, [], FileState.online);
  });
});

test("a file-size limit is an AgentError, not the end of the process", () => {
  const file = path.join(dir.path, "limited.journal");
  const script = `
    import { PageCache } from "${import.meta.dir}/../../src/journal/page-cache.ts";
    import { JournalWriter } from "${import.meta.dir}/../../src/journal/writer.ts";
    import { appendAll, hostEntry, OPTIONS } from "${import.meta.dir}/../support/journal-entries.ts";
    const writer = JournalWriter.create(${JSON.stringify(file)}, OPTIONS, new PageCache());
    appendAll(writer, [hostEntry(1)]);
    writer.publish();
    for (let seqnum = 2; seqnum < 2000; seqnum++) appendAll(writer, [hostEntry(seqnum)]);
    try { writer.publish(); } catch (error) { console.log(error.name, error.code); }
    writer.close("offline");
  `;
  const command = `ulimit -f 300; exec "$0" -e "$1"`;
  const { stdout } = Bun.spawnSync(["bash", "-c", command, process.execPath, script]);
  expect(stdout.toString()).toBe("AgentError E_IO\n");
  expectEntries(file, hostEntries(1), FileState.online);
});

if (SmallDisk.isPossible()) {
  describe("on a disk that is full", () => {
    test("publish() throws E_NO_SPACE until there is space, and nothing is lost", async () => {
      using disk = new SmallDisk(8 << 20);
      const writer = JournalWriter.create(path.join(disk.path, "a.journal"), RAW, new PageCache());
      appendAll(writer, bulkyEntries(100));
      writer.publish();
      disk.leaveFree(300_000);
      appendAll(writer, bulkyEntries(900, 101));
      for (let i = 0; i < 3; i++) {
        expect(thrownBy(() => writer.publish())).toMatchObject(FULL);
        expectEntries(writer.path, bulkyEntries(100), FileState.online);
      }
      await expect(writer.sync()).rejects.toMatchObject(FULL);
      appendAll(writer, bulkyEntries(5, 1001));
      disk.release();
      writer.publish();
      expectEntries(writer.path, bulkyEntries(1005), FileState.online);
      writer.close("archived");
      expectEntries(writer.path, bulkyEntries(1005), FileState.archived);
    });

    test("evictions and large payloads fail, what was published stays", () => {
      using disk = new SmallDisk(4 << 20);
      const small = JournalWriter.create(path.join(disk.path, "a.journal"), RAW, new PageCache(0));
      const large = JournalWriter.create(path.join(disk.path, "b.journal"), RAW, new PageCache());
      appendAll(small, bulkyEntries(50));
      appendAll(large, bulkyEntries(50));
      small.publish();
      large.publish();
      disk.leaveFree(200_000);
      expect(thrownBy(() => appendAll(small, bulkyEntries(1000, 51)))).toMatchObject(FULL);
      const entry = hostEntry(51, `LARGE=${"y".repeat(2 << 20)}`);
      expect(thrownBy(() => appendAll(large, [entry]))).toMatchObject(FULL);
      for (const writer of [small, large]) {
        writer.close("archived");
        expectEntries(writer.path, bulkyEntries(50), FileState.online);
      }
    });
  });
}
