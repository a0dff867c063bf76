import { describe, expect, spyOn, test } from "bun:test";
import fs from "node:fs";
import { join } from "node:path";
import {
  ENTRY,
  HEADER,
  HEADER_SIZE,
  HEADER_SIZE_MIN,
  ObjectType,
} from "../../../src/journal/format.ts";
import { BLOCK_OBJECT_MAX, BlockCache } from "../../../src/journal/reader/block-cache.ts";
import { DataCache } from "../../../src/journal/reader/data-cache.ts";
import {
  type JournalEntry,
  loadEntry,
  newJournalEntry,
} from "../../../src/journal/reader/journal-entry.ts";
import { JournalFile } from "../../../src/journal/reader/journal-file.ts";
import { Patient, seededRandom } from "../../support/journal-damage.ts";
import { appendAll, type PlainEntry } from "../../support/journal-entries.ts";
import {
  createWriter,
  drain,
  idOf,
  messageOf,
  numbers,
  plain,
  plains,
  publish,
  writeFile,
} from "../../support/reader-journals.ts";
import { openSet } from "../../support/set-export.ts";
import { useWorkDirectories } from "../../support/work-directory.ts";

let work = "";
useWorkDirectories((path) => {
  work = path;
});

const FORMATS = [true, false].flatMap((compact) =>
  [true, false].map((keyedHash) => ({ compact, keyedHash })),
);

function fieldsOf(entry: JournalEntry): string[] {
  const { cache, records, recordCount } = entry;
  return Array.from(records.subarray(0, recordCount), (record) => {
    const start = cache.start[record] ?? 0;
    return cache.bytesOf(record).toString("latin1", start, start + (cache.size[record] ?? 0));
  });
}

/** All entries of a file, as messages. */
function readFile(path: string, blocks = new BlockCache()): string[] {
  const file = new JournalFile(path, blocks);
  const entry = newJournalEntry(new DataCache());
  const messages: string[] = [];
  for (let i = 0; i < file.entries; i++) {
    loadEntry(file, file.entryOffset(i), entry);
    messages.push(messageOf(entry));
  }
  file.close();
  return messages;
}

