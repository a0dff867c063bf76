import { expect, test } from "bun:test";
import { Progress } from "../../src/cli/progress.ts";

function makeProgress(totalBytes: number) {
  const written: string[] = [];
  const clock = { ms: 1000 };
  const stream = { write: (text: string) => written.push(text) };
  const progress = new Progress({ totalBytes, stream, now: () => clock.ms });
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the terminal's own.
  const lines = () => written.map((text) => text.replace(/^\r\x1b\[K/, ""));
  return { progress, clock, lines };
}

test("Progress shows share, entries, rate and time left, at most five times a second", () => {
  const { progress, clock, lines } = makeProgress(4000);
  clock.ms += 2000;
  progress.update(1000, 50_000);
  clock.ms += 199;
  progress.update(1100, 55_000);
  clock.ms += 1;
  progress.update(1200, 60_000);
  expect(lines()).toEqual([
    " 25%  50,000 entries, 25,000/s, 6s left\r",
    " 30%  60,000 entries, 27,273/s, 5s left\r",
  ]);
});

test("Progress shows the totals at the end", () => {
  const { progress, clock, lines } = makeProgress(4000);
  clock.ms += 100;
  progress.update(1000, 5);
  clock.ms += 3_720_000 - 100;
  progress.update(4000, 1_234_567);
  progress.done();
  expect(lines()[0]).toBe(" 25%  5 entries, 50/s, 0s left\r");
  expect(lines().at(-1)).toBe("100%  1,234,567 entries, 332/s in 1h02m\n");
});

test("Progress knows no time left before the first byte", () => {
  const { progress, lines } = makeProgress(4000);
  progress.update(0, 0);
  expect(lines()).toEqual(["  0%  0 entries, 0/s, unknown time left\r"]);
});

test("Progress of an empty file is complete", () => {
  const { progress, lines } = makeProgress(0);
  progress.done();
  expect(lines()).toEqual(["100%  0 entries, 0/s in 0s\n"]);
});
