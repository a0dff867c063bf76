import { describe, expect, test } from "bun:test";
import { ExportParser } from "../../src/export-format/parser.ts";
import { ENTRY_FIELDS_MAX } from "../../src/journal/entry.ts";
import {
  binaryField,
  concat,
  cutEvery,
  entry,
  messages,
  parseChunks,
  reasons,
  sampleEntry,
  sizeOf,
} from "../support/export-stream.ts";
import { GOOD, HEAD } from "./refused-entries.ts";

describe("limits", () => {
  const limitCases: [string, object, Uint8Array, string[]][] = [
    [
      "fields at the limit",
      { fieldsMax: 3 },
      entry(HEAD, "A=1", "B=2", "__X=3", binaryField("__Y", "")),
      [],
    ],
    [
      "a text field too many",
      { fieldsMax: 3 },
      entry(HEAD, "A=1", "B=2", "C=3"),
      ["too-many-fields"],
    ],
    [
      "a binary field too many",
      { fieldsMax: 3 },
      entry(HEAD, "A=1", "B=2", binaryField("C", "")),
      ["too-many-fields"],
    ],
    ["text field at the limit", { fieldSizeMax: 60 }, entry(HEAD, `A=${"x".repeat(58)}`), []],
    [
      "text field above",
      { fieldSizeMax: 60 },
      entry(HEAD, `A=${"x".repeat(59)}`),
      ["field-too-large"],
    ],
    [
      "binary field at the limit",
      { fieldSizeMax: 60 },
      entry(HEAD, binaryField("A", "\n".repeat(58))),
      [],
    ],
    [
      "binary field above",
      { fieldSizeMax: 60 },
      entry(HEAD, binaryField("A", "\n".repeat(59))),
      ["field-too-large"],
    ],
    [
      "entry at the limit, text",
      { entrySizeMax: 200 },
      entry(HEAD, `A=${"x".repeat(198 - HEAD.length)}`),
      [],
    ],
    [
      "entry above, text",
      { entrySizeMax: 200 },
      entry(HEAD, `A=${"x".repeat(199 - HEAD.length)}`),
      ["entry-too-large"],
    ],
    [
      "entry at the limit, binary",
      { entrySizeMax: 200 },
      entry(HEAD, binaryField("A", "\n".repeat(190 - HEAD.length))),
      [],
    ],
    [
      "entry above, binary",
      { entrySizeMax: 200 },
      entry(HEAD, binaryField("A", "\n".repeat(191 - HEAD.length))),
      ["entry-too-large"],
    ],
    [
      "entry above, dropped lines count",
      { entrySizeMax: 200 },
      entry(HEAD, `__X=${"x".repeat(198)}`, "A=1"),
      ["entry-too-large"],
    ],
    [
      "both passed, the entry's first",
      { entrySizeMax: 200, fieldSizeMax: 190 },
      entry(HEAD, `A=${"x".repeat(500)}`),
      ["entry-too-large"],
    ],
    [
      "limits above the ceilings count as the ceilings",
      { fieldsMax: 5000 },
      entry(HEAD, ...Array.from({ length: ENTRY_FIELDS_MAX }, () => "A=1")),
      ["too-many-fields"],
    ],
  ];
  test.each(limitCases)("%s", (_, limits, bytes, expected) => {
    for (const size of [1, 7, 1_000_000]) {
      const stream = parseChunks(cutEvery(concat(bytes, GOOD), size), limits);
      expect(reasons(stream)).toEqual(expected);
      expect(messages(stream).at(-1)).toBe("next");
      expect(stream.entries).toHaveLength(2 - expected.length);
      expect(stream.trailing).toBe(0);
    }
  });

  test("a binary field above every limit is skipped by its size", () => {
    const size = 64 * 1024 * 1024;
    const zeros = new Uint8Array(1024 * 1024).fill(0x0a);
    const chunks = [
      concat(HEAD, "A\n", sizeOf(size)),
      ...Array(64).fill(zeros),
      concat("\nB=1\n\n", GOOD),
    ];
    const stream = parseChunks(chunks, { fieldSizeMax: 1000 });
    expect(reasons(stream)).toEqual(["field-too-large"]);
    expect(messages(stream)).toEqual(["next"]);
  });
});

/** A parser that counts, and where it stands. */
function countingParser(limits = {}): {
  parser: ExportParser;
  counts: { entries: number; refused: number };
} {
  const counts = { entries: 0, refused: 0 };
  const parser = new ExportParser(
    {
      onEntry() {
        counts.entries++;
      },
      onRefused() {
        counts.refused++;
      },
    },
    limits,
  );
  return { parser, counts };
}

