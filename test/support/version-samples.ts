/** Entries for systemd's programs to read and to send: of several sequences, and with odd values. */
import { binaryField, concat, sampleEntry, textField } from "./export-stream.ts";
import { sampleExport } from "./journal-tools.ts";

const DETAIL_BYTES = 3000;

/** Three sequences. Of the first, older entries come late, and the oldest last. */
export const SAMPLES = [
  concat(
    ...range(200, 400).flatMap((index) => [entryOf(index, 1), entryOf(index - 200, 2)]),
    ...oddFields().map((field, index) => entryOf(index, 3, field)),
  ),
  concat(...range(100, 200).map((index) => entryOf(index, 1))),
  concat(...range(0, 100).map((index) => entryOf(index, 1))),
];

/**
 * An entry with identity. Sequences take turns in time, no two entries have the same: journalctl would take entries of equal
 * times in two files for one.
 * @param sequence 0 .. 7
 */
export function entryOf(index: number, sequence: number, field?: Uint8Array): Uint8Array {
  const fields = [`UNIT=unit-${index % 7}`];
  if (index % 10 === 0) fields.push(`CODE_FILE=${`path/to/file-${index}/`.repeat(60)}`);
  return sampleEntry(8 * index + sequence, {
    seqnumId: `${sequence}a`.repeat(16),
    fields: field === undefined ? fields : [...fields, field],
  });
}

/** Entries with a value of their own that hardly compresses. */
export function bulky(from: number, to: number, sequence: number): Uint8Array {
  return concat(
    ...range(from, to).map((index) => entryOf(index, sequence, textField("DETAIL", detail()))),
  );
}

/** The same without identity. */
export function bulkyExport(entries: number): string {
  return sampleExport(entries).replace(/^MESSAGE=.*$/gm, (line) => `${line}\nDETAIL=${detail()}`);
}

function detail(): string {
  return crypto.getRandomValues(Buffer.alloc(DETAIL_BYTES)).toString("base64");
}

/** Entries without identity; values that are compressed, one of them of many kilobytes. */
export function largeAndSmall(): string {
  const long = `MESSAGE=${"long and dull ".repeat(40_000)}`;
  return sampleExport(300).replace("MESSAGE=message number 299", long);
}

/** Every tenth is long enough to be compressed. */
export function linesOf(name: string, from: number, to: number): string[] {
  return range(from, to).map(
    (index) => `${name} ${index}${index % 10 === 5 ? " and so on".repeat(100) : ""}`,
  );
}

export function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index);
}

function oddFields(): Uint8Array[] {
  return [
    binaryField("MESSAGE", "two\nlines"),
    concat(textField("EMPTY", ""), "TAG=a\nTAG=b\nTAG=a=b\n"),
    binaryField("COREDUMP", crypto.getRandomValues(new Uint8Array(60_000))),
    textField("LONG", "long and dull ".repeat(40_000)),
    concat(...range(0, 300).map((field) => `FIELD_${field}=${field}\n`)),
  ];
}