describe("JournalFile", () => {
  for (const { compact, keyedHash } of FORMATS) {
    const name = `${compact ? "compact" : "regular"} and ${keyedHash ? "keyed" : "unkeyed"}`;
    test(`reads numbers, ids and fields of ${name} files`, () => {
      const long = `LONG=${"long and dull ".repeat(1000)}`;
      const entries = plains(1, 500, { fields: ["A=1", "B=\u00e4\n", long] });
      const path = writeFile(work, "a.journal", entries, 3, { compact, keyedHash });
      const file = new JournalFile(path, new BlockCache());
      expect([file.isCompact, file.isKeyed, file.entries]).toEqual([compact, keyedHash, 499]);
      const entry = newJournalEntry(new DataCache());
      for (const [index, { seqnum, realtimeUsec, monotonicUsec, fields }] of entries.entries()) {
        loadEntry(file, file.entryOffset(index), entry);
        expect(entry.seqnum).toBe(seqnum);
        expect(entry.realtimeUsec).toBe(realtimeUsec ?? 0);
        expect(entry.monotonicUsec).toBe(monotonicUsec ?? 0);
        expect(Buffer.from(entry.bootId).toString("hex")).toBe(idOf(1));
        expect(Buffer.from(entry.seqnumId).toString("hex")).toBe(idOf(3));
        const expected = fields.map((field) => Buffer.from(field).toString("latin1"));
        expect(fieldsOf(entry).sort()).toEqual([...expected, `_BOOT_ID=${idOf(1)}`].sort());
      }
      file.close();
    });

    test(`reads large fields and entries of ${name} files, wherever blocks end`, () => {
      const random = seededRandom(7);
      const entries: PlainEntry[] = [];
      for (let n = 1; n <= 120; n++) {
        // Around what fits into a block's end, and far more than that.
        const sizes = [BLOCK_OBJECT_MAX - 80 + n, random() * 3000, n % 10 === 0 ? 700_000 : 10];
        entries.push(plain(n, { fields: sizes.map((size, i) => `F${i}=${n}${"x".repeat(size)}`) }));
      }
      const many = Array.from({ length: 1080 }, (_, i) => `N${i % 60}=${i}`);
      entries.push(plain(121, { fields: many }));
      for (const compressThresholdBytes of [512, undefined]) {
        const format = { compact, keyedHash, compressThresholdBytes };
        const path = writeFile(work, `${compressThresholdBytes}.journal`, entries, 1, format);
        const file = new JournalFile(path, new BlockCache(4, 4));
        const entry = newJournalEntry(new DataCache());
        for (const [index, { fields }] of entries.entries()) {
          loadEntry(file, file.entryOffset(index), entry);
          const found = new Set(fieldsOf(entry));
          expect(fields.filter((field) => !found.has(String(field)))).toEqual([]);
          expect(entry.recordCount).toBe(fields.length + 1);
        }
        expect(entry.cache.damage.size).toBe(0);
        file.close();
      }
    });
  }

  test("believes no more of a header than its size, from 208 bytes on", () => {
    const path = writeFile(work, "a.journal", plains(1, 50));
    const later = [216, 224, 232, 240, 248, 256, 264, 272].filter((size) => size <= HEADER_SIZE);
    for (const size of [HEADER_SIZE_MIN, ...later]) {
      const bytes = fs.readFileSync(path);
      bytes.writeUInt32LE(size, HEADER.headerSize);
      bytes.fill(0xff, size, HEADER_SIZE);
      const own = join(work, `${size}.journal`);
      fs.writeFileSync(own, bytes);
      expect(readFile(own)).toEqual(numbers(1, 50));
    }
  });

  test("reads a file that was cut as far as it goes", () => {
    const path = writeFile(work, "a.journal", plains(1, 200, { fields: ["BODY=x"] }));
    using patient = new Patient(path);
    const cut = patient.offsetOf(ObjectType.entry, 100);
    fs.truncateSync(path, cut);
    const { set } = openSet();
    set.rescan([path]);
    expect(drain(set)).toEqual(numbers(1, 101));
    expect([...set.damaged.keys()]).toEqual(["entry-damaged", "entries-unreachable"]);
    expect([...set.damaged.values()].reduce((sum, damaged) => sum + damaged, 0)).toBe(99);
    set.close();
  });

  test("refuses what is no file", () => {
    expect(() => new JournalFile(work, new BlockCache())).toThrow("not a regular file");
    const none = join(work, "none.journal");
    expect(() => new JournalFile(none, new BlockCache())).toThrow(
      `Cannot open journal file "${none}"`,
    );
    const pipe = join(work, "pipe.journal");
    Bun.spawnSync(["mkfifo", pipe]);
    expect(() => new JournalFile(pipe, new BlockCache())).toThrow("not a regular file");
  });

  test("refuses a file that shrinks under it", () => {
    const path = writeFile(work, "a.journal", plains(1, 100));
    const other = writeFile(work, "b.journal", plains(1, 10));
    const file = new JournalFile(path, new BlockCache());
    fs.copyFileSync(other, path);
    expect(() => file.refresh()).toThrow("9 entries, it had 99");
    file.close();
  });
});

/** Not less, however slow the machine is. */
const ENTRIES_MIN = 500;

