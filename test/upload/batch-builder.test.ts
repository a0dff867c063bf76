import { describe, expect, spyOn, test } from "bun:test";
import { systemClock } from "../../src/platform/clock.ts";
import { BatchBuilder, type BatchPlan } from "../../src/upload/batch-builder.ts";
import { ListSource, listCursor, messages } from "../support/list-source.ts";

interface Setup {
  plan?: Partial<BatchPlan>;
  delayMs?: number;
  isIdle?: () => boolean;
}

function makeBuilder(source: ListSource, setup: Setup = {}, stop = new AbortController()) {
  const plan = {
    format: "export",
    sizeMax: 64 * 1024,
    entriesMax: Infinity,
    ...setup.plan,
  } as const;
  return new BatchBuilder({
    ...{ source, clock: systemClock, signal: stop.signal },
    batch: { sizeMax: 64 * 1024, delayMs: setup.delayMs ?? 1000, inFlightMax: 2 },
    plan: () => plan,
    isIdle: setup.isIdle ?? (() => true),
  });
}

describe("BatchBuilder", () => {
  test("closes a batch when it is large enough, and knows the position after it", async () => {
    const builder = makeBuilder(new ListSource(messages(1000)));
    let entries = 0;
    for (let batch = await builder.next(); batch !== undefined; batch = await builder.next()) {
      entries += batch.body.entryCount;
      expect(batch.position?.cursor).toBe(listCursor(entries));
      expect(batch.realtimeUsec).toBe(1_700_000_000_000_000 + entries * 1000);
      const isLast = entries === 1000;
      if (!isLast) expect(batch.body.sizeBytes).toBeGreaterThanOrEqual(64 * 1024);
      expect(batch.body.sizeBytes).toBeLessThan(65 * 1024);
    }
    expect(entries).toBe(1000);
  });

  test("closes a batch that has so many entries", async () => {
    const builder = makeBuilder(new ListSource(messages(25)), { plan: { entriesMax: 10 } });
    const counts: number[] = [];
    for (let batch = await builder.next(); batch !== undefined; batch = await builder.next()) {
      counts.push(batch.body.entryCount);
    }
    expect(counts).toEqual([10, 10, 5]);
  });

  test("waits for more while a request is on its way, but not longer than it should", async () => {
    let isIdle = false;
    const source = new ListSource(["first"], { follow: true });
    const builder = makeBuilder(source, { delayMs: 400, isIdle: () => isIdle });
    const startMs = performance.now();
    const waiting = builder.next();
    setTimeout(() => source.push("second"), 100);
    expect((await waiting)?.body.entryCount).toBe(2);
    expect(performance.now() - startMs).toBeGreaterThan(390);
    expect(performance.now() - startMs).toBeLessThan(700);

    source.push("third");
    const soon = performance.now();
    setTimeout(() => {
      isIdle = true;
    }, 100);
    expect((await builder.next())?.body.entryCount).toBe(1);
    expect(performance.now() - soon).toBeLessThan(300);
  });

  test("waits on the source only when there is nothing at all", async () => {
    const source = new ListSource([], { follow: true });
    const stop = new AbortController();
    const builder = makeBuilder(source, {}, stop);
    const waiting = builder.next();
    await Bun.sleep(100);
    expect(source.waits).toBe(1);
    source.push("one");
    expect((await waiting)?.body.entryCount).toBe(1);
    const last = builder.next();
    stop.abort();
    expect(await last).toBeUndefined();
  });

  test("goes on at once with a source that pauses", async () => {
    const startMs = performance.now();
    const batch = await makeBuilder(new ListSource(messages(100), { pauses: true })).next();
    expect(batch?.body.entryCount).toBe(100);
    expect(performance.now() - startMs).toBeLessThan(500);
  });

  test("is not late when the clock of the machine is set back", async () => {
    const source = new ListSource(["first"], { follow: true });
    const builder = makeBuilder(source, { delayMs: 200, isIdle: () => false });
    const startMs = performance.now();
    const waiting = builder.next();
    const setBack = spyOn(Date, "now").mockImplementation(() => 0);
    const guard = setTimeout(() => setBack.mockRestore(), 2_000);
    expect((await waiting)?.body.entryCount).toBe(1);
    clearTimeout(guard);
    setBack.mockRestore();
    expect(performance.now() - startMs).toBeLessThan(1000);
  });

  test("lets timers run while it reads without end", async () => {
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    const plan = { sizeMax: Infinity };
    const batch = await makeBuilder(new ListSource(messages(200_000)), {
      plan,
      delayMs: 1e6,
    }).next();
    clearInterval(timer);
    expect(batch?.body.entryCount).toBe(200_000);
    expect(ticks).toBeGreaterThan(20);
  }, 20_000);
});
