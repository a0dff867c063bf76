import { describe, expect, test } from "bun:test";
import { systemClock } from "../../src/platform/clock.ts";

describe("systemClock.sleep()", () => {
  test("takes as long as it should", async () => {
    const startMs = performance.now();
    await systemClock.sleep(30, new AbortController().signal);
    expect(performance.now() - startMs).toBeGreaterThanOrEqual(29);
  });

  test("ends with the signal, before or during it", async () => {
    const startMs = performance.now();
    await systemClock.sleep(60_000, AbortSignal.abort());
    await systemClock.sleep(60_000, AbortSignal.timeout(20));
    expect(performance.now() - startMs).toBeLessThan(1000);
  });
});
