import { expect, test } from "bun:test";
import { openProgressBar, Progress } from "../../src/cli/progress.ts";

function makeProgress() {
  const written: string[] = [];
  const clock = { ms: 1000 };
  const stream = { write: (text: string) => written.push(text) };
  const progress = new Progress({ stream, now: () => clock.ms });
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the terminal's own.
  const lines = () => written.map((text) => text.replace(/^\r\x1b\[K/, ""));
  return { progress, clock, lines };
}

test("Progress shows share, entries, rate and time left, at most five times a second", () => {
  const { progress, clock, lines } = makeProgress();
  clock.ms += 2000;
  progress.update(50_000, 0.25);
  clock.ms += 199;
  progress.update(55_000, 0.275);
  clock.ms += 1;
  progress.update(60_000, 0.3);
  expect(lines()).toEqual([
    " 25%  50,000 entries, 25,000/s, 6s left\r",
    " 30%  60,000 entries, 27,273/s, 5s left\r",
  ]);
});

test("Progress shows the totals at the end", () => {
  const { progress, clock, lines } = makeProgress();
  clock.ms += 100;
  progress.update(5, 0.25);
  clock.ms += 3_720_000 - 100;
  progress.update(1_234_567, 1);
  progress.done();
  expect(lines()[0]).toBe(" 25%  5 entries, 50/s, 0s left\r");
  expect(lines().at(-1)).toBe("100%  1,234,567 entries, 332/s in 1h02m\n");
});

test("Progress knows no time left before the first entry", () => {
  const { progress, lines } = makeProgress();
  progress.update(0, 0);
  expect(lines()).toEqual(["  0%  0 entries, 0/s, unknown time left\r"]);
});

test("Progress counts one entry", () => {
  const { progress, lines } = makeProgress();
  progress.update(1, 1);
  expect(lines()).toEqual(["100%  1 entry, 0/s in 0s\r"]);
});

test("Progress of nothing is complete", () => {
  const { progress, lines } = makeProgress();
  progress.done();
  expect(lines()).toEqual(["100%  0 entries, 0/s in 0s\n"]);
});

test("openProgressBar() is for terminals alone", () => {
  const write = () => undefined;
  expect(openProgressBar({ write })).toBeUndefined();
  expect(openProgressBar({ write, isTTY: false })).toBeUndefined();
  expect(openProgressBar({ write, isTTY: true })).toBeInstanceOf(Progress);
});
