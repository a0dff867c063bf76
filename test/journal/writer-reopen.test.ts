import { afterAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { AgentError } from "../../src/errors.ts";
import {
  DATA,
  ENTRY_ARRAY,
  FileState,
  HEADER,
  OBJECT,
  ObjectType,
} from "../../src/journal/format.ts";
import { PageCache } from "../../src/journal/page-cache.ts";
import { JournalWriter } from "../../src/journal/writer.ts";
import { Patient, seededRandom, wound } from "../support/journal-damage.ts";
import {
  appendAll,
  complaints,
  exported,
  hostEntries,
  hostEntry,
  OPTIONS,
  type PlainEntry,
  toEntry,
  toExported,
  writeJournal,
} from "../support/journal-entries.ts";
import { JournalImage } from "../support/journal-image.ts";
import { hasSystemd, makeJournal, sampleExport } from "../support/journal-tools.ts";
import { TempDir } from "../support/temp-dir.ts";

const dir = new TempDir();
afterAll(() => dir[Symbol.dispose]());

let files = 0;
const nextPath = (): string => path.join(dir.path, `${files++}.journal`);
const readImage = (file: string): JournalImage => new JournalImage(fs.readFileSync(file));

const LONG = `LONG=${"a long value ".repeat(100)}`;

/** As a host's, with a value that is stored compressed. */
function entriesOf(count: number, firstSeqnum = 1): PlainEntry[] {
  return Array.from({ length: count }, (_, i) => hostEntry(firstSeqnum + i, LONG));
}

function makeOffline(
  entries: readonly PlainEntry[],
  options: Partial<typeof OPTIONS> = {},
): string {
  const file = nextPath();
  const writer = JournalWriter.create(file, { ...OPTIONS, ...options }, new PageCache());
  appendAll(writer, entries);
  writer.close("offline");
  return file;
}

function objectsBySize(file: string): string[] {
  const objects = readImage(file).objects();
  return objects.map(({ type, size }) => `${type}:${size}`);
}

describe("JournalWriter.reopen()", () => {
  const formats = [true, false].flatMap((compact) =>
    [true, false].map((keyedHash) => ({ compact, keyedHash })),
  );
  for (const format of formats) {
    const name = `${format.compact ? "compact" : "regular"} ${format.keyedHash ? "keyed" : "unkeyed"}`;
    test(`continues a ${name} file as if it had never been closed`, () => {
      const entries = entriesOf(600);
      const whole = nextPath();
      writeJournal(whole, entries, format);
      // Cut where arrays are new, full, and in between, and where nothing was written.
      const file = makeOffline([], format);
      let from = 0;
      for (const to of [0, 1, 2, 5, 6, 13, 14, 39, 40, 300, 300, 600]) {
        const writer = JournalWriter.reopen(file, { ...OPTIONS, ...format }, new PageCache());
        expect(writer.entries).toBe(from);
        expect(readImage(file).header.state).toBe(FileState.online);
        appendAll(writer, entries.slice(from, to));
        writer.close("offline");
        from = to;
      }
      expect(objectsBySize(file)).toEqual(objectsBySize(whole));
      expect(readImage(file).entries()).toEqual(readImage(whole).entries());
      const lists = (of: string): unknown => readImage(of).data();
      expect(lists(file)).toEqual(lists(whole));
      if (!hasSystemd()) return;
      expect(complaints(file)).toEqual([]);
      expect(exported(file)).toEqual(entries.map(toExported));
    });
  }

  test("takes over head and tail", () => {
    const file = makeOffline(entriesOf(3, 7));
    const writer = JournalWriter.reopen(file, OPTIONS, new PageCache());
    expect(writer).toMatchObject({ headSeqnum: 7, tailSeqnum: 9, entries: 3 });
    expect(writer.fits(toEntry(hostEntry(9)), 9)).toBe(false);
    expect(writer.fits(toEntry(hostEntry(10)), 10)).toBe(true);
    const early = { ...hostEntry(10), monotonicUsec: 1 };
    expect(writer.fits(toEntry(early), 10)).toBe(false);
    writer.close("archived");
    expect(readImage(file).header.state).toBe(FileState.archived);
  });

  test("finds payloads again among hundreds in one bucket, and goes on counting its depth", () => {
    const values = Array.from({ length: 100 }, (_, i) => ({ seqnum: i + 1, fields: [`A=${i}`] }));
    const file = makeOffline(values, { dataBuckets: 1 });
    expect(readImage(file).header.dataHashChainDepth).toBe(100);
    const again = values.map((entry) => ({ ...entry, seqnum: entry.seqnum + 100 }));
    const fresh = Array.from({ length: 200 }, (_, i) => ({ seqnum: 201 + i, fields: [`B=${i}`] }));
    for (const [from, to, depth] of [
      [0, 10, 110],
      // Depths past 254 are not told apart: from 100 on the file is to be rotated.
      [10, 200, 254],
    ] as const) {
      const writer = JournalWriter.reopen(file, OPTIONS, new PageCache());
      appendAll(writer, [...(from === 0 ? again : []), ...fresh.slice(from, to)]);
      writer.close("offline");
      const { data, dataHashChainDepth } = readImage(file).header;
      expect([data, dataHashChainDepth]).toEqual([101 + to, depth]);
    }
    if (hasSystemd()) expect(complaints(file)).toEqual([]);
  });

  test("leaves what a crash between header and truncation left behind", () => {
    const file = makeOffline(entriesOf(5));
    fs.truncateSync(file, fs.statSync(file).size + 200_000);
    const writer = JournalWriter.reopen(file, OPTIONS, new PageCache());
    appendAll(writer, entriesOf(100, 6));
    writer.close("offline");
    expect(readImage(file).entries()).toHaveLength(105);
    if (hasSystemd()) expect(complaints(file)).toEqual([]);
  });
});

describe("JournalWriter.reopen() refuses", () => {
  const refusals: [string, (patient: Patient) => void, AgentError["code"], string][] = [
    [
      "an unclean file",
      (p) => p.write(HEADER.state, Buffer.of(1)),
      "E_JOURNAL_UNSUPPORTED",
      "it was not closed cleanly",
    ],
    [
      "an archived file",
      (p) => p.write(HEADER.state, Buffer.of(2)),
      "E_JOURNAL_UNSUPPORTED",
      "it is archived",
    ],
    [
      "a file of systemd 254 and later",
      (p) => p.write(HEADER.compatibleFlags, Buffer.of(2)),
      "E_JOURNAL_UNSUPPORTED",
      "another program wrote it",
    ],
    [
      "a sealed file",
      (p) => p.write(HEADER.compatibleFlags, Buffer.of(1)),
      "E_JOURNAL_UNSUPPORTED",
      "another program wrote it",
    ],
    [
      "the header of systemd 252",
      (p) => p.writeUint64(HEADER.headerSize, 264),
      "E_JOURNAL_UNSUPPORTED",
      "another program wrote it",
    ],
    [
      "unknown flags",
      (p) => p.write(HEADER.incompatibleFlags, Buffer.of(0x3c)),
      "E_JOURNAL_UNSUPPORTED",
      "0x20 are unknown",
    ],
    [
      "another format",
      (p) => p.write(HEADER.incompatibleFlags, Buffer.of(0x0c)),
      "E_JOURNAL_UNSUPPORTED",
      "its format is not the configured one",
    ],
    [
      "a file without hash tables",
      (p) => p.write(HEADER.dataHashTableOffset, Buffer.alloc(16)),
      "E_JOURNAL_UNSUPPORTED",
      "another program wrote it",
    ],
    ["no journal", (p) => p.write(0, Buffer.from("NOTALOG!")), "E_JOURNAL_CORRUPT", "no signature"],
    [
      "a header beyond the end",
      (p) => p.writeUint64(HEADER.arenaSize, 2 ** 40),
      "E_JOURNAL_CORRUPT",
      "the file has",
    ],
    [
      "no tail array",
      (p) => p.writeUint64(HEADER.tailEntryArrayOffset, 0),
      "E_JOURNAL_CORRUPT",
      "tail entry array 0",
    ],
    [
      "no first array",
      (p) => p.writeUint64(HEADER.entryArrayOffset, 0),
      "E_JOURNAL_CORRUPT",
      "first entry array 0",
    ],
    [
      "a tail array that is none",
      (p) => p.write(p.readUint64(HEADER.entryArrayOffset), Buffer.of(3)),
      "E_JOURNAL_CORRUPT",
      "object has type 3",
    ],
    [
      "a tail array of half an item",
      (p) => p.writeUint64(p.readUint64(HEADER.entryArrayOffset) + OBJECT.size, 41),
      "E_JOURNAL_CORRUPT",
      "room for 4.25 items",
    ],
    [
      "more items than the tail array has",
      (p) => p.writeUint64(p.readUint64(HEADER.entryArrayOffset) + OBJECT.size, 32),
      "E_JOURNAL_CORRUPT",
      "entry array has room for 2 items",
    ],
    [
      "a last object that ends elsewhere",
      (p) => p.writeUint64(p.readUint64(HEADER.tailObjectOffset) + OBJECT.size, 1000),
      "E_JOURNAL_CORRUPT",
      "Cannot append behind the last object",
    ],
  ];
  for (const [what, damage, code, text] of refusals) {
    test(what, () => {
      const file = makeOffline(entriesOf(3));
      const patient = new Patient(file);
      damage(patient);
      patient[Symbol.dispose]();
      const before = fs.readFileSync(file);
      const cache = new PageCache(0);
      let error: unknown;
      try {
        JournalWriter.reopen(file, OPTIONS, cache);
      } catch (thrown) {
        error = thrown;
      }
      expect(error).toBeInstanceOf(AgentError);
      expect(error).toMatchObject({ code, message: expect.stringContaining(text) });
      expect(fs.readFileSync(file).equals(before)).toBe(true);
      // The refused file has no pages in the cache that would be written some time.
      writeJournal(nextPath(), hostEntries(400), {}, cache);
      expect(fs.readFileSync(file).equals(before)).toBe(true);
    });
  }

  test("what is cut short, empty, missing or a directory", () => {
    const file = makeOffline(entriesOf(3));
    const size = fs.statSync(file).size;
    for (const rest of [size - 1, 5000, 272, 271, 16, 0]) {
      fs.truncateSync(file, rest);
      expect(() => JournalWriter.reopen(file, OPTIONS, new PageCache())).toThrow(AgentError);
    }
    for (const missing of [nextPath(), dir.path]) {
      expect(() => JournalWriter.reopen(missing, OPTIONS, new PageCache())).toThrow(
        `Cannot open journal file "${missing}"`,
      );
    }
  });

  if (hasSystemd()) {
    test("a file of systemd-journal-remote", () => {
      const file = nextPath();
      makeJournal(file, sampleExport(5));
      expect(() => JournalWriter.reopen(file, OPTIONS, new PageCache())).toThrow(
        `Cannot append to "${file}": another program wrote it`,
      );
    });
  }
});

describe("a reopened file that is damaged", () => {
  const damages: [string, (patient: Patient) => void][] = [
    [
      "a hash chain that loops",
      (p) => {
        const data = p.dataOffset("PRIORITY=1");
        p.writeUint64(data + DATA.nextHashOffset, data);
      },
    ],
    [
      "a hash bucket that points into a payload",
      (p) => {
        p.writeUint64(
          p.readUint64(HEADER.dataHashTableOffset),
          p.dataOffset("MESSAGE=message number 3") + 72,
        );
      },
    ],
    [
      "a list of entries that loops",
      (p) => {
        const array = p.readUint64(p.dataOffset("_HOSTNAME=") + DATA.entryArrayOffset);
        p.writeUint64(array + ENTRY_ARRAY.nextEntryArrayOffset, array);
        p.writeUint64(p.dataOffset("_HOSTNAME=") + DATA.tailEntryArrayOffset, 0);
      },
    ],
    [
      "a list of entries that is no array",
      (p) => {
        const array = p.readUint64(p.dataOffset("_HOSTNAME=") + DATA.entryArrayOffset);
        p.write(array, Buffer.of(ObjectType.entry));
        p.writeUint64(p.dataOffset("_HOSTNAME=") + DATA.tailEntryArrayOffset, 0);
      },
    ],
  ];
  for (const [what, damage] of damages) {
    test(`with ${what} takes no entry, and keeps those it has`, () => {
      const file = makeOffline(entriesOf(20), { dataBuckets: 1 });
      const before = readImage(file).entries();
      const patient = new Patient(file);
      damage(patient);
      patient[Symbol.dispose]();
      const writer = JournalWriter.reopen(file, OPTIONS, new PageCache());
      const append = (): void => appendAll(writer, entriesOf(30, 21));
      expect(append).toThrow("Cannot read object at");
      expect(append).toThrow(AgentError);
      writer.close("offline");
      const image = readImage(file);
      expect(image.header.state).toBe(FileState.online);
      expect(image.entries()).toEqual(before);
    });
  }

  test("anywhere never hangs, crashes or throws anything but AgentError", () => {
    const random = seededRandom(5);
    const file = makeOffline(entriesOf(60));
    const sound = fs.readFileSync(file);
    const outcomes = { refused: 0, failed: 0, taken: 0 };
    for (let round = 0; round < 400; round++) {
      fs.writeFileSync(file, sound);
      const patient = new Patient(file);
      const what = wound(patient, random);
      patient[Symbol.dispose]();
      let writer: JournalWriter | undefined;
      try {
        writer = JournalWriter.reopen(file, OPTIONS, new PageCache(0));
        appendAll(writer, entriesOf(20, 61));
        outcomes.taken++;
      } catch (error) {
        if (!(error instanceof AgentError)) throw new Error(what, { cause: error });
        if (writer === undefined) outcomes.refused++;
        else outcomes.failed++;
      }
      writer?.close("offline");
    }
    expect(outcomes.refused).toBeGreaterThan(10);
    expect(outcomes.failed).toBeGreaterThan(0);
    expect(outcomes.taken).toBeGreaterThan(100);
  });
});
