import { afterAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { AgentError } from "../../src/errors.ts";
import { ENTRY_ARRAY, HEADER } from "../../src/journal/format.ts";
import { PageCache } from "../../src/journal/page-cache.ts";
import { SeqnumLookup } from "../../src/journal/seqnum-lookup.ts";
import { JournalWriter } from "../../src/journal/writer.ts";
import { Patient, seededRandom, wound } from "../support/journal-damage.ts";
import {
  appendAll,
  hostEntries,
  hostEntry,
  OPTIONS,
  OTHER_BOOT_ID,
  type PlainEntry,
  toEntry,
  writeJournal,
} from "../support/journal-entries.ts";
import { TempDir } from "../support/temp-dir.ts";

const dir = new TempDir();
afterAll(() => dir[Symbol.dispose]());

let files = 0;
const nextPath = (): string => path.join(dir.path, `${files++}.journal`);

/** Rising numbers with gaps, small and large. */
function gappyNumbers(count: number, random: () => number): number[] {
  let number = 0;
  return Array.from({ length: count }, () => {
    number += 1 + Math.floor(random() * (random() < 0.05 ? 2 ** 40 : 3));
    return number;
  });
}

function fileOf(numbers: readonly number[], options: Partial<typeof OPTIONS> = {}): string {
  const file = nextPath();
  const entries = numbers.map(
    (seqnum, i): PlainEntry => ({
      ...hostEntry(i),
      seqnum,
      monotonicUsec: i,
      realtimeUsec: 1 + i,
    }),
  );
  writeJournal(file, entries, options);
  return file;
}

describe("SeqnumLookup.has()", () => {
  test("is right for any number in any order, over several files at once", () => {
    const random = seededRandom(11);
    const sets = [0, 1, 2, 7, 300, 5000].map((count, i) => {
      const numbers = gappyNumbers(count, random);
      const lookup = new SeqnumLookup(fileOf(numbers, { compact: i % 2 === 0, dataBuckets: 8191 }));
      return { numbers, held: new Set(numbers), lookup };
    });
    for (let round = 0; round < 30_000; round++) {
      const set = sets[Math.floor(random() * sets.length)];
      if (set === undefined) continue;
      const near = set.numbers[Math.floor(random() * set.numbers.length)] ?? 5;
      const number = Math.max(1, near + Math.floor(random() * 5) - 2);
      if (set.lookup.has(number) !== set.held.has(number)) throw new Error(`wrong for ${number}`);
    }
    for (const { numbers, lookup } of sets) {
      expect(lookup.entries).toBe(numbers.length);
      expect(numbers.every((number) => lookup.has(number))).toBe(true);
      expect(lookup.has(Number.MAX_SAFE_INTEGER)).toBe(false);
      lookup.close();
    }
  });

  test("takes in what is published when it is refreshed", () => {
    const file = nextPath();
    const writer = JournalWriter.create(file, OPTIONS, new PageCache());
    const lookup = new SeqnumLookup(file);
    for (let seqnum = 1; seqnum <= 500; seqnum++) {
      appendAll(writer, [hostEntry(seqnum)]);
      if (seqnum % 7 !== 0) continue;
      writer.publish();
      expect(lookup.has(seqnum)).toBe(false);
      lookup.refresh();
      expect([seqnum, seqnum - 6, seqnum + 1].map((number) => lookup.has(number))).toEqual([
        true,
        true,
        false,
      ]);
    }
    lookup.close();
    writer.close("archived");
  });

  test("is not confused by another file that gets the same descriptor", () => {
    const [one, two] = [fileOf([1, 2, 3]), fileOf([11, 12, 13])];
    for (let i = 0; i < 3; i++) {
      for (const [file, held] of [
        [one, [true, false]],
        [two, [false, true]],
      ] as const) {
        const lookup = new SeqnumLookup(file);
        expect([lookup.has(2), lookup.has(12)]).toEqual([...held]);
        lookup.close();
      }
    }
  });
});

describe("SeqnumLookup.holds()", () => {
  test("tells entries with the same number apart by time and boot", () => {
    const file = nextPath();
    writeJournal(file, hostEntries(50));
    const lookup = new SeqnumLookup(file);
    const entry = toEntry(hostEntry(20));
    expect(lookup.holds(entry)).toBe(true);
    expect(lookup.holds({ ...entry, realtimeUsec: entry.realtimeUsec + 1 })).toBe(false);
    expect(lookup.holds(toEntry({ ...hostEntry(20), bootId: OTHER_BOOT_ID }))).toBe(false);
    expect(lookup.holds({ ...entry, seqnum: 51 })).toBe(false);
    lookup.close();
  });
});

describe("SeqnumLookup of a damaged file", () => {
  test("throws AgentError with the offset", () => {
    const damages: [(patient: Patient) => void, string][] = [
      [(p) => p.writeUint64(HEADER.entries, 40), "entry arrays hold"],
      [
        (p) => p.write(p.readUint64(HEADER.entryArrayOffset), Buffer.of(3)),
        "object has type 3, need 6",
      ],
      [
        (p) => p.writeUint64(p.readUint64(HEADER.entryArrayOffset) + 8, 24),
        "entry array has no items",
      ],
      [
        (p): void => {
          const array = p.readUint64(HEADER.entryArrayOffset);
          p.writeUint64(array + ENTRY_ARRAY.nextEntryArrayOffset, array);
        },
        "entry array chain does not rise",
      ],
      [
        (p): void => {
          const array = p.readUint64(HEADER.entryArrayOffset);
          p.writeUint64(array + ENTRY_ARRAY.nextEntryArrayOffset, 2n ** 62n);
        },
        "the file ends before",
      ],
      [
        (p): void => {
          const array = p.readUint64(HEADER.entryArrayOffset);
          p.writeUint32(array + ENTRY_ARRAY.items, 0xfffffff8);
        },
        "the file ends before",
      ],
      [(p) => p.write(0, Buffer.of(0)), "no signature"],
    ];
    for (const [damage, text] of damages) {
      using patient = new Patient(fileOf([1, 2, 3, 4, 5, 6, 7, 8]));
      damage(patient);
      let error: unknown;
      try {
        const lookup = new SeqnumLookup(patient.path);
        for (const number of [1, 8]) lookup.has(number);
      } catch (thrown) {
        error = thrown;
      }
      expect(error).toBeInstanceOf(AgentError);
      expect(error).toMatchObject({
        code: "E_JOURNAL_CORRUPT",
        message: expect.stringContaining(text),
        offset: expect.any(Number),
      });
    }
  });

  test("anywhere never throws anything else, and never hangs", () => {
    const random = seededRandom(3);
    const file = fileOf(Array.from({ length: 100 }, (_, i) => i + 1));
    const descriptors = fs.readdirSync("/proc/self/fd").length;
    let failures = 0;
    using patient = new Patient(file);
    for (let round = 0; round < 1000; round++) {
      const what = wound(patient, random);
      let lookup: SeqnumLookup | undefined;
      try {
        lookup = new SeqnumLookup(file);
        for (const number of [1, 2, 50, 51, 100, 101]) lookup.has(number);
        lookup.refresh();
      } catch (error) {
        if (!(error instanceof AgentError)) throw new Error(what, { cause: error });
        failures++;
      }
      lookup?.close();
      patient.heal();
    }
    expect(failures).toBeGreaterThan(50);
    expect(fs.readdirSync("/proc/self/fd").length).toBe(descriptors + 1);
  });

  test("cut short at any length, or missing, is an AgentError", () => {
    const file = fileOf([1, 2, 3]);
    const size = fs.statSync(file).size;
    for (const rest of [size - 1, size - 200, 30_000, 300, 100, 0]) {
      fs.truncateSync(file, rest);
      expect(() => new SeqnumLookup(file)).toThrow(AgentError);
    }
    expect(() => new SeqnumLookup(nextPath())).toThrow(/Cannot open journal file ".*": ENOENT/);
    expect(() => new SeqnumLookup(dir.path)).toThrow(AgentError);
  });
});
