import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { DATA, ENTRY_ARRAY, OBJECT, ObjectType } from "../../../src/journal/format.ts";
import { BlockCache } from "../../../src/journal/reader/block-cache.ts";
import { DataLookup } from "../../../src/journal/reader/data-lookup.ts";
import { EntryList, lowerBound } from "../../../src/journal/reader/entry-list.ts";
import { JournalFile } from "../../../src/journal/reader/journal-file.ts";
import { Patient, seededRandom } from "../../support/journal-damage.ts";
import { hostEntry, writeJournal } from "../../support/journal-entries.ts";
import { TempDir } from "../../support/temp-dir.ts";

const dir = new TempDir();
afterAll(() => dir[Symbol.dispose]());

/** A list that counts how often it is looked into. */
function listOf(numbers: readonly number[]) {
  return {
    looks: 0,
    at(index: number): number {
      this.looks++;
      const number = numbers[index];
      if (number === undefined) throw new Error(`no number at ${index}`);
      return number;
    },
  };
}

test("lowerBound() finds what a search from the start finds, from any index before it", () => {
  const random = seededRandom(1);
  for (let round = 0; round < 3000; round++) {
    const numbers: number[] = [];
    const count = Math.floor(random() * 40);
    for (let i = 0; i < count; i++)
      numbers.push((numbers.at(-1) ?? 0) + 1 + Math.floor(random() * 5));
    const value = Math.floor(random() * ((numbers.at(-1) ?? 0) + 3));
    const found = numbers.findIndex((number) => number >= value);
    const expected = found < 0 ? count : found;
    const from = Math.floor(random() * (expected + 1));
    expect(lowerBound(listOf(numbers), value, from, count)).toBe(expected);
  }
});

test("lowerBound() looks a few times where the answer is near, and never often", () => {
  const numbers = Array.from({ length: 1_000_000 }, (_, i) => 2 * i);
  const near = listOf(numbers);
  expect(lowerBound(near, 2 * 700_003, 700_000, numbers.length)).toBe(700_003);
  expect(near.looks).toBeLessThanOrEqual(5);
  const far = listOf(numbers);
  expect(lowerBound(far, 2 * 999_999, 0, numbers.length)).toBe(999_999);
  expect(far.looks).toBeLessThanOrEqual(42);
});

test("lowerBound() tells of numbers that do not rise", () => {
  expect(lowerBound(listOf([1, 2, 9, 4]), 10, 0, 4)).toBe(-1);
  expect(lowerBound(listOf([5, 1]), 6, 0, 2)).toBe(-1);
});

describe("EntryList", () => {
  const path = `${dir.path}/list.journal`;
  const count = 30;
  beforeAll(() => {
    writeJournal(
      path,
      Array.from({ length: 2 * count }, (_, i) => hostEntry(i + 1, `A=${i % 2}`)),
    );
  });

  /** Offsets in the list of A=1, as the file is now, up to `end`. */
  function listed(end = Number.POSITIVE_INFINITY): number[] {
    const file = new JournalFile(path, new BlockCache(8));
    try {
      const data = new DataLookup(file, Number.POSITIVE_INFINITY).find(Buffer.from("A=1"));
      if (data === undefined) throw new Error("A=1 is not found");
      const list = new EntryList(file, data, end, 64);
      const offsets: number[] = [];
      for (let i = 0; i < list.count; i++) offsets.push(list.after(offsets.at(-1) ?? 0, i));
      for (const offset of offsets) list.requireEntry(offset);
      return offsets;
    } finally {
      file.close();
    }
  }

  test("has the entries that refer to a DATA object, and only those before its end", () => {
    using patient = new Patient(path);
    const entries = patient.objects.filter(({ type }) => type === ObjectType.entry);
    const odd = entries.filter((_, index) => index % 2 === 1).map(({ offset }) => offset);
    expect(listed()).toEqual(odd);
    for (let wanted = 0; wanted < count; wanted++) {
      expect(listed(odd[wanted])).toEqual(odd.slice(0, wanted));
    }
  });

  test("tells of counts and items that cannot be", () => {
    using patient = new Patient(path);
    const data = patient.dataOffset("A=1");
    const arrays: number[] = [];
    const first = patient.readUint64(data + DATA.entryArrayOffset);
    for (let offset = first; offset !== 0; ) {
      arrays.push(offset);
      offset = patient.readUint64(offset + ENTRY_ARRAY.nextEntryArrayOffset);
    }
    expect(arrays.length).toBeGreaterThan(2);
    // The first entry is inline.
    let lastIndex = count - 2;
    for (const offset of arrays.slice(0, -1)) {
      lastIndex -= (patient.readUint64(offset + OBJECT.size) - ENTRY_ARRAY.items) / 4;
    }
    const lastItem = (arrays.at(-1) ?? 0) + ENTRY_ARRAY.items + 4 * lastIndex;
    const firstItem = first + ENTRY_ARRAY.items;
    const sound = listed();
    expect(patient.read(lastItem, 4).readUInt32LE()).toBe(sound.at(-1) ?? 0);
    const wounds: Record<string, () => void> = {
      "a count that is too low": () => patient.writeUint64(data + DATA.entries, count - 1),
      "a count that is too high": () => patient.writeUint64(data + DATA.entries, count + 1),
      "entries but no first one": () => patient.writeUint64(data + DATA.entryOffset, 0),
      "no array": () => patient.writeUint64(data + DATA.entryArrayOffset, 0),
      "an array that is none": () => patient.writeUint64(data + DATA.entryArrayOffset, data),
      "a chain that turns back": () => patient.writeUint64(first + 16, first),
      "a last item that is no entry": () => patient.writeUint32(lastItem, 0xfffffff8),
      "an item out of order": () => patient.writeUint32(firstItem, sound[5] ?? 0),
      "an item that is no entry": () => patient.writeUint32(firstItem, (sound[1] ?? 0) + 8),
    };
    const end = (sound.at(-1) ?? 0) + 8;
    for (const [name, wound] of Object.entries(wounds)) {
      wound();
      expect(() => listed(end), name).toThrow(
        expect.objectContaining({ code: "E_JOURNAL_CORRUPT" }),
      );
      patient.heal();
    }
    expect(listed(end)).toEqual(sound);
  });
});
