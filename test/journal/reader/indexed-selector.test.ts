import { afterAll, describe, expect, spyOn, test } from "bun:test";
import fs from "node:fs";
import { HEADER } from "../../../src/journal/format.ts";
import { PageCache } from "../../../src/journal/page-cache.ts";
import { JournalWriter } from "../../../src/journal/writer.ts";
import { openSelection } from "../../../src/upload/selection.ts";
import type { SelectionSettings } from "../../../src/upload/settings.ts";
import { CapturedLog } from "../../support/captured-log.ts";
import { Patient, seededRandom, wound } from "../../support/journal-damage.ts";
import {
  hostEntry,
  OPTIONS,
  type PlainEntry,
  toEntry,
  writeJournal,
} from "../../support/journal-entries.ts";
import { NO_SELECTION, NO_TRANSFORM } from "../../support/neutral-settings.ts";
import { SelectedEntries, selectEntries } from "../../support/selected-entries.ts";
import { TempDir } from "../../support/temp-dir.ts";

const dir = new TempDir();
afterAll(() => dir[Symbol.dispose]());
let files = 0;
const nextPath = (): string => `${dir.path}/${files++}.journal`;

const select = (settings: Partial<SelectionSettings>) =>
  openSelection({ ...NO_SELECTION, ...settings }, NO_TRANSFORM);

/** Entries of 40 units: seven common ones and rare ones. */
function unitEntries(count: number, first = 1): PlainEntry[] {
  return Array.from({ length: count }, (_, index) => {
    const i = first + index;
    const unit = i % 40 === 0 ? `rare-${i}` : `common-${i % 7}`;
    return hostEntry(i, `_SYSTEMD_UNIT=${unit}.service`, `_UID=${i % 3}`, `A=${i % 4}`);
  });
}

/** Selections that the indexes answer in different ways: one list, several, both, short ones, by pattern. */
const SELECTIONS: Partial<SelectionSettings>[] = [
  { units: ["common-3"] },
  { units: ["rare-*"] },
  { units: ["common-[25]*"] },
  { matches: [["_UID=1", "A=2"], ["A=3", "_UID=9"], ["MESSAGE=message number 7"]] },
  { units: ["common-1*"], matches: [["_UID=2"]] },
  { matches: [["A=1", "A=2", "_UID=0", "_SYSTEMD_UNIT=common-0.service"]] },
  { identifiers: ["nobody"] },
];

describe("IndexedSelector", () => {
  test("names the entries that a scan finds, in every layout", () => {
    for (const compact of [true, false]) {
      for (const keyedHash of [true, false]) {
        const path = nextPath();
        writeJournal(path, unitEntries(400), { compact, keyedHash, dataBuckets: 97 });
        for (const settings of SELECTIONS) {
          const selection = select(settings);
          const found = selectEntries(path, selection);
          expect(found.seqnums).toEqual(selectEntries(path, selection, false).seqnums);
          expect(found.read).toBeLessThanOrEqual(found.seqnums.length + 1);
          expect(selection.damagedIndexes).toBe(0);
        }
      }
    }
  });

  test("reads no more of a large file than the matches need", () => {
    const path = nextPath();
    const entries = Array.from({ length: 30_000 }, (_, i) =>
      hostEntry(i + 1, `_SYSTEMD_UNIT=${i % 3000 === 5 ? "rare" : "common"}.service`),
    );
    writeJournal(path, entries, { dataBuckets: 50_000 });
    const found = selectEntries(path, select({ units: ["rare"] }));
    expect(found.seqnums).toHaveLength(10);
    expect(found.read).toBeLessThanOrEqual(11);
    const none = selectEntries(path, select({ units: ["none"] }));
    expect(none).toEqual({ seqnums: [], read: 1 });
  });

  test("scans where most entries are wanted", () => {
    const path = nextPath();
    writeJournal(path, unitEntries(200));
    const found = selectEntries(path, select({ matches: [["_UID=0"], ["_UID=1"]] }));
    expect(found.read).toBe(200);
    expect(found.seqnums).toHaveLength(133);
  });

  test("answers for any index, also for one before the last", () => {
    const path = nextPath();
    writeJournal(path, unitEntries(300));
    const selection = select({ units: ["common-3"] });
    const wanted = new Set(selectEntries(path, selection, false).seqnums);
    using reader = new SelectedEntries(path, selection);
    const random = seededRandom(5);
    for (let round = 0; round < 200; round++) {
      const index = Math.floor(random() * 310);
      let expected = Math.min(index, 300);
      while (expected < 299 && !wanted.has(expected + 1)) expected++;
      expect(reader.nextIndex(index)).toBe(expected);
    }
  });

  test("an empty file, and one of a single entry", () => {
    const [empty, single] = [nextPath(), nextPath()];
    writeJournal(empty, []);
    writeJournal(single, unitEntries(1));
    const selection = select({ units: ["common-1"] });
    expect(selectEntries(empty, selection).seqnums).toEqual([]);
    expect(selectEntries(single, selection).seqnums).toEqual([1]);
    expect(selection.damagedIndexes).toBe(0);
  });

  test("does not rely on what a crash may have cut short", () => {
    const path = `${nextPath()}~`;
    writeJournal(path.slice(0, -1), unitEntries(200));
    fs.renameSync(path.slice(0, -1), path);
    const selection = select({ units: ["common-3"] });
    expect(selectEntries(path, selection).read).toBeLessThan(40);
    using patient = new Patient(path);
    patient.write(HEADER.state, Buffer.of(1));
    expect(selectEntries(path, selection).read).toBe(200);
  });
});

