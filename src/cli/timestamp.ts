/**
 * Points in time as systemd.time(7) writes them, "2026-11-22 10:00", "yesterday", "-1h", "2 hours ago", "@1795341600",
 * and those of RFC 3339 that newer versions take: "2026-11-22T10:00:00+01:00".
 */
import { AgentError } from "../errors.ts";
import { parseTimeSpan } from "./args.ts";

/** Milliseconds to add to UTC for the wall clock of a place, at a moment in UTC. */
type Zone = (utcMs: number) => number;

const WEEKDAYS = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
/** Of these words, days after today. */
const DAY_WORDS: Record<string, number> = { yesterday: -1, today: 0, tomorrow: 1 };
const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
/** A year of two digits below this is of the 21st century, as for strptime(3). */
const CENTURY_PIVOT = 69;

/** The time stands behind a date and a blank or "T", or alone. */
const DATE_AND_TIME =
  /^(?:(?<weekday>[a-z]+)\s+)?(?:(?<year>\d{4}|\d{2})-(?<month>\d{1,2})-(?<day>\d{1,2}))?(?:(?:\s+|T|(?<!\d))(?<hour>\d{1,2}):(?<minute>\d{1,2})(?::(?<second>\d{1,2})(?<fraction>\.\d+)?)?)?$/i;

/**
 * Microseconds since 1970. A time that the clocks skip or repeat when summer begins or ends is the earlier one.
 * @param nowUsec what relative times count from
 * @throws AgentError E_USAGE
 */
export function parseTimestamp(text: string, nowUsec: number): number {
  const usec = parseRelative(text, nowUsec) ?? parseAbsolute(text, nowUsec);
  if (usec >= 0 && Number.isSafeInteger(usec)) return usec;
  throw notATime(text, "it is not between 1970 and 2255");
}

/** `parseTimestamp` reads it back: "2026-11-22 10:00:00.5 UTC". */
export function formatTimestamp(usec: number): string {
  const second = Math.floor(usec / 1e6);
  const fraction = String(usec % 1e6)
    .padStart(6, "0")
    .replace(/0+$/, "");
  const text = new Date(second * 1000).toISOString().slice(0, 19).replace("T", " ");
  return `${text}${fraction === "" ? "" : `.${fraction}`} UTC`;
}

/** Undefined: it is not relative to anything. */
function parseRelative(text: string, nowUsec: number): number | undefined {
  if (text === "now") return nowUsec;
  const epoch = /^@(\d+)(\.\d+)?$/.exec(text);
  if (epoch !== null) return Number(epoch[1]) * 1e6 + microseconds(epoch[2]);
  const ago = /^-(.+)$/.exec(text) ?? /^(.+) ago$/.exec(text);
  if (ago !== null) return nowUsec - parseSpan(ago[1]);
  const ahead = /^\+(.+)$/.exec(text) ?? /^(.+) left$/.exec(text);
  return ahead === null ? undefined : nowUsec + parseSpan(ahead[1]);
}

function parseSpan(text = ""): number {
  return parseTimeSpan(text.trim(), 0, Number.MAX_SAFE_INTEGER);
}

function parseAbsolute(text: string, nowUsec: number): number {
  const { rest, zone } = splitZone(text);
  const nowMs = Math.floor(nowUsec / 1000);
  // Here and below, UTC stands for what clocks in the zone show.
  const wall = new Date(nowMs + zone(nowMs));
  const days = Object.hasOwn(DAY_WORDS, rest) ? DAY_WORDS[rest] : undefined;
  if (days !== undefined) {
    wall.setUTCDate(wall.getUTCDate() + days);
    return inZone(wall.setUTCHours(0, 0, 0, 0), zone) * 1000;
  }
  const { weekday, year, month, day, hour, minute, second, fraction } =
    DATE_AND_TIME.exec(rest)?.groups ?? {};
  if ((day ?? hour) === undefined) {
    const examples = '"2026-11-22 10:00", "yesterday", "-1h" or "@1795341600"';
    throw notATime(text, `need one like ${examples}`);
  }
  if (year !== undefined && !setDay(wall, fullYear(year), Number(month), Number(day))) {
    throw notATime(text, "there is no such day");
  }
  checkWeekday(text, weekday, wall);
  if (!setTime(wall, Number(hour ?? 0), Number(minute ?? 0), Number(second ?? 0))) {
    throw notATime(text, "there is no such time of day");
  }
  return inZone(wall.getTime(), zone) * 1000 + microseconds(fraction);
}

