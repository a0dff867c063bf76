import { afterEach, describe, expect, test } from "bun:test";
import { formatTimestamp, parseTimestamp } from "../../src/cli/timestamp.ts";
import { AgentError } from "../../src/errors.ts";

/** Sunday, 2026-11-22 05:05:05.25 UTC */
const NOW = 1_795_323_905_250_000;
const { TZ } = Bun.env;

afterEach(() => setZone(TZ));

function setZone(zone: string | undefined): void {
  if (zone === undefined) delete Bun.env.TZ;
  else Bun.env.TZ = zone;
}

/** "2026-11-22 10:00:00.5 UTC" */
function parsed(text: string): string {
  return formatTimestamp(parseTimestamp(text, NOW));
}

describe("parseTimestamp()", () => {
  test.each([
    ["now", "2026-11-22 05:05:05.25 UTC"],
    ["@0", "1970-01-01 00:00:00 UTC"],
    ["@1795323905", "2026-11-22 05:05:05 UTC"],
    ["@1.000001", "1970-01-01 00:00:01.000001 UTC"],
    ["-1h", "2026-11-22 04:05:05.25 UTC"],
    ["+5min", "2026-11-22 05:10:05.25 UTC"],
    ["+5", "2026-11-22 05:05:10.25 UTC"],
    ["2 hours ago", "2026-11-22 03:05:05.25 UTC"],
    ["1d 2h ago", "2026-11-21 03:05:05.25 UTC"],
    ["2h left", "2026-11-22 07:05:05.25 UTC"],
  ])("counts %p from now or 1970", (text, time) => {
    expect(parsed(text)).toBe(time);
  });

  test.each([
    ["2026-11-22 10:00:00", "2026-11-22 10:00:00 UTC"],
    ["2026-11-22 10:00", "2026-11-22 10:00:00 UTC"],
    ["2026-11-22", "2026-11-22 00:00:00 UTC"],
    ["26-1-2 3:4:5", "2026-01-02 03:04:05 UTC"],
    ["99-12-31", "1999-12-31 00:00:00 UTC"],
    ["10:11:12.5", "2026-11-22 10:11:12.5 UTC"],
    ["10:11", "2026-11-22 10:11:00 UTC"],
    ["today", "2026-11-22 00:00:00 UTC"],
    ["yesterday", "2026-11-21 00:00:00 UTC"],
    ["tomorrow", "2026-11-23 00:00:00 UTC"],
    ["Sun 2026-11-22 10:00", "2026-11-22 10:00:00 UTC"],
    ["sunday 10:00", "2026-11-22 10:00:00 UTC"],
    ["Sun 2026-11-22", "2026-11-22 00:00:00 UTC"],
    ["2024-02-29 23:59:60", "2024-03-01 00:00:00 UTC"],
    ["2026-11-22T10:00:00.123456", "2026-11-22 10:00:00.123456 UTC"],
  ])("reads %p in local time", (text, time) => {
    setZone("UTC");
    expect(parsed(text)).toBe(time);
    // What names no day depends on the day it is there.
    if (!/\d-\d/.test(text)) return;
    setZone("Asia/Kolkata");
    expect(parseTimestamp(text, NOW)).toBe(parseTimestamp(time, NOW) - 5.5 * 3600e6);
  });

  test.each([
    ["2026-11-22 10:00 UTC", "2026-11-22 10:00:00 UTC"],
    ["2026-11-22 10:00 utc", "2026-11-22 10:00:00 UTC"],
    ["2026-11-22T10:00:00Z", "2026-11-22 10:00:00 UTC"],
    ["2026-11-22T10:00:00.5+05:30", "2026-11-22 04:30:00.5 UTC"],
    ["2026-11-22 10:00:00 -0800", "2026-11-22 18:00:00 UTC"],
    ["2026-11-22 10:00:00-08", "2026-11-22 18:00:00 UTC"],
    ["2026-11-22 10:00 Europe/Berlin", "2026-11-22 09:00:00 UTC"],
    ["2026-07-22 10:00 Europe/Berlin", "2026-07-22 08:00:00 UTC"],
    ["2026-07-22 America/St_Johns", "2026-07-22 02:30:00 UTC"],
    ["today Pacific/Auckland", "2026-11-21 11:00:00 UTC"],
    ["tomorrow UTC", "2026-11-23 00:00:00 UTC"],
    ["23:00 America/Los_Angeles", "2026-11-22 07:00:00 UTC"],
    ["Sat 23:00 America/Los_Angeles", "2026-11-22 07:00:00 UTC"],
  ])("reads %p in its zone, whatever the local one is", (text, time) => {
    for (const zone of ["UTC", "Pacific/Kiritimati"]) {
      setZone(zone);
      expect(parsed(text)).toBe(time);
    }
  });

  test("takes the earlier one of what clocks show twice, and what they do not show as before", () => {
    expect(parsed("2026-10-25 02:30 Europe/Berlin")).toBe("2026-10-25 00:30:00 UTC");
    expect(parsed("2026-11-01 01:30 America/New_York")).toBe("2026-11-01 05:30:00 UTC");
    expect(parsed("2026-03-29 02:30 Europe/Berlin")).toBe("2026-03-29 01:30:00 UTC");
    expect(parsed("2026-03-29 03:00 Europe/Berlin")).toBe("2026-03-29 01:00:00 UTC");
  });

  test.each([
    ["", "need one like"],
    ["soon", "need one like"],
    ["5", "need one like"],
    ["Sun", "need one like"],
    ["2026-11-22 10", "need one like"],
    ["2026-11-2210:00", "need one like"],
    ["10:00.5", "need one like"],
    ["Today", "need one like"],
    ["@-5", "need one like"],
    ["Mon 2026-11-22", "that day is a sunday"],
    ["Foo 2026-11-22", '"Foo" is not a day of the week'],
    ["2026-02-29", "there is no such day"],
    ["2026-13-01", "there is no such day"],
    ["2026-11-22 24:00", "there is no such time of day"],
    ["2026-11-22 10:61", "there is no such time of day"],
    ["2026-11-22 10:00 Europe/Paname", '"Europe/Paname" is not a time zone'],
    ["1969-12-31 UTC", "not between 1970"],
    ["-100y", "not between 1970"],
    ["@99999999999999", "not between 1970"],
    ["-infinity", "at most"],
    ["-5 parsecs", "not a unit"],
  ])("refuses %p", (text, reason) => {
    expect(() => parseTimestamp(text, NOW)).toThrow(reason);
    expect(() => parseTimestamp(text, NOW)).toThrow(AgentError);
  });
});

