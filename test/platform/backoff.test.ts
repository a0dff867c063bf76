import { describe, expect, test } from "bun:test";
import {
  parseRetryAfterMs,
  RETRY_AFTER_MS_MAX,
  RETRY_DELAY_MS_MAX,
  RETRY_DELAY_MS_MIN,
  retryDelayMs,
} from "../../src/platform/backoff.ts";

describe("retryDelayMs()", () => {
  test("doubles from 1 s to 30 s without luck", () => {
    const delays = [0, 1, 2, 3, 4, 5, 6].map((failures) => retryDelayMs(failures, 0));
    expect(delays).toEqual([1000, 2000, 4000, 8000, 16000, 30000, 30000]);
  });

  test("draws up to twice as much, and stays between its limits for ever", () => {
    expect(retryDelayMs(2, 0.5)).toBe(6000);
    for (const failures of [0, 1, 5, 10, 1000, 1e6]) {
      for (const random of [0, 0.3, 0.999999]) {
        const delay = retryDelayMs(failures, random);
        expect(delay).toBeGreaterThanOrEqual(RETRY_DELAY_MS_MIN);
        expect(delay).toBeLessThanOrEqual(RETRY_DELAY_MS_MAX);
      }
    }
  });
});

describe("parseRetryAfterMs()", () => {
  const now = Date.UTC(2026, 0, 1);
  const cases: [value: string | null, delayMs: number][] = [
    [null, 0],
    ["7", 7000],
    [" 7 ", 7000],
    ["0", 0],
    ["Thu, 01 Jan 2026 00:00:30 GMT", 30_000],
    ["Wed, 31 Dec 2025 00:00:00 GMT", 0],
    ["soon", 0],
    ["", 0],
    ["99999999999999999999", RETRY_AFTER_MS_MAX],
    ["Thu, 01 Jan 2099 00:00:00 GMT", RETRY_AFTER_MS_MAX],
  ];
  test.each(cases)("understands %p as %p ms", (value, delayMs) => {
    expect(parseRetryAfterMs(value, now)).toBe(delayMs);
  });
});
