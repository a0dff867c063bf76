import { expect, test } from "bun:test";
import { canonicalSerial, nextSerial, parseSerial, randomSerial } from "../../src/certs/serial.ts";

test("randomSerial() has 128 bits, is positive, and never the same", () => {
  const serials = Array.from({ length: 1000 }, randomSerial);
  expect(new Set(serials).size).toBe(1000);
  expect(serials.filter((serial) => !/^[4-7][0-9A-F]{31}$/.test(serial))).toEqual([]);
});

test.each([
  ["0001\n", "01"],
  ["ff", "FF"],
  ["100\n", "0100"],
  ["00", "00"],
  [`${"7".repeat(40)}\n`, "7".repeat(40)],
])("parseSerial(%p) is %p", (text, serial) => {
  expect(parseSerial(text, "serial")).toBe(serial);
});

test("parseSerial() of an empty file is a random one, of anything else an error", () => {
  expect(parseSerial("\n", "serial")).toMatch(/^[0-9A-F]{32}$/);
  for (const text of ["xyz", "01 02", "-1", "1".repeat(41)]) {
    expect(() => parseSerial(text, "/x/serial")).toThrow(
      'Cannot read serial number in "/x/serial"',
    );
  }
});

test("nextSerial() counts on where numbers are counted, and draws where they are drawn", () => {
  expect(nextSerial("01")).toBe("02");
  expect(nextSerial("FF")).toBe("0100");
  expect(nextSerial("FFFFFFFFFFFFFFFF")).toBe("010000000000000000");
  const drawn = randomSerial();
  expect(nextSerial(drawn)).toMatch(/^[4-7][0-9A-F]{31}$/);
  expect(nextSerial(drawn)).not.toBe(nextSerial(drawn));
});

test("canonicalSerial() takes every way to write one", () => {
  for (const text of ["a1b", "0A1B", "0a:1b", "00000A1B"])
    expect(canonicalSerial(text)).toBe("0A1B");
  expect(canonicalSerial("0")).toBe("00");
});