describe("memory", () => {
  const mebibyte = new Uint8Array(1024 * 1024).fill(0x78);

  test("nothing is held between entries, little inside a small one", () => {
    const { parser } = countingParser();
    expect(parser.bufferedBytes).toBe(0);
    parser.push(concat(GOOD, "A=1"));
    expect(parser.bufferedBytes).toBeLessThanOrEqual(4096);
    parser.push(concat("\n\n"));
    expect(parser.bufferedBytes).toBe(0);
  });

  test("grows with the entry, at most to twice its size, and shrinks after it", () => {
    const { parser, counts } = countingParser();
    parser.push(concat(HEAD, "A="));
    for (let i = 1; i <= 10; i++) {
      parser.push(mebibyte);
      expect(parser.bufferedBytes).toBeGreaterThan(i * mebibyte.length);
      expect(parser.bufferedBytes).toBeLessThanOrEqual(4 * i * mebibyte.length);
    }
    parser.push(concat("\n\nA=2\n"));
    expect(parser.bufferedBytes).toBeLessThanOrEqual(4096);
    expect(parser.end()).toBe(4);
    expect(parser.bufferedBytes).toBe(0);
    expect(counts).toEqual({ entries: 1, refused: 1 });
  });

  test("an announced size takes no memory before its data comes", () => {
    const { parser } = countingParser();
    parser.push(concat(HEAD, "A\n", sizeOf(700 * 1024 * 1024)));
    expect(parser.bufferedBytes).toBeLessThanOrEqual(4096);
  });

  const endless: [string, Uint8Array, Uint8Array][] = [
    ["a line", concat(HEAD, "A="), mebibyte],
    ["a name", concat(HEAD, "A"), new Uint8Array(mebibyte.length).fill(0x41)],
    ["binary data", concat(HEAD, "A\n", sizeOf(2 ** 39)), mebibyte],
    ["fields", HEAD, concat("A=1\n".repeat(mebibyte.length / 4))],
    ["dropped fields", HEAD, concat("__A=1234\n".repeat(mebibyte.length / 9))],
    ["lines of a refused entry", concat("a=1\n"), concat("words\nA=1\n".repeat(100_000))],
    ["a line of a refused entry", concat("a=1\n"), mebibyte],
  ];
  test.each(endless)("%s without end passes a limit and is then not kept", (_, start, repeated) => {
    const limits = { fieldSizeMax: 3_000_000, entrySizeMax: 5_000_000 };
    const { parser, counts } = countingParser(limits);
    parser.push(start);
    for (let i = 0; i < 20; i++) {
      parser.push(repeated);
      expect(parser.bufferedBytes).toBeLessThanOrEqual(limits.entrySizeMax + 128 * 1024);
    }
    expect(parser.bufferedBytes).toBeLessThanOrEqual(8192);
    expect(counts).toEqual({ entries: 0, refused: 1 });
    expect(parser.end()).toBe(start.length + 20 * repeated.length);
    expect(counts.refused).toBe(1);
  });

  test("a handler may push into another parser", () => {
    const inner = countingParser();
    const seen: string[] = [];
    const outer = new ExportParser({
      onEntry({ bytes, fieldStart, fieldEnd, fieldCount }) {
        inner.parser.push(concat(GOOD, `A=${"x".repeat(5000)}\n`));
        const last = fieldCount - 1;
        seen.push(Buffer.from(bytes.subarray(fieldStart[last], fieldEnd[last])).toString());
      },
      onRefused() {},
    });
    outer.push(concat(sampleEntry(0), sampleEntry(1), sampleEntry(2)));
    expect(seen).toEqual(["MESSAGE=message 0", "MESSAGE=message 1", "MESSAGE=message 2"]);
    expect(inner.counts.entries).toBe(3);
  });

  test("what a handler throws comes out of push(), and other parsers go on", () => {
    const parser = new ExportParser({
      onEntry() {
        throw new Error("disk full");
      },
      onRefused() {},
    });
    expect(() => parser.push(concat(GOOD, "A=1"))).toThrow("disk full");
    expect(parseChunks([GOOD]).entries).toHaveLength(1);
  });
});

describe("time is linear in the bytes, however small the chunks", () => {
  const size = 1024 * 1024;
  const tails: [string, Uint8Array][] = [
    ["one long line", concat(HEAD, "A=", "x".repeat(size))],
    ["one long binary field", concat(HEAD, "A\n", sizeOf(size), "x".repeat(size))],
    ["many fields", concat(HEAD, "A=12345\n".repeat(1000), "__X=1\n".repeat(size / 6))],
    ["one long name", concat(HEAD, "A".repeat(size))],
    ["a refused entry of short lines", concat("a=1\n", "A=1\n".repeat(size / 4))],
    [
      "a refused entry of lines without =",
      concat("a=1\n", `${"x".repeat(4000)}\n`.repeat(size / 4000)),
    ],
  ];
  test.each(tails)("%s", (_, bytes) => {
    const measure = (stream: Uint8Array): number => {
      const { parser } = countingParser();
      const from = Bun.nanoseconds();
      for (const chunk of cutEvery(stream, 1)) parser.push(chunk);
      return (Bun.nanoseconds() - from) / stream.length;
    };
    const usual = measure(concat(...Array<Uint8Array>(Math.ceil(size / GOOD.length)).fill(GOOD)));
    const found = measure(bytes);

    // Searching the line again for each byte would make it a hundred times as long.
    expect(found).toBeLessThan(10 * usual);
  });
});
