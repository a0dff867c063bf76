import { describe, expect, test } from "bun:test";
import {
  formatId128,
  ID128_SIZE,
  isEqualId128,
  isNullId128,
  parseId128,
  randomId128,
} from "../../src/bytes/id128.ts";

const TEXT = "0123456789abcdef00ff10e0a0b0c0d0";
const DASHED = "01234567-89ab-cdef-00ff-10e0a0b0c0d0";
const BYTES = Uint8Array.from(Buffer.from(TEXT, "hex"));

describe("formatId128() and parseId128()", () => {
  test("are inverse", () => {
    expect(parseId128(TEXT)).toEqual(BYTES);
    expect(formatId128(BYTES)).toBe(TEXT);
  });

  test("formatId128() takes the id at an offset", () => {
    expect(formatId128(Uint8Array.of(9, 9, ...BYTES, 9), 2)).toBe(TEXT);
  });

  test("parseId128() accepts upper case and dashes", () => {
    expect(parseId128(TEXT.toUpperCase())).toEqual(BYTES);
    expect(parseId128(DASHED)).toEqual(BYTES);
  });

  const broken = {
    empty: "",
    "a digit short": TEXT.slice(1),
    "a digit more": `${TEXT}0`,
    "not hex": `${TEXT.slice(1)}g`,
    "dashes elsewhere": "0123456-789ab-cdef-00ff-10e0a0b0c0d0",
    "one dash only": "01234567-89abcdef00ff10e0a0b0c0d0",
    "a space before": ` ${TEXT}`,
    "a line end behind": `${TEXT}\n`,
  };
  for (const [name, text] of Object.entries(broken)) {
    test(`parseId128() rejects ${name}`, () => {
      expect(parseId128(text)).toBeUndefined();
    });
  }
});

describe("isNullId128() and isEqualId128()", () => {
  test("look at all 16 bytes and no others", () => {
    const surrounded = Uint8Array.of(1, ...new Uint8Array(ID128_SIZE), 1);
    expect(isNullId128(surrounded, 1)).toBe(true);
    for (let i = 0; i < ID128_SIZE; i++) {
      const other = BYTES.slice();
      other[i] = (other[i] as number) ^ 0x80;
      expect(isEqualId128(BYTES, other)).toBe(false);
      const single = new Uint8Array(ID128_SIZE);
      single[i] = 1;
      expect(isNullId128(single)).toBe(false);
    }
    expect(isEqualId128(BYTES, BYTES.slice())).toBe(true);
  });
});

describe("randomId128()", () => {
  test("makes version 4 ids that differ", () => {
    const ids = Array.from({ length: 50 }, randomId128);
    for (const id of ids) expect(formatId128(id)).toMatch(/^.{12}4.{3}[89ab].{15}$/);
    expect(new Set(ids.map((id) => formatId128(id))).size).toBe(50);
  });
});