test("formatTimestamp() is read back", () => {
  for (const usec of [0, 1, 999_999, NOW, NOW + 1, 4_000_000_000_000_000]) {
    expect(parseTimestamp(formatTimestamp(usec), 0)).toBe(usec);
  }
});

describe.skipIf(Bun.which("systemd-analyze") === null)("as systemd-analyze has it", () => {
  /** Microseconds; undefined: refused. */
  function oracle(text: string, zone: string): number | undefined {
    const { stdout } = Bun.spawnSync(["systemd-analyze", "timestamp", "--", text], {
      env: { ...Bun.env, TZ: zone },
      stdout: "pipe",
      stderr: "ignore",
    });
    const seconds = /UNIX seconds: @(\d+(?:\.\d+)?)/.exec(stdout.toString())?.[1];
    return seconds === undefined ? undefined : Math.round(Number(seconds) * 1e6);
  }

  const ABSOLUTE = [
    "2026-11-22 10:00:00",
    "2026-07-01 10:00",
    "2026-07-01",
    "26-07-01 1:2:3",
    "70-01-02 00:00",
    "2026-11-22 10:00:00.654321",
    "Sun 2026-11-22 10:00:00",
    "Sunday 2026-11-22",
    "2026-11-22 10:00 UTC",
    "2026-11-22 UTC",
    "today",
    "yesterday",
    "tomorrow",
    "today UTC",
    "00:00:01",
    "@1395716396",
    "@1395716396.5",
    "2026-03-29 03:00",
    "Mon 2026-11-22",
    "2026-11-22 24:00",
    "2026-11-22 10",
    "5",
    "@-5",
    "yesterday ago",
    " today",
  ];

  test.each(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"])("in %s", (zone) => {
    setZone(zone);
    const own = ABSOLUTE.map((text) => {
      try {
        return { text, usec: parseTimestamp(text, Date.now() * 1000) };
      } catch {
        return { text, usec: undefined };
      }
    });
    expect(own).toEqual(ABSOLUTE.map((text) => ({ text, usec: oracle(text, zone) })));
  });

  test.each(["now", "-1h", "+5min", "2 hours ago", "1week 3days ago", "90 left", "-1month 2d"])(
    "for %p, to the second",
    (text) => {
      const own = parseTimestamp(text, Date.now() * 1000);
      expect(Math.abs((oracle(text, "UTC") ?? 0) - own)).toBeLessThan(5_000_000);
    },
  );
});
