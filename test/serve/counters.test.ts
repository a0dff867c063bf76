import { expect, test } from "bun:test";
import { Counters } from "../../src/serve/counters.ts";

function makeCounters() {
  const lines: string[] = [];
  const clock = { nowMs: 0 };
  const counters = new Counters({
    warn: (line) => lines.push(line),
    nowMs: () => clock.nowMs,
  });
  return { lines, clock, counters };
}

test("Counters.count() logs the first of each reason at once", () => {
  const { lines, counters } = makeCounters();
  counters.count("request-path", "Answered a 404");
  counters.count("request-size", "Answered b 413");
  expect(lines).toEqual([
    "Answered a 404 reason=request-path",
    "Answered b 413 reason=request-size",
  ]);
});

test("Counters.count() logs a repeated reason at most once a minute, with the count", () => {
  const { lines, clock, counters } = makeCounters();
  for (let i = 0; i < 10; i++) counters.count("request-path", `Answered ${i}`);
  expect(lines).toHaveLength(1);
  clock.nowMs = 59_999;
  counters.count("request-path", "Answered late");
  expect(lines).toHaveLength(1);
  clock.nowMs = 60_000;
  counters.count("request-path", "Answered last");
  expect(lines.slice(1)).toEqual(["Answered last reason=request-path new=11 total=12"]);
});

test("Counters.flush() reports the end of a burst, once", () => {
  const { lines, clock, counters } = makeCounters();
  counters.count("request-path", "Answered a");
  counters.count("request-path", "Answered b");
  clock.nowMs = 60_000;
  counters.flush();
  counters.flush();
  expect(lines.slice(1)).toEqual(["Answered b reason=request-path new=1 total=2"]);
});

test("Counters.counts() gives totals and stays bounded", () => {
  const { counters } = makeCounters();
  for (let i = 0; i < 1000; i++) counters.count(`reason-${i}`, "x");
  counters.count("reason-0", "x");
  const counts = counters.counts();
  expect(counts.get("reason-0")).toBe(2);
  expect(counts.get("other")).toBe(744);
  expect(counts.size).toBe(257);
});