describe("a file that is being written", () => {
  for (const cacheBytes of ["0", "16777216"]) {
    test(`by another process gives whole entries, in order, all of them, cache ${cacheBytes}`, async () => {
      const path = join(work, "live.journal");
      const child = Bun.spawn(
        [
          process.execPath,
          join(import.meta.dir, "../../support/journal-writer-child.ts"),
          path,
          cacheBytes,
        ],
        { stderr: "inherit" },
      );
      const { set, problems } = openSet();
      const entries: string[] = [];
      const endMs = performance.now() + 1000;
      try {
        while (performance.now() < endMs || entries.length < ENTRIES_MIN) {
          set.rescan(fs.existsSync(path) ? [path] : []);
          set.refreshAll();
          for (let entry = set.next(); entry !== undefined; entry = set.next()) {
            const fields = fieldsOf(entry);
            const body = fields.find((field) => field.startsWith("BODY=")) ?? "";
            entries.push(messageOf(entry));
            expect(fields).toHaveLength(6);
            expect(body).toMatch(new RegExp(`^BODY=${entry.seqnum} x*$`));
          }
          await Bun.sleep(0);
        }
      } finally {
        child.kill("SIGKILL");
        await child.exited;
      }
      expect(entries).toEqual(numbers(1, entries.length + 1).map((n) => `message number ${n}`));
      expect(problems).toEqual([]);
      expect([...set.damaged]).toEqual([]);
      set.close();
    }, 30_000);
  }

  test("may be read between any two of its writes", () => {
    const path = join(work, "live.journal");
    const writer = createWriter(path, 1, { dataBuckets: 499, compressThresholdBytes: undefined });
    const { set } = openSet();
    set.rescan([path]);
    const seen: string[] = [];
    const { writeSync } = fs;
    const spy = spyOn(fs, "writeSync").mockImplementation((...args: unknown[]) => {
      const written: number = Reflect.apply(writeSync, fs, args);
      set.refreshAll();
      seen.push(...drain(set));
      return written;
    });
    try {
      for (let n = 1; n < 600; n += 6)
        publish(writer, plains(n, n + 6, { fields: [`BODY=${"x".repeat(n)}`] }));
    } finally {
      spy.mockRestore();
    }
    expect(seen).toEqual(numbers(1, 601));
    expect(set.damaged.size).toBe(0);
    writer.close("archived");
    set.close();
  });

  test("gives an entry later whose place is still empty, and passes over one whose place stays so", () => {
    const path = join(work, "live.journal");
    const writer = createWriter(path, 1);
    appendAll(writer, plains(1, 11));
    writer.publish();
    const bytes = fs.readFileSync(path);
    using patient = new Patient(path);
    const entry = patient.offsetOf(ObjectType.entry, 9);
    patient.write(entry, new Uint8Array(ENTRY.items));
    const { set } = openSet();
    set.rescan([path]);
    expect(drain(set)).toEqual(numbers(1, 10));
    expect(set.damaged.size).toBe(0);
    fs.writeFileSync(path, bytes, { flag: "r+" });
    set.refreshAll();
    expect(drain(set)).toEqual(["10"]);
    publish(writer, plains(11, 13));
    patient.write(patient.readUint64(HEADER.tailEntryOffset), new Uint8Array(ENTRY.items));
    set.refreshAll();
    expect(drain(set)).toEqual(["11"]);
    expect(set.backlog()).toBe(1);
    set.refreshAll();
    expect(drain(set)).toEqual([]);
    expect([...set.damaged]).toEqual([["entry-damaged", 1]]);
    publish(writer, plains(13, 15));
    set.refreshAll();
    expect(drain(set)).toEqual(["13", "14"]);
    writer.close("archived");
    set.close();
  });
});

describe("a damaged file", () => {
  function withDamage(damage: (patient: Patient) => void): {
    messages: string[];
    damaged: unknown;
  } {
    const path = writeFile(
      work,
      "a.journal",
      plains(1, 101, { fields: [`BODY=${"x".repeat(100)}`] }),
    );
    {
      using patient = new Patient(path);
      damage(patient);
    }
    const { set, problems } = openSet();
    set.rescan([path]);
    const messages = drain(set);
    expect(problems).toEqual([]);
    expect(set.backlog()).toBe(0);
    const damaged = Object.fromEntries(set.damaged);
    set.close();
    return { messages, damaged };
  }

  test("is read without its bad entries", () => {
    const { messages, damaged } = withDamage((patient) => {
      for (const index of [4, 50])
        patient.writeUint64(patient.offsetOf(ObjectType.entry, index) + ENTRY.seqnum, 0);
    });
    expect(messages).toEqual(numbers(1, 101).filter((n) => n !== "5" && n !== "51"));
    expect(damaged).toEqual({ "entry-damaged": 2 });
  });

  test("is read without its bad fields", () => {
    const { messages, damaged } = withDamage((patient) => {
      patient.write(patient.dataOffset("MESSAGE=7"), Buffer.of(0));
    });
    expect(messages).toEqual(numbers(1, 101).map((n) => (n === "7" ? "" : n)));
    expect(damaged).toEqual({ "field-damaged": 1 });
  });

  test("is read up to a bad array of entries, and the rest is counted", () => {
    const { messages, damaged } = withDamage((patient) => {
      const chain = [patient.readUint64(HEADER.entryArrayOffset)];
      for (
        let next = patient.readUint64((chain.at(-1) ?? 0) + 16);
        next !== 0;
        next = patient.readUint64((chain.at(-1) ?? 0) + 16)
      ) {
        chain.push(next);
      }
      patient.write(chain.at(-1) ?? 0, Buffer.of(0));
    });
    expect(messages.length).toBeGreaterThan(10);
    expect(messages).toEqual(numbers(1, messages.length + 1));
    expect(damaged).toEqual({ "entries-unreachable": 100 - messages.length });
  });

  test("whose arrays go round in a circle is read once", () => {
    const { messages, damaged } = withDamage((patient) => {
      const first = patient.readUint64(HEADER.entryArrayOffset);
      patient.writeUint64(first + 16, first);
    });
    expect(messages).toEqual(numbers(1, messages.length + 1));
    expect(messages.length).toBeLessThan(100);
    expect(damaged).toEqual({ "entries-unreachable": 100 - messages.length });
  });
});
