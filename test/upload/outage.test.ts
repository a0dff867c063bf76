import { describe, expect, test } from "bun:test";
import { Outage } from "../../src/upload/outage.ts";
import { CapturedLog } from "../support/captured-log.ts";
import { TestClock } from "../support/test-clock.ts";

const URL = "https://logs.example.net:19532/upload";

function setback(reason: string, retryAfterMs = 0) {
  return { reason, hint: undefined, retryAfterMs };
}

describe("Outage", () => {
  test("logs each reason once, and how long it was when it is over", () => {
    using captured = new CapturedLog();
    const clock = new TestClock();
    const outage = new Outage(URL, clock);
    for (const reason of ["refused", "refused", "status 503", "refused"]) {
      outage.add(setback(reason));
      clock.nowMs += 10_000;
    }
    expect(outage.reason).toBe("refused");
    outage.end();
    expect(outage.reason).toBeUndefined();
    expect(captured.lines.filter((line) => !line.startsWith("debug"))).toEqual([
      "warn: refused; it is tried again until it works",
      "warn: status 503; it is tried again until it works",
      `info: Uploading to "${URL}" works again seconds=40 attempts=4`,
    ]);
  });

  test("does not log what comes and goes each time", () => {
    using captured = new CapturedLog();
    const clock = new TestClock();
    const outage = new Outage(URL, clock);
    for (let i = 0; i < 100; i++) {
      outage.add(setback("refused"));
      clock.nowMs += 5_000;
      outage.end();
      clock.nowMs += 5_000;
    }
    expect(captured.lines.filter((line) => line.startsWith("warn"))).toHaveLength(2);
    expect(captured.lines.filter((line) => line.startsWith("info"))).toHaveLength(2);
  });

  test("bounds what it remembers of a peer that words its refusal anew each time", () => {
    using captured = new CapturedLog();
    const outage = new Outage(URL, new TestClock());
    for (let i = 0; i < 1000; i++) outage.add(setback(`request ${i} failed`));
    expect(captured.lines.filter((line) => line.startsWith("warn"))).toHaveLength(20);
  });

  test("waits longer each time, or as long as the receiver says", () => {
    using _captured = new CapturedLog();
    const outage = new Outage(URL, new TestClock(0, 0.5));
    expect([0, 1, 2].map(() => outage.add(setback("refused")))).toEqual([1500, 3000, 6000]);
    expect(outage.add(setback("busy", 120_000))).toBe(120_500);
    expect(outage.add(setback("busy", 1))).toBe(1000);
    outage.end();
    expect(outage.add(setback("refused"))).toBe(1500);
  });
});
