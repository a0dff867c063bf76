import { describe, expect, test } from "bun:test";
import {
  binaryField,
  concat,
  cutEvery,
  entry,
  parseChunks,
  reasons,
  sampleEntry,
  sizeOf,
  textField,
} from "../support/export-stream.ts";
import { HEAD, REFUSED } from "./refused-entries.ts";

describe("every split gives the same", () => {
  const stream = concat(
    sampleEntry(0, { fields: [binaryField("B", "a\nb"), binaryField("E", ""), "T=="] }),
    "\n",
    ...REFUSED.filter(([, bytes]) => bytes.length < 300).map(([, bytes]) => bytes),
    entry("MESSAGE=inherits"),
    sampleEntry(1, { fields: [textField("LONG", "x".repeat(200))] }),
    "MESSAGE=unfinished\nB\n",
    sizeOf(5),
    "abc",
  );
  const whole = parseChunks([stream]);

  test("whole", () => {
    expect(whole.entries).toHaveLength(3);
    expect(whole.refusals.length).toBeGreaterThan(30);
    expect(whole.trailing).toBe(32);
  });

  test("byte by byte, and in chunks of 2 to 70", () => {
    for (let size = 1; size <= 70; size++) {
      expect(parseChunks(cutEvery(stream, size))).toEqual(whole);
    }
  });

  test("cut at every position", () => {
    for (let cut = 0; cut <= stream.length; cut++) {
      expect(parseChunks([stream.subarray(0, cut), stream.subarray(cut)])).toEqual(whole);
    }
  });

  test("with limits that are passed", () => {
    const limits = { fieldsMax: 6, fieldSizeMax: 60, entrySizeMax: 250 };
    const full = `A=${"x".repeat(58)}`;
    const large = concat(
      entry(HEAD, full, full, full),
      entry(HEAD, full, binaryField("B", full), binaryField("B", full)),
      entry(HEAD, ...[1, 2, 3, 4, 5, 6].map((i) => `A=${i}`)),
      entry(HEAD, ...[1, 2, 3, 4, 5, 6].map((i) => binaryField("A", `${i}\n\n`))),
      stream,
    );
    const limited = parseChunks([large], limits);
    expect(reasons(limited)).toContain("field-too-large");
    expect(reasons(limited)).toContain("entry-too-large");
    expect(reasons(limited)).toContain("too-many-fields");
    for (let size = 1; size <= 70; size++) {
      expect(parseChunks(cutEvery(large, size), limits)).toEqual(limited);
    }
  });

  test("around the size of the scratch buffer", () => {
    const value = "v".repeat(70_000);
    const long = concat(
      ...[0, 1, 2, 3].map((i) =>
        sampleEntry(i, { fields: [`A=${value}`, binaryField("B", value), "C=1"] }),
      ),
      sampleEntry(4),
    );
    const expected = parseChunks(cutEvery(long, 1000));
    expect(expected.entries).toHaveLength(5);
    expect(expected.entries[3]?.fields[3]).toBe(`A=${value}`);
    expect(expected.entries[3]?.fields[4]).toBe(`B=${value}`);
    for (const size of [60_000, 65_536, 131_071, 131_072, 131_073, 200_000, long.length]) {
      expect(parseChunks(cutEvery(long, size))).toEqual(expected);
    }
  });
});
