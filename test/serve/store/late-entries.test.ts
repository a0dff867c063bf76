import { describe, expect, test } from "bun:test";
import { LateEntries } from "../../../src/serve/store/late-entries.ts";
import { hostEntry, OTHER_BOOT_ID, toEntry } from "../../support/journal-entries.ts";

describe("LateEntries", () => {
  test("settle() hands over by rising number, as they were", () => {
    const late = new LateEntries();
    for (const seqnum of [5, 3, 9, 1])
      expect(late.add(toEntry(hostEntry(seqnum)), seqnum)).toBe(true);
    const settled: [number, number, number][] = [];
    late.settle(({ realtimeUsec, fieldCount }, seqnum) => {
      settled.push([seqnum, realtimeUsec, fieldCount]);
    });
    expect(settled).toEqual(
      [1, 3, 5, 9].map((seqnum) => {
        const { realtimeUsec, fieldCount } = toEntry(hostEntry(seqnum));
        return [seqnum, realtimeUsec, fieldCount];
      }),
    );
    expect(late.isEmpty).toBe(true);
  });

  test("knows the very entries it holds, until they are stored", () => {
    const late = new LateEntries();
    const entry = hostEntry(5);
    late.add(toEntry(entry), 5);
    expect(late.has(toEntry(entry))).toBe(true);
    expect(late.has(toEntry({ ...entry, bootId: OTHER_BOOT_ID }))).toBe(false);
    expect(late.has(toEntry({ ...entry, realtimeUsec: 17 }))).toBe(false);
    late.settle(() => undefined);
    expect(late.has(toEntry(entry))).toBe(false);
  });

  test("what could not be stored stays", () => {
    const late = new LateEntries();
    for (const seqnum of [3, 2, 1]) late.add(toEntry(hostEntry(seqnum)), seqnum);
    const tried: number[] = [];
    const store = (failing: number) => (_: unknown, seqnum: number) => {
      tried.push(seqnum);
      if (seqnum === failing) throw new Error("no space");
    };
    expect(() => late.settle(store(2))).toThrow("no space");
    expect(late.isEmpty).toBe(false);
    late.settle(store(0));
    expect(tried).toEqual([1, 2, 2, 3]);
    expect(late.isEmpty).toBe(true);
  });

  test("has a bound, and takes one entry of any size when it is empty", () => {
    const late = new LateEntries();
    const huge = { seqnum: 1, fields: [`MESSAGE=${"x".repeat(3_000_000)}`] };
    expect(late.add(toEntry(huge), 1)).toBe(true);
    expect(late.add(toEntry(hostEntry(2)), 2)).toBe(false);
    late.settle(() => undefined);
    let count = 0;
    while (late.add(toEntry(hostEntry(count + 1)), count + 1)) count++;
    expect(count).toBeGreaterThan(1000);
    expect(count).toBeLessThan(10_000);
  });
});
