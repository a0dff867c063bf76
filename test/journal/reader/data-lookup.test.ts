import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { DATA, FIELD, HEADER, ObjectType } from "../../../src/journal/format.ts";
import { BlockCache } from "../../../src/journal/reader/block-cache.ts";
import { DataLookup } from "../../../src/journal/reader/data-lookup.ts";
import { JournalFile } from "../../../src/journal/reader/journal-file.ts";
import { Patient } from "../../support/journal-damage.ts";
import { hostEntry, writeJournal } from "../../support/journal-entries.ts";
import { JournalSamples, SAMPLE_ENTRIES, VARIANTS } from "../../support/journal-samples.ts";
import { hasSystemd } from "../../support/journal-tools.ts";
import { TempDir } from "../../support/temp-dir.ts";

const dir = new TempDir();
afterAll(() => dir[Symbol.dispose]());

const END = Number.POSITIVE_INFINITY;

/** Runs `look` with a lookup in the file as it is now. */
function inFile<T>(path: string, look: (lookup: DataLookup) => T, end = END): T {
  const file = new JournalFile(path, new BlockCache(8));
  try {
    return look(new DataLookup(file, end));
  } finally {
    file.close();
  }
}

function entriesOf(path: string, field: string, end = END): number | undefined {
  return inFile(path, (lookup) => lookup.find(Buffer.from(field))?.entries, end);
}

function valuesOf(path: string, name: string, end = END): string[] {
  const values: string[] = [];
  const collect = (bytes: Buffer, start: number, valueEnd: number) =>
    values.push(bytes.toString("latin1", start, valueEnd)) > 0;
  inFile(path, (lookup) => lookup.findValues(Buffer.from(name), collect), end);
  return values.sort();
}

describe.if(hasSystemd())("DataLookup in files of systemd", () => {
  const samples = new JournalSamples(dir);
  beforeAll(() => samples.make());

  for (const variant of Object.keys(VARIANTS)) {
    test(`finds values by hash, and all of a field: ${variant}`, () => {
      const path = samples.path(variant);
      expect(entriesOf(path, "_HOSTNAME=host.example.net")).toBe(SAMPLE_ENTRIES);
      expect(entriesOf(path, "PRIORITY=3")).toBe(SAMPLE_ENTRIES / 8);
      expect(entriesOf(path, "PRIORITY=8")).toBeUndefined();
      expect(entriesOf(path, "PRIORITY=")).toBeUndefined();
      const compressed = `CODE_FILE=${"path/to/file-50/".repeat(60)}`;
      expect(entriesOf(path, compressed)).toBe(1);
      expect(valuesOf(path, "SYSLOG_IDENTIFIER")).toEqual([0, 1, 2, 3, 4].map((i) => `unit-${i}`));
      expect(valuesOf(path, "MESSAGE")).toHaveLength(SAMPLE_ENTRIES);
      expect(valuesOf(path, "NOTHING")).toEqual([]);
    });
  }
});

describe("DataLookup in a file of our own", () => {
  const path = dir.write("own.journal", "");
  beforeAll(() => {
    const entries = Array.from({ length: 60 }, (_, i) =>
      hostEntry(i + 1, `COLOUR=${i % 5}`, i >= 40 ? "LATE=yes" : "EARLY=yes"),
    );
    // Few buckets: chains are long.
    writeJournal(path.replace("own", "chains"), entries, { dataBuckets: 7 });
  });
  const chains = path.replace("own", "chains");

  /** What a damage makes of looking for a value. */
  function damaged(damage: (patient: Patient) => void, look: () => unknown): void {
    using patient = new Patient(chains);
    damage(patient);
    try {
      expect(look).toThrow(expect.objectContaining({ code: "E_JOURNAL_CORRUPT" }));
    } finally {
      patient.heal();
    }
    expect(look).not.toThrow();
  }

  test("what begins at the end or after it is not there", () => {
    using patient = new Patient(chains);
    const late = patient.dataOffset("LATE=yes");
    expect(entriesOf(chains, "LATE=yes", late)).toBeUndefined();
    expect(entriesOf(chains, "LATE=yes", late + 8)).toBe(20);
    expect(entriesOf(chains, "EARLY=yes", late)).toBe(40);
    expect(valuesOf(chains, "LATE", late)).toEqual([]);
    expect(valuesOf(chains, "LATE", late + 4096)).toEqual(["yes"]);
  });

  test("a hash chain that is cut short is damage, not the absence of a value", () => {
    damaged(
      (patient) => {
        for (const { offset, type } of patient.objects) {
          if (type === ObjectType.data) patient.writeUint64(offset + DATA.nextHashOffset, 0);
        }
      },
      () => entriesOf(chains, "COLOUR=9"),
    );
  });

  test("a hash chain that turns back, or leads to other objects, is damage", () => {
    const lead = (offset: number) => (patient: Patient) => {
      for (const place of patient.objects) {
        if (place.type !== ObjectType.data) continue;
        patient.writeUint64(place.offset + DATA.nextHashOffset, offset);
      }
    };
    damaged(lead(8), () => entriesOf(chains, "COLOUR=9"));
    damaged(lead(2 ** 60), () => entriesOf(chains, "COLOUR=9"));
    using patient = new Patient(chains);
    damaged(lead(patient.offsetOf(ObjectType.entry, -1)), () => entriesOf(chains, "COLOUR=9"));
  });

  test("the values of a field that end too soon are damage", () => {
    using sound = new Patient(chains);
    const newest = sound.dataOffsets("COLOUR=").at(-1) ?? 0;
    damaged(
      (patient) => patient.writeUint64(newest + DATA.nextFieldOffset, 0),
      () => valuesOf(chains, "COLOUR"),
    );
    damaged(
      (patient) => patient.writeUint64(newest + DATA.nextFieldOffset, newest),
      () => valuesOf(chains, "COLOUR"),
    );
    damaged(
      (patient) => {
        for (const { offset, type } of patient.objects) {
          if (type === ObjectType.field) patient.writeUint64(offset + FIELD.headDataOffset, 0);
        }
      },
      () => valuesOf(chains, "COLOUR"),
    );
  });

  test("requireFindable() tells of tables that the header describes wrongly, and of a changed key", () => {
    using sound = new Patient(chains);
    const offset = sound.dataOffset("COLOUR=3");
    const look = () => inFile(chains, (lookup) => lookup.requireFindable(offset));
    damaged((patient) => patient.write(HEADER.fileId, Buffer.alloc(16, 7)), look);
    damaged((patient) => patient.writeUint64(HEADER.fieldHashTableSize, 16), look);
    damaged((patient) => patient.writeUint64(HEADER.dataHashTableSize, 48), look);
  });
});