/** @returns whether there is one */
function setDay(wall: Date, year: number, month: number, day: number): boolean {
  wall.setUTCFullYear(year, month - 1, day);
  return wall.getUTCMonth() === month - 1 && wall.getUTCDate() === day;
}

/** @returns whether there is one; a second of 60 is a leap second */
function setTime(wall: Date, hour: number, minute: number, second: number): boolean {
  wall.setUTCHours(hour, minute, second, 0);
  return hour < 24 && minute < 60 && second <= 60;
}

/** Takes "UTC", "Z", "+01:00" or the name of a time zone from the end; without any, it is local time. */
function splitZone(text: string): { rest: string; zone: Zone } {
  const utc = /^(.+?)(?: UTC|(?<=\d)Z)$/i.exec(text);
  if (utc?.[1] !== undefined) return { rest: utc[1], zone: () => 0 };
  const offset = /^(.+:\d\d(?:\.\d+)?) ?([+-])(\d\d):?(\d\d)?$/.exec(text);
  if (offset?.[1] !== undefined) {
    const minutes = Number(offset[3]) * 60 + Number(offset[4] ?? 0);
    const shiftMs = (offset[2] === "-" ? -minutes : minutes) * MINUTE_MS;
    return { rest: offset[1], zone: () => shiftMs };
  }
  const named = /^(.*[\dyw]) ([A-Za-z][A-Za-z0-9_+/-]*)$/.exec(text);
  if (named?.[1] === undefined || named[2] === undefined) return { rest: text, zone: localZone };
  return { rest: named[1], zone: namedZone(named[2], text) };
}

function localZone(utcMs: number): number {
  return -new Date(utcMs).getTimezoneOffset() * MINUTE_MS;
}

function namedZone(name: string, text: string): Zone {
  let format: Intl.DateTimeFormat;
  try {
    format = new Intl.DateTimeFormat("en", { timeZone: name, timeZoneName: "longOffset" });
  } catch {
    throw notATime(text, `"${name}" is not a time zone, need one like "UTC" or "Europe/Berlin"`);
  }
  return (utcMs) => {
    const part = format.formatToParts(utcMs).find(({ type }) => type === "timeZoneName");
    // "GMT", "GMT-03:30"; before 1900 with seconds.
    const match = /([+-])(\d\d):(\d\d)(?::(\d\d))?/.exec(part?.value ?? "");
    if (match === null) return 0;
    const [, sign, hours, minutes, seconds = 0] = match;
    const shiftMs = (Number(hours) * 60 + Number(minutes)) * MINUTE_MS + Number(seconds) * 1000;
    return sign === "-" ? -shiftMs : shiftMs;
  };
}

/** @param wallMs what a clock there shows, as if it were UTC */
function inZone(wallMs: number, zone: Zone): number {
  const before = wallMs - zone(wallMs - DAY_MS);
  const after = wallMs - zone(wallMs + DAY_MS);
  const shown = [before, after].filter((utcMs) => utcMs + zone(utcMs) === wallMs);
  return shown.length === 0 ? before : Math.min(...shown);
}

function fullYear(text: string): number {
  const year = Number(text);
  if (text.length === 4) return year;
  return year + (year < CENTURY_PIVOT ? 2000 : 1900);
}

function checkWeekday(text: string, given: string | undefined, wall: Date): void {
  if (given === undefined) return;
  const word = given.toLowerCase();
  const index = WEEKDAYS.findIndex((name) => name === word || name.slice(0, 3) === word);
  const is = WEEKDAYS[wall.getUTCDay()];
  if (index < 0) throw notATime(text, `"${given}" is not a day of the week`);
  if (index !== wall.getUTCDay()) throw notATime(text, `that day is a ${is}`);
}

/** ".5" → 500000 */
function microseconds(fraction = "0"): number {
  return Math.round(Number(fraction) * 1e6);
}

function notATime(text: string, what: string): AgentError {
  return new AgentError("E_USAGE", `Cannot read time "${text}": ${what}`);
}
