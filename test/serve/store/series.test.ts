import { describe, expect, test } from "bun:test";
import { rmSync, truncateSync } from "node:fs";
import fc from "fast-check";
import { FileState } from "../../../src/journal/format.ts";
import { CapturedLog } from "../../support/captured-log.ts";
import { hostEntry, OTHER_BOOT_ID, SEQNUM_ID } from "../../support/journal-entries.ts";
import {
  damage,
  foundFiles,
  foundKeys,
  keysOf,
  longRange,
  openBelow,
  type RigEntry,
  range,
  SMALLEST_FILES,
  StoreRig,
} from "../../support/store-rig.ts";
import { TempDir } from "../../support/temp-dir.ts";
import { until } from "../../support/until.ts";

const OTHER_ID = "0a".repeat(16);

describe("Series, entries in any order", () => {
  test("stores a late entry in a file where it fits, and knows it from then on", async () => {
    using dir = new TempDir();
    const rig = await StoreRig.open(dir.path);
    expect(await rig.post(range(100, 200))).toEqual({ stored: 101, duplicates: 0 });
    expect(await rig.post(range(1, 300))).toEqual({ stored: 199, duplicates: 101 });
    expect(await rig.post(range(1, 300))).toEqual({ stored: 0, duplicates: 300 });
    await rig.close();
    expect(foundKeys(dir.path)).toEqual(keysOf(range(1, 300)));
    const files = foundFiles(dir.path);
    expect(files.map(({ kind }) => kind)).toEqual(["active", "archived"]);
    expect(files[0]?.seqnums).toEqual([
      ...range(100, 200).map(({ seqnum }) => seqnum),
      ...range(201, 300).map(({ seqnum }) => seqnum),
    ]);
    expect(damage(dir.path)).toEqual([]);
  });

  test("falling numbers: all are stored, and few files are open at a time", async () => {
    using dir = new TempDir();
    const rig = await StoreRig.open(dir.path);
    const falling = range(1, 40).toReversed();
    expect(await rig.post(falling)).toEqual({ stored: 40, duplicates: 0 });
    expect(rig.store.openFiles).toBe(2);
    expect(openBelow(dir.path).length).toBeLessThanOrEqual(5);
    expect(await rig.post(range(1, 40))).toEqual({ stored: 0, duplicates: 40 });
    await rig.close();
    expect(foundKeys(dir.path)).toEqual(keysOf(range(1, 40)));
    expect(damage(dir.path)).toEqual([]);
  });

  test("a clock that jumps to and fro makes at most four files", async () => {
    using dir = new TempDir();
    const rig = await StoreRig.open(dir.path);
    const jumping = range(1, 400).map((entry, index) => {
      return { ...entry, realtimeUsec: 1_700_000_000_000_000 + ((index * 7919) % 400) * 1e6 };
    });
    expect(await rig.post(jumping)).toEqual({ stored: 400, duplicates: 0 });
    await rig.close();
    expect(foundFiles(dir.path).length).toBe(4);
    expect(foundKeys(dir.path)).toEqual(keysOf(jumping));
    expect(damage(dir.path)).toEqual([]);
  });

  test("a monotonic clock that goes back within a boot", async () => {
    using dir = new TempDir();
    const rig = await StoreRig.open(dir.path);
    const back = range(1, 60).map((entry, index) => {
      return { ...entry, monotonicUsec: 1e9 - (index % 20) * 1e6 };
    });
    expect(await rig.post(back)).toEqual({ stored: 60, duplicates: 0 });
    await rig.close();
    expect(foundKeys(dir.path)).toEqual(keysOf(back));
    expect(damage(dir.path)).toEqual([]);
  });

  test("boots that take turns share a file", async () => {
    using dir = new TempDir();
    const rig = await StoreRig.open(dir.path);
    const turns = range(1, 100).map((entry, index) => {
      const isOther = index % 2 === 1;
      return isOther ? { ...entry, bootId: OTHER_BOOT_ID, monotonicUsec: index } : entry;
    });
    expect(await rig.post(turns)).toEqual({ stored: 100, duplicates: 0 });
    await rig.close();
    expect(foundFiles(dir.path).map(({ seqnums }) => seqnums.length)).toEqual([100]);
    expect(damage(dir.path)).toEqual([]);
  });

  test("property: any order, any repetition, any restart or kill: each is stored once", async () => {
    using log = new CapturedLog();
    const stamp = fc.record({ seqnum: fc.integer({ min: 1, max: 30 }), isOther: fc.boolean() });
    const step = fc.oneof(
      { weight: 8, arbitrary: fc.array(stamp, { minLength: 1, maxLength: 12 }) },
      { weight: 1, arbitrary: fc.constant("restart" as const) },
      { weight: 1, arbitrary: fc.constant("kill" as const) },
    );
    const clocks = fc.record({
      realtime: fc.constantFrom(1, 0, -1, 7),
      monotonic: fc.constantFrom(1, 0, -1, 7),
    });
    const steps = fc.array(step, { maxLength: 12 });
    await fc.assert(fc.asyncProperty(steps, clocks, checkSteps), { numRuns: 60 });
    expect(log.lines.filter((line) => !line.includes("not closed cleanly"))).toEqual([]);
  }, 60_000);
});