describe("IndexedSelector of a damaged file", () => {
  test("finds what a scan finds, whatever is damaged but an entry itself", () => {
    using _log = new CapturedLog();
    const path = nextPath();
    writeJournal(path, unitEntries(300), { dataBuckets: 97 });
    using patient = new Patient(path);
    const random = seededRandom(11);
    const wrong: string[] = [];
    let damagedIndexes = 0;
    for (let round = 0; round < 150; round++) {
      const what = wound(patient, random);
      const selection = select(SELECTIONS[round % SELECTIONS.length] ?? {});
      const scan = trySelect(path, selection, false);
      if (scan !== undefined) {
        const indexed = trySelect(path, selection, true);
        const missing = scan.filter((seqnum) => indexed?.includes(seqnum) !== true);
        // One may be wanted because of the damage: an index cannot know.
        if (missing.length > 1) wrong.push(`${what}: ${missing}`);
        damagedIndexes += selection.damagedIndexes;
      }
      patient.heal();
    }
    expect(wrong).toEqual([]);
    expect(damagedIndexes).toBeGreaterThan(5);
  });

  test("tells of it once a file", () => {
    using log = new CapturedLog();
    const path = nextPath();
    writeJournal(path, unitEntries(100));
    using patient = new Patient(path);
    patient.write(HEADER.fileId, Buffer.alloc(16, 9));
    const selection = select({ units: ["common-3"] });
    expect(selectEntries(path, selection)).toEqual(selectEntries(path, selection, false));
    expect(selection.damagedIndexes).toBe(1);
    expect(log.lines).toHaveLength(1);
    expect(log.lines[0]).toContain(path);
  });

  function trySelect(path: string, selection: ReturnType<typeof select>, indexed: boolean) {
    try {
      return selectEntries(path, selection, indexed).seqnums;
    } catch {
      // Its header is damaged: it is not opened at all.
      return undefined;
    }
  }
});

describe("IndexedSelector of a file that is being written", () => {
  /** One unit comes late. */
  function liveEntry(seqnum: number): PlainEntry {
    const [entry] = unitEntries(1, seqnum) as [PlainEntry];
    const fields = isLate(seqnum) ? ["_SYSTEMD_UNIT=late.service"] : [];
    return { ...entry, fields: [...entry.fields, ...fields] };
  }

  function isLate(seqnum: number): boolean {
    return seqnum > 8000 && seqnum % 100 === 7;
  }

  const liveSelections: [Partial<SelectionSettings>, (seqnum: number) => boolean][] = [
    [{ units: ["late", "rare-*"] }, (seqnum) => isLate(seqnum) || seqnum % 40 === 0],
    [{ matches: [["A=1", "_UID=2"]] }, (seqnum) => seqnum % 4 === 1 && seqnum % 3 === 2],
  ];

  for (const [settings, isWanted] of liveSelections) {
    test(`finds what is appended in steps of any size, and new values: ${Object.keys(settings)}`, () => {
      const path = nextPath();
      const options = { ...OPTIONS, dataBuckets: 50_000 };
      const writer = JournalWriter.create(path, options, new PageCache());
      const selection = select(settings);
      using reader = new SelectedEntries(path, selection);
      const random = seededRandom(3);
      const found: number[] = [];
      let read = 0;
      let seqnum = 0;
      while (seqnum < 12_000) {
        const step = random() < 0.02 ? 5000 : Math.floor(random() * 40);
        for (const end = seqnum + step; seqnum < end; ) {
          writer.append(toEntry(liveEntry(++seqnum)), seqnum);
        }
        writer.publish();
        reader.refresh();
        const selected = reader.readOn(random() < 0.3 ? reader.entries / 2 : undefined);
        found.push(...selected.seqnums);
        read += selected.read;
      }
      writer.close("offline");
      reader.refresh();
      found.push(...reader.readOn().seqnums);
      const all = Array.from({ length: seqnum }, (_, i) => i + 1);
      expect(found).toEqual(all.filter(isWanted));
      expect(selection.damagedIndexes).toBe(0);
      // Large steps are looked up.
      expect(read).toBeLessThan(seqnum - 5000);
    });
  }

  test("is never behind a scan, at any moment of the writing", () => {
    const path = nextPath();
    const options = { ...OPTIONS, dataBuckets: 97, compressThresholdBytes: undefined };
    const writer = JournalWriter.create(path, options, new PageCache(0));
    const selection = select({ units: ["common-3", "rare-*"], matches: [["_UID=0"], ["_UID=1"]] });
    let looks = 0;
    const look = (): void => {
      if (++looks % 7 !== 0) return;
      const scan = selectEntries(path, selection, false);
      expect(selectEntries(path, selection).seqnums).toEqual(scan.seqnums);
    };
    const { writeSync } = fs;
    const spy = spyOn(fs, "writeSync").mockImplementation((...args: unknown[]) => {
      const count: number = Reflect.apply(writeSync, fs, args);
      look();
      return count;
    });
    try {
      for (const [index, entry] of unitEntries(400).entries()) {
        writer.append(toEntry(entry), entry.seqnum);
        if (index % 5 === 0) writer.publish();
      }
      writer.close("offline");
    } finally {
      spy.mockRestore();
    }
    expect(looks).toBeGreaterThan(200);
    expect(selection.damagedIndexes).toBe(0);
  });
});
