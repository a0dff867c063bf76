/** Our writer beside systemd-journal-remote, on the same input. */
import { afterAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { ExportParser } from "../../src/export-format/parser.ts";
import { ObjectType } from "../../src/journal/format.ts";
import { PageCache } from "../../src/journal/page-cache.ts";
import { JournalWriter } from "../../src/journal/writer.ts";
import { seededRandom } from "../support/journal-damage.ts";
import { complaints, OPTIONS } from "../support/journal-entries.ts";
import { JournalImage } from "../support/journal-image.ts";
import { hasSystemd, makeJournal, sampleExport } from "../support/journal-tools.ts";
import { journalctlExport, parseExport } from "../support/stored-journals.ts";
import { TempDir } from "../support/temp-dir.ts";

const dir = new TempDir();
afterAll(() => dir[Symbol.dispose]());

/** Stores an export stream as journal-remote does: numbers from 1 on, nothing of the sender's. */
function store(file: string, stream: Uint8Array, format: Partial<typeof OPTIONS>): void {
  const options = { ...OPTIONS, ...format, dataBuckets: 100_000 };
  const writer = JournalWriter.create(file, options, new PageCache());
  let seqnum = 0;
  const parser = new ExportParser({
    onEntry(entry) {
      writer.append(entry, ++seqnum);
    },
    onRefused(reason, _offset, detail) {
      throw new Error(`${reason}: ${detail}`);
    },
  });
  parser.push(stream);
  parser.end();
  writer.close("archived");
}

/** Type and size of all objects from the first DATA on: before are the hash tables, of other sizes. */
function objectsOf(file: string): string[] {
  const objects = new JournalImage(fs.readFileSync(file)).objects();
  const first = objects.findIndex(({ type }) => type === ObjectType.data);
  return objects.slice(first).map(({ type, size }) => `${type}:${size}`);
}

/** Entries without the parts of the cursor that say which file they are in. */
function entriesOf(file: string): { cursor: string; fields: string[] }[] {
  return parseExport(journalctlExport("--file", file)).map(({ cursor, fields }) => ({
    cursor: cursor.replace(/^s=[0-9a-f]+;i=[0-9a-f]+;/, ""),
    fields,
  }));
}

/** Random names and values, repeated and not, in random number; none that compresses. */
function randomExport(seed: number): string {
  const random = seededRandom(seed);
  const below = (count: number): number => Math.floor(random() * count);
  let stream = "";
  for (let i = 0; i < 400; i++) {
    stream += `__REALTIME_TIMESTAMP=${1_700_000_000_000_000 + i}\n__MONOTONIC_TIMESTAMP=${1000 + i}\n`;
    stream += "_BOOT_ID=6c7c6013a26343b29e964691ff25d04c\n";
    for (let count = 1 + below(40); count > 0; count--) {
      const value = "abcdefghijklmnopqrstuvwxyz".slice(0, below(26)).repeat(1 + below(15));
      stream += `FIELD_${below(60)}=${random() < 0.3 ? i : below(10)}${value}\n`;
    }
    stream += "\n";
  }
  return stream;
}

const formats = [true, false].flatMap((compact) =>
  [true, false].map((keyed) => ({ compact, keyed })),
);
const inputs: [string, string][] = [
  ["entries like a host's", sampleExport(500)],
  ["random entries", randomExport(1)],
  ["other random entries", randomExport(2)],
];

if (hasSystemd()) {
  describe("JournalWriter makes the objects that systemd-journal-remote makes", () => {
    for (const [number, [name, stream]] of inputs.entries()) {
      for (const { compact, keyed } of formats) {
        const format = `${compact ? "compact" : "regular"}-${keyed ? "keyed" : "unkeyed"}`;
        test(`of ${name}, ${format}`, () => {
          const theirs = path.join(dir.path, `theirs-${number}-${format}.journal`);
          const ours = path.join(dir.path, `ours-${number}-${format}.journal`);
          makeJournal(theirs, stream, { compact, keyed });
          store(ours, Buffer.from(stream), { compact, keyedHash: keyed });
          expect(objectsOf(ours)).toEqual(objectsOf(theirs));
          expect(entriesOf(ours)).toEqual(entriesOf(theirs));
          expect(complaints(ours)).toEqual([]);
          const image = (file: string): JournalImage => new JournalImage(fs.readFileSync(file));
          const stored = (file: string): unknown =>
            image(file)
              .entries()
              .map(({ fields, xorHash }) => ({ fields, xorHash }));
          expect(stored(ours)).toEqual(stored(theirs));
          const { data, fields, entryArrays, objects } = image(theirs).header;
          expect(image(ours).header).toMatchObject({ data, fields, entryArrays, objects });
        });
      }
    }
  });
}