/** The entries of one request, or what happens to the store. */
type Step = { seqnum: number; isOther: boolean }[] | "restart" | "kill";

interface Clocks {
  realtime: number;
  monotonic: number;
}

async function checkSteps(steps: readonly Step[], clocks: Clocks): Promise<void> {
  const sent = new Map<string, RigEntry>();
  let dir = new TempDir();
  let rig = await StoreRig.open(dir.path);
  try {
    for (const step of steps) {
      if (typeof step !== "string") {
        await checkPost(rig, step, clocks, sent);
        continue;
      }
      const left = step === "kill" ? rig.snapshot() : dir;
      await rig.close();
      if (left !== dir) dir[Symbol.dispose]();
      dir = left;
      rig = await StoreRig.open(dir.path);
    }
    await rig.close();
    expect(foundKeys(dir.path)).toEqual(keysOf(sent.values()));
    expect(damage(dir.path)).toEqual([]);
    expect(openBelow(dir.path)).toEqual([]);
  } finally {
    dir[Symbol.dispose]();
  }
}

async function checkPost(
  rig: StoreRig,
  step: Exclude<Step, string>,
  clocks: Clocks,
  sent: Map<string, RigEntry>,
): Promise<void> {
  // What an entry is does not depend on when it is sent.
  const batch = step.map(({ seqnum, isOther }): RigEntry => {
    const turn = (seqnum * 13) % 31;
    return {
      ...hostEntry(seqnum),
      seqnumId: isOther ? OTHER_ID : SEQNUM_ID,
      realtimeUsec: 1_700_000_000_000_000 + turn * clocks.realtime * 1000 + seqnum,
      monotonicUsec: 5_000_000 + turn * clocks.monotonic * 1000,
    };
  });
  const before = sent.size;
  for (const entry of batch) sent.set(`${entry.seqnumId}${entry.seqnum}`, entry);
  const stored = sent.size - before;
  expect(await rig.post(batch)).toEqual({ stored, duplicates: batch.length - stored });
}

