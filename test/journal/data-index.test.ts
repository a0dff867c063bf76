import { describe, expect, test } from "bun:test";
import {
  DataIndex,
  NO_RECORD,
  OTHER_RECORD,
  RECORD,
  releaseIndex,
  takeIndex,
} from "../../src/journal/data-index.ts";
import { seededRandom } from "../support/journal-damage.ts";

/** The records found on the way of a hash that have just this hash. */
function find(index: DataIndex, low: number, high: number): number[] {
  const found: number[] = [];
  for (let slot = index.slotOf(low, high); ; slot = index.nextSlot(slot)) {
    const record = index.recordAt(slot, high);
    if (record === NO_RECORD) return found;
    if (record === OTHER_RECORD) continue;
    const { words } = index;
    if (words[record + RECORD.hashLow] === low && words[record + RECORD.hashHigh] === high) {
      found.push(record);
    }
  }
}

describe("DataIndex", () => {
  for (const expected of [1, 2, 512, 8191]) {
    test(`finds every record again, also past the ${expected} it expects`, () => {
      const index = new DataIndex(expected);
      const random = seededRandom(expected);
      const half = (): number => (random() * 2 ** 32) | 0;
      const records = Array.from({ length: 10_000 }, (_, i) => ({ low: half(), high: half(), i }));
      for (const { low, high, i } of records) index.add(low, high, 4_000_000_000 + 8 * i, i);
      for (const { low, high, i } of records) {
        const [record] = find(index, low, high);
        if (record === undefined) throw new Error(`record ${i} is lost`);
        expect((index.words[record + RECORD.offset] ?? 0) >>> 0).toBe(4_000_000_000 + 8 * i);
        expect(index.words[record + RECORD.payloadSize]).toBe(i);
      }
      expect(find(index, half(), half())).toEqual([]);
    });
  }

  test("keeps records apart that have the same hash", () => {
    const index = new DataIndex(4);
    const records = Array.from({ length: 300 }, (_, i) => index.add(-5, 7, i, 10));
    expect(find(index, -5, 7)).toEqual(records);
    expect(new Set(records).size).toBe(300);
    expect(find(index, 7, -5)).toEqual([]);
  });

  /** Fails unless all words of a new record but those given are 0. */
  function expectNew(index: DataIndex): void {
    const record = index.add(1, 2, 3, 4);
    const { words } = index;
    const given = [RECORD.offset, RECORD.payloadSize, RECORD.hashLow, RECORD.hashHigh] as number[];
    expect([1, 2, 3, 4]).toEqual(
      [RECORD.hashLow, RECORD.hashHigh, RECORD.offset, RECORD.payloadSize].map(
        (word) => words[record + word] ?? 0,
      ),
    );
    for (const word of Object.values(RECORD)) {
      // The first entry has a meaning only where `isChanged` says so.
      if (given.includes(word) || word === RECORD.firstEntry) continue;
      expect(words[record + word]).toBe(word === RECORD.successor ? NO_RECORD : 0);
    }
  }

  test("starts a record with what it is given, no successor, and zeros", () => {
    expectNew(new DataIndex(4));
  });

  test("is empty when it is taken again after a file was closed", () => {
    const first = takeIndex(40_000);
    for (let i = 0; i < 10; i++) {
      const record = first.add(i, i, i, i);
      for (const word of Object.values(RECORD)) first.words[record + word] = 77;
    }
    releaseIndex(first);
    expect(takeIndex(512)).not.toBe(first);
    expect(takeIndex(19_000)).not.toBe(first);
    expect(takeIndex(41_000)).not.toBe(first);
    const again = takeIndex(39_000);
    expect(again).toBe(first);
    expect(find(again, 3, 3)).toEqual([]);
    expectNew(again);
    // It has a user now.
    expect(takeIndex(40_000)).not.toBe(first);
  });
});
