import { describe, expect, test } from "bun:test";
import { RateLimiter } from "../../src/upload/rate-limit.ts";
import { TestClock } from "../support/test-clock.ts";

const NO_SIGNAL = new AbortController().signal;

describe("RateLimiter", () => {
  test("lets one second's worth go at once, then keeps the rate", async () => {
    const clock = new TestClock();
    const limiter = new RateLimiter({ bytesPerSec: 1000, entriesPerSec: 0 }, clock);
    await limiter.take(1000, 1, NO_SIGNAL);
    expect(clock.nowMs).toBe(0);
    for (let i = 0; i < 10; i++) await limiter.take(500, 1, NO_SIGNAL);
    expect(clock.nowMs).toBe(5000);
  });

  test("keeps the mean rate for what is larger than a second's worth", async () => {
    const clock = new TestClock();
    const limiter = new RateLimiter({ bytesPerSec: 1000, entriesPerSec: 0 }, clock);
    for (let i = 0; i < 5; i++) await limiter.take(10_000, 1, NO_SIGNAL);
    expect(clock.nowMs).toBe(40_000);
  });

  test("counts entries as well: the stricter limit rules", async () => {
    const clock = new TestClock();
    const limiter = new RateLimiter({ bytesPerSec: 1000, entriesPerSec: 10 }, clock);
    for (let i = 0; i < 10; i++) await limiter.take(100, 10, NO_SIGNAL);
    expect(clock.nowMs).toBe(9000);
  });

  test("does not save up more than a second's worth", async () => {
    const clock = new TestClock();
    const limiter = new RateLimiter({ bytesPerSec: 1000, entriesPerSec: 0 }, clock);
    clock.nowMs = 3_600_000;
    await limiter.take(1000, 1, NO_SIGNAL);
    await limiter.take(1000, 1, NO_SIGNAL);
    expect(clock.nowMs).toBe(3_601_000);
  });

  test("without limits never waits; with the signal stops waiting", async () => {
    const clock = new TestClock();
    await new RateLimiter({ bytesPerSec: 0, entriesPerSec: 0 }, clock).take(1e12, 1e9, NO_SIGNAL);
    const limiter = new RateLimiter({ bytesPerSec: 1, entriesPerSec: 0 }, clock);
    await limiter.take(1000, 1, NO_SIGNAL);
    await limiter.take(1000, 1, AbortSignal.abort());
    expect(clock.delaysMs).toEqual([]);
  });
});
