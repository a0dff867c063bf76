import { describe, expect, test } from "bun:test";
import {
  formatSize,
  formatTimeSpan,
  parseBoolean,
  parseCount,
  parseSize,
  parseTimeSpan,
} from "../../src/cli/args.ts";
import { AgentError } from "../../src/errors.ts";

const MAX = Number.MAX_SAFE_INTEGER;
const SECOND = 1_000_000;

describe("parseBoolean()", () => {
  test.each(["1", "yes", "y", "true", "t", "on", "YES", "True"])("%p is true", (text) => {
    expect(parseBoolean(text)).toBe(true);
  });
  test.each(["0", "no", "n", "false", "f", "off", "No"])("%p is false", (text) => {
    expect(parseBoolean(text)).toBe(false);
  });
  test.each(["", "2", "yess", "enable", " yes"])("refuses %p", (text) => {
    expect(() => parseBoolean(text)).toThrow(AgentError);
  });
});

describe("parseSize()", () => {
  test.each([
    ["0", 0],
    ["1", 1],
    ["17B", 17],
    ["1K", 1024],
    ["512M", 512 * 1024 ** 2],
    ["1.5G", 1.5 * 1024 ** 3],
    ["1G 512M", 1.5 * 1024 ** 3],
    ["1G512M3", 1.5 * 1024 ** 3 + 3],
    ["3 T", 3 * 1024 ** 4],
    ["2P", 2 * 1024 ** 5],
    ["0.001E", Math.floor(0.001 * 1024 ** 6)],
  ])("%p is %d bytes", (text, bytes) => {
    expect(parseSize(text, 0, MAX)).toBe(bytes);
  });
  test.each([
    ["", "a number and a unit"],
    ["M", "a number and a unit"],
    ["10%", "a number and a unit"],
    ["-1", "a number and a unit"],
    ["1e6", "a unit of B, K"],
    ["1k", "a unit of B, K"],
    ["1M 1G", "smaller than the last"],
    ["1M 1M", "smaller than the last"],
    ["8E", "at most"],
  ])("refuses %p", (text, reason) => {
    expect(() => parseSize(text, 0, MAX)).toThrow(reason);
  });
  test("keeps to the limits, both included", () => {
    expect(parseSize("1K", 1024, 2048)).toBe(1024);
    expect(parseSize("2K", 1024, 2048)).toBe(2048);
    expect(() => parseSize("1023", 1024, 2048)).toThrow("at least 1K is needed");
    expect(() => parseSize("2049", 1024, 2048)).toThrow("at most 2K is possible");
  });
});

describe("parseTimeSpan()", () => {
  test.each([
    ["5", 5 * SECOND],
    ["500ms", 500_000],
    ["7us", 7],
    ["7µs", 7],
    ["7μs", 7],
    ["2 h", 7200 * SECOND],
    ["2hours", 7200 * SECOND],
    ["48hr", 48 * 3600 * SECOND],
    ["1y 12month", (365.25 + 12 * 30.4375) * 86400 * SECOND],
    ["1M", 30.4375 * 86400 * SECOND],
    ["55s500ms", 55_500_000],
    ["300ms20s 5day", (20.3 + 5 * 86400) * SECOND],
    ["1month 2d 3h 5min 10s 500ms", (32.4375 * 86400 + 3 * 3600 + 310.5) * SECOND],
    ["1.5min", 90 * SECOND],
    ["1w", 7 * 86400 * SECOND],
    ["0", 0],
    ["infinity", Number.POSITIVE_INFINITY],
  ])("%p is %d µs", (text, usec) => {
    expect(parseTimeSpan(text, 0, Number.POSITIVE_INFINITY)).toBe(usec);
  });
  test.each(["", "h", "-5s", "5 parsecs", "5s,", "infinity s"])("refuses %p", (text) => {
    expect(() => parseTimeSpan(text, 0, MAX)).toThrow(AgentError);
  });
  test("keeps to the limits", () => {
    expect(() => parseTimeSpan("infinity", 0, 60 * SECOND)).toThrow("at most 1min");
    expect(() => parseTimeSpan("1ms", SECOND, 60 * SECOND)).toThrow("at least 1s");
  });
});

test("parseCount() takes whole numbers within the limits", () => {
  expect(parseCount("17", 1, 17)).toBe(17);
  for (const text of ["", "1.5", "-1", "0x10", "1K", "18", "0"]) {
    expect(() => parseCount(text, 1, 17)).toThrow(AgentError);
  }
});

test.each([0, 1, 1023, 1024, 1536, 805306368, 1024 ** 4, 3 * 1024 ** 5, MAX])(
  "formatSize(%d) reads back",
  (bytes) => {
    expect(parseSize(formatSize(bytes), 0, MAX)).toBe(bytes);
  },
);

test("formatSize() takes the largest whole unit", () => {
  expect([805306368, 1536, 1023].map(formatSize)).toEqual(["768M", "1536", "1023"]);
});

test.each([0, 1, 999, 30 * SECOND, 93_784 * SECOND, 1.5 * SECOND, 40 * 86400 * SECOND])(
  "formatTimeSpan(%d) reads back",
  (usec) => {
    expect(parseTimeSpan(formatTimeSpan(usec), 0, MAX)).toBe(usec);
  },
);

test("formatTimeSpan() names the units", () => {
  expect(formatTimeSpan(93_784 * SECOND)).toBe("1d 2h 3min 4s");
  expect(formatTimeSpan(Number.POSITIVE_INFINITY)).toBe("infinity");
});
