/**
 * Text of options and configuration keys → values, and back for display. Units as systemd's:
 * sizes to the base of 1024, time spans as systemd.time(7).
 */
import { AgentError } from "../errors.ts";

const TRUE_WORDS = ["1", "yes", "y", "true", "t", "on"];
const FALSE_WORDS = ["0", "no", "n", "false", "f", "off"];

const SIZE_UNITS: Record<string, number> = {
  E: 1024 ** 6,
  P: 1024 ** 5,
  T: 1024 ** 4,
  G: 1024 ** 3,
  M: 1024 ** 2,
  K: 1024,
  B: 1,
  "": 1,
};

const SECOND_USEC = 1_000_000;
const DAY_USEC = 86_400 * SECOND_USEC;
const MONTH_USEC = 30.4375 * DAY_USEC;
const YEAR_USEC = 365.25 * DAY_USEC;

/** Microseconds of each unit, with its other names. */
const TIME_UNITS: readonly (readonly [usec: number, ...names: string[]])[] = [
  [YEAR_USEC, "y", "year", "years"],
  [MONTH_USEC, "month", "months", "M"],
  [7 * DAY_USEC, "w", "week", "weeks"],
  [DAY_USEC, "d", "day", "days"],
  [3600 * SECOND_USEC, "h", "hr", "hour", "hours"],
  [60 * SECOND_USEC, "min", "m", "minute", "minutes"],
  [SECOND_USEC, "s", "sec", "second", "seconds", ""],
  [1000, "ms", "msec"],
  // Twice: the micro sign U+00B5 and the Greek letter U+03BC.
  [1, "us", "usec", "µs", "μs"],
];

const USEC_BY_TIME_UNIT = new Map(
  TIME_UNITS.flatMap(([usec, ...names]) => names.map((name) => [name, usec] as const)),
);

/** @throws AgentError E_USAGE, as all readers here do. */
export function parseBoolean(text: string): boolean {
  const value = booleanOf(text);
  if (value === undefined) throw notA("boolean", text, '"yes" or "no" is needed');
  return value;
}

/** The same where other words may stand: for these, undefined. */
export function booleanOf(text: string): boolean | undefined {
  const word = text.toLowerCase();
  if (TRUE_WORDS.includes(word)) return true;
  return FALSE_WORDS.includes(word) ? false : undefined;
}

/** A plain decimal number in [minimum, maximum]. */
export function parseCount(text: string, minimum: number, maximum: number): number {
  if (!/^\d+$/.test(text)) throw notA("count", text, "a whole number is needed");
  return within(Number(text), { text, minimum, maximum });
}

/** Bytes: `512M`, `1.5G`, `1G 512M`. */
export function parseSize(text: string, minimum: number, maximum: number): number {
  const parts = quantities(text, "size", 'like "512M" or "1.5G"');
  let bytes = 0;
  let last = Number.POSITIVE_INFINITY;
  for (const { amount, unit } of parts) {
    const factor = SIZE_UNITS[unit];
    if (factor === undefined) throw notA("size", text, "a unit of B, K, M, G, T, P, E is needed");
    if (factor >= last) throw notA("size", text, "each unit has to be smaller than the last");
    bytes += amount * factor;
    last = factor;
  }
  return within(Math.floor(bytes), { text, minimum, maximum, format: formatSize });
}

/** Microseconds; a number alone is seconds, "infinity" is Infinity. */
export function parseTimeSpan(text: string, minimumUsec: number, maximumUsec: number): number {
  const limits = { text, minimum: minimumUsec, maximum: maximumUsec, format: formatTimeSpan };
  if (text === "infinity") return within(Number.POSITIVE_INFINITY, limits);
  let usec = 0;
  for (const { amount, unit } of quantities(text, "time span", 'like "30s" or "1month 2d"')) {
    const factor = USEC_BY_TIME_UNIT.get(unit);
    if (factor === undefined) throw notA("time span", text, `"${unit}" is not a unit of time`);
    usec += amount * factor;
  }
  return within(Math.round(usec), limits);
}

/** The shortest exact form: 805306368 → "768M", 1000 → "1000". */
export function formatSize(bytes: number): string {
  if (bytes === 0) return "0";
  for (const [unit, factor] of Object.entries(SIZE_UNITS)) {
    if (unit !== "B" && bytes % factor === 0) return `${bytes / factor}${unit}`;
  }
  return String(bytes);
}

/** `parseTimeSpan` reads it back: 93784000000 → "1d 2h 3min 4s". */
export function formatTimeSpan(usec: number): string {
  if (usec === 0) return "0";
  if (!Number.isFinite(usec)) return "infinity";
  const parts: string[] = [];
  let rest = usec;
  for (const [factor, name] of TIME_UNITS) {
    const count = Math.floor(rest / factor);
    if (count > 0) parts.push(`${count}${name}`);
    rest -= count * factor;
  }
  return parts.join(" ");
}

interface Quantity {
  amount: number;
  unit: string;
}

/** Splits "1h 30min" into numbers and units; blanks between them may be left out. */
function quantities(text: string, what: string, example: string): Quantity[] {
  const found = [...text.matchAll(/\s*(\d+(?:\.\d+)?)\s*([A-Za-zµμ]*)\s*/gy)];
  const length = found.reduce((sum, match) => sum + match[0].length, 0);
  if (found.length === 0 || length !== text.length) {
    throw notA(what, text, `a number and a unit ${example} are needed`);
  }
  return found.map((match) => ({ amount: Number(match[1]), unit: match[2] ?? "" }));
}

interface Limits {
  text: string;
  minimum: number;
  maximum: number;
  format?: (value: number) => string;
}

function within(value: number, { text, minimum, maximum, format = String }: Limits): number {
  if (value < minimum) throw notA("value", text, `at least ${format(minimum)} is needed`);
  if (value > maximum) throw notA("value", text, `at most ${format(maximum)} is possible`);
  return value;
}

function notA(what: string, text: string, need: string): AgentError {
  return new AgentError("E_USAGE", `Cannot read ${what} "${text}": ${need}`);
}