describe("Series, duplicates", () => {
  test("recognises them within a request, in files not completed, after rotation and restart", async () => {
    using dir = new TempDir();
    const entries = longRange(1, 4000);
    const options = { retention: SMALLEST_FILES };
    const rig = await StoreRig.open(dir.path, options);
    expect(await rig.post([...entries, ...entries])).toEqual({ stored: 4000, duplicates: 4000 });
    expect(await rig.post(entries)).toEqual({ stored: 0, duplicates: 4000 });
    await rig.close();
    expect(foundFiles(dir.path).length).toBeGreaterThan(3);
    const again = await StoreRig.open(dir.path, options);
    expect(await again.post(entries.toReversed())).toEqual({ stored: 0, duplicates: 4000 });
    expect(openBelow(dir.path).length).toBeLessThan(50);
    await again.close();
    expect(openBelow(dir.path)).toEqual([]);
    expect(foundKeys(dir.path)).toEqual(keysOf(entries));
  });

  test("an entry with a number that is taken, but of another time or boot, is another entry", async () => {
    using dir = new TempDir();
    const rig = await StoreRig.open(dir.path);
    const before = range(1, 100);
    // journald forgot the last numbers it gave when the machine lost power.
    const after = range(81, 120).map((entry) => ({
      ...entry,
      fields: [`MESSAGE=after the power cut ${entry.seqnum}`],
      bootId: OTHER_BOOT_ID,
      monotonicUsec: entry.seqnum,
      realtimeUsec: 1_700_000_100_000_000 + entry.seqnum,
    }));
    expect(await rig.post(before)).toEqual({ stored: 100, duplicates: 0 });
    expect(await rig.post(after)).toEqual({ stored: 40, duplicates: 0 });
    expect(await rig.post([...before, ...after])).toEqual({ stored: 0, duplicates: 140 });
    await rig.close();
    const again = await StoreRig.open(dir.path);
    expect(await again.post([...after, ...before])).toEqual({ stored: 0, duplicates: 140 });
    await again.close();
    expect(foundKeys(dir.path)).toEqual(keysOf([...before, ...after]));
    expect(damage(dir.path)).toEqual([]);
  });

  test("a batch posted twice at the same time is stored once, and both wait for the disk", async () => {
    using dir = new TempDir();
    const rig = await StoreRig.open(dir.path);
    const [first, second] = [rig.post(range(1, 500)), rig.post(range(1, 500))];
    const results = await Promise.all([first, second]);
    expect(results).toEqual([
      { stored: 500, duplicates: 0 },
      { stored: 0, duplicates: 500 },
    ]);
    // What the second one was told is in the file at this moment.
    using copy = rig.snapshot();
    expect(foundKeys(copy.path)).toEqual(keysOf(range(1, 500)));
    await rig.close();
  });

  test("a file that somebody deleted no longer counts, and one that cannot be read does neither", async () => {
    using dir = new TempDir();
    using log = new CapturedLog();
    const rig = await StoreRig.open(dir.path, { retention: SMALLEST_FILES });
    const entries = longRange(1, 4000);
    await rig.post(entries);
    // What somebody cuts while it is still being completed is given up, which is another matter.
    await until(() => openBelow(dir.path).every((path) => !path.includes("@")), 10_000);
    const archived = foundFiles(dir.path).filter(({ kind }) => kind === "archived");
    const [gone, broken] = archived;
    rmSync(`${dir.path}/${gone?.name}`);
    truncateSync(`${dir.path}/${broken?.name}`, 4096);
    const lost = (gone?.seqnums.length ?? 0) + (broken?.seqnums.length ?? 0);
    expect(await rig.post(entries)).toEqual({ stored: lost, duplicates: 4000 - lost });
    expect(await rig.post(entries)).toEqual({ stored: 0, duplicates: 4000 });
    await rig.close();
    expect(log.lines.filter((line) => line.includes("Cannot look for duplicates"))).toHaveLength(1);
    rmSync(`${dir.path}/${broken?.name}`);
    expect(foundKeys(dir.path)).toEqual(keysOf(entries));
  });
});

describe("Series, rotation", () => {
  test("MaxFileSec= counts by the entries' clock, also for a file that was closed between", async () => {
    using dir = new TempDir();
    const hour = 3600e6;
    for (const { seqnum, ...entry } of range(1, 10)) {
      const realtimeUsec = 1_700_000_000_000_000 + seqnum * hour;
      const rig = await StoreRig.open(dir.path, { retention: { maxFileSec: 7200 } });
      await rig.post([{ ...entry, seqnum, realtimeUsec }]);
      await rig.close();
    }
    expect(foundFiles(dir.path).map(({ seqnums }) => seqnums)).toEqual([
      [10],
      [1, 2, 3],
      [4, 5, 6],
      [7, 8, 9],
    ]);
    expect(foundFiles(dir.path).map(({ state }) => state)).toEqual([
      FileState.offline,
      ...[FileState.archived, FileState.archived, FileState.archived],
    ]);
  });
});
