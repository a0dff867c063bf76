import { afterAll, describe, expect, test } from "bun:test";
import { parseCursor } from "../../../src/journal/cursor.ts";
import { ENTRY, ObjectType } from "../../../src/journal/format.ts";
import { BlockCache } from "../../../src/journal/reader/block-cache.ts";
import { JournalFile } from "../../../src/journal/reader/journal-file.ts";
import {
  seekAfter,
  seekBoot,
  seekCursor,
  seekMonotonic,
  seekRealtime,
  seekSeqnum,
} from "../../../src/journal/reader/seek.ts";
import { Patient, seededRandom } from "../../support/journal-damage.ts";
import { id128 } from "../../support/journal-entries.ts";
import { idOf, plain, START_USEC, writeFile } from "../../support/reader-journals.ts";
import { TempDir } from "../../support/temp-dir.ts";

const dir = new TempDir();
afterAll(() => dir[Symbol.dispose]());

/** Numbers with holes, times that repeat; two boots one after the other, a third in between. */
const ENTRIES = Array.from({ length: 300 }, (_, i) => {
  const boot = i % 10 === 5 ? 3 : i < 150 ? 1 : 2;
  return plain(10 + i * 3, {
    second: Math.floor(i / 2),
    monotonic: boot === 2 ? i - 150 : i,
    boot,
  });
});

/** Index of the first entry from `from` on that the condition holds for. */
function scan(holds: (entry: (typeof ENTRIES)[number]) => boolean): number {
  const index = ENTRIES.findIndex(holds);
  return index < 0 ? ENTRIES.length : index;
}

for (const [compact, keyedHash] of [
  [true, true],
  [true, false],
  [false, true],
  [false, false],
] as const) {
  const format = `${compact ? "compact" : "regular"}, ${keyedHash ? "keyed" : "unkeyed"}`;
  test(`bisection finds what a scan finds, ${format}`, () => {
    const options = { compact, keyedHash };
    const path = writeFile(dir.path, `${compact}-${keyedHash}.journal`, ENTRIES, 1, options);
    const file = new JournalFile(path, new BlockCache());
    for (let n = 0; n < 1000; n += 3) {
      expect(seekSeqnum(file, n)).toBe(scan(({ seqnum }) => seqnum >= n));
      const time = START_USEC + (n / 4) * 1_000_000;
      expect(seekRealtime(file, time)).toBe(scan(({ realtimeUsec = 0 }) => realtimeUsec >= time));
    }
    for (const boot of [1, 2, 3]) {
      const bootId = id128(idOf(boot));
      expect(seekBoot(file, bootId)).toBe(scan((entry) => entry.bootId === idOf(boot)));
      const last = ENTRIES.findLastIndex((entry) => entry.bootId === idOf(boot));
      for (let second = 0; second < 320; second += 7) {
        const index = scan(
          ({ bootId: own, monotonicUsec = 0 }) =>
            own === idOf(boot) && monotonicUsec >= second * 1_000_000,
        );
        const expected = index === ENTRIES.length ? last + 1 : index;
        expect(seekMonotonic(file, bootId, second * 1_000_000)).toBe(expected);
      }
    }
    expect(seekMonotonic(file, id128(idOf(9)), 5)).toBeUndefined();
    expect(seekBoot(file, id128(idOf(9)))).toBe(ENTRIES.length);
    file.close();
  });
}

describe("seekCursor()", () => {
  const path = writeFile(dir.path, "cursor.journal", ENTRIES, 1);
  const time = (second: number) => (START_USEC + second * 1_000_000).toString(16);

  const cases: [string, string, number][] = [
    ["by the number in files of its sequence", `s=${idOf(1)};i=${(40).toString(16)};t=1`, 10],
    [
      "by the boot in others",
      `s=${idOf(2)};i=1;b=${idOf(2)};m=${(3_000_000).toString(16)};t=1`,
      153,
    ],
    [
      "by the time where the boot is not known",
      `s=${idOf(2)};i=1;b=${idOf(9)};m=1;t=${time(20)}`,
      40,
    ],
    ["at the beginning where nothing is known", `b=${idOf(9)};m=1`, 0],
  ];
  for (const [name, cursor, index] of cases) {
    test(`finds the place ${name}`, () => {
      const file = new JournalFile(path, new BlockCache());
      expect(seekCursor(file, parseCursor(cursor))).toBe(index);
      file.close();
    });
  }
});

test("seekAfter() goes back over numbers that were given twice, and over those alone", () => {
  const path = writeFile(dir.path, "after.journal", ENTRIES, 1);
  const file = new JournalFile(path, new BlockCache());
  const last = {
    seqnum: 10 + 3 * 160,
    realtimeUsec: START_USEC,
    bootWords: new Int32Array(id128(idOf(1)).buffer),
  };
  expect(seekAfter(file, last, false)).toBe(161);
  // Entries 151 to 160 are of other boots, and later.
  expect(seekAfter(file, last, true)).toBe(150);
  expect(seekAfter(file, { ...last, realtimeUsec: START_USEC + 78_000_000 }, true)).toBe(158);
  file.close();
});

test("bisection gets over damaged entries", () => {
  const path = writeFile(dir.path, "damaged.journal", ENTRIES, 1);
  const random = seededRandom(3);
  const damaged = new Set<number>();
  {
    using patient = new Patient(path);
    for (let i = 0; i < 60; i++) {
      const index = Math.floor(random() * ENTRIES.length);
      damaged.add(index);
      patient.writeUint64(patient.offsetOf(ObjectType.entry, index) + ENTRY.seqnum, 0);
    }
  }
  const file = new JournalFile(path, new BlockCache());
  for (const [index, { seqnum }] of ENTRIES.entries()) {
    if (damaged.has(index)) continue;
    const found = seekSeqnum(file, seqnum);
    // Or a bad one right before it.
    expect(found).toBeLessThanOrEqual(index);
    for (let i = found; i < index; i++) expect(damaged.has(i)).toBe(true);
  }
  file.close();
});
