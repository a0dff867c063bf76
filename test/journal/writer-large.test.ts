/** Files past 2 and close to 4 GiB, made of holes. */
import { afterAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { AgentError } from "../../src/errors.ts";
import {
  COMPACT_FILE_SIZE_MAX,
  ENTRY_ARRAY,
  HEADER,
  HEADER_SIZE,
  OBJECT,
  ObjectType,
} from "../../src/journal/format.ts";
import { PageCache } from "../../src/journal/page-cache.ts";
import { SeqnumLookup } from "../../src/journal/seqnum-lookup.ts";
import { JournalWriter } from "../../src/journal/writer.ts";
import { Patient } from "../support/journal-damage.ts";
import {
  appendAll,
  exported,
  hostEntries,
  hostEntry,
  OPTIONS,
  type PlainEntry,
  toEntry,
  toExported,
} from "../support/journal-entries.ts";
import { hasSystemd } from "../support/journal-tools.ts";
import { TempDir } from "../support/temp-dir.ts";

const dir = new TempDir();
afterAll(() => dir[Symbol.dispose]());

const GIB = 2 ** 30;
const LARGE = { ...OPTIONS, sizeMaxBytes: COMPACT_FILE_SIZE_MAX, dataBuckets: 8191 };
const formats = [true, false].map((compact) => ({ ...LARGE, compact }));

/** Makes a closed file as large as given: an entry array that nobody uses becomes its last object. */
function stretch(file: string, end: number): void {
  using patient = new Patient(file);
  const array = HEADER_SIZE + patient.readUint64(HEADER.arenaSize);
  fs.truncateSync(file, end);
  patient.write(array, Buffer.of(ObjectType.entryArray));
  patient.writeUint64(array + OBJECT.size, end - array);
  patient.writeUint64(HEADER.tailObjectOffset, array);
  patient.writeUint64(HEADER.arenaSize, end - HEADER_SIZE);
  patient.writeUint64(HEADER.objects, patient.readUint64(HEADER.objects) + 1);
  patient.writeUint64(HEADER.entryArrays, patient.readUint64(HEADER.entryArrays) + 1);
  expect(patient.readUint64(array + ENTRY_ARRAY.nextEntryArrayOffset)).toBe(0);
}

/** A file that ends at `end` and has 100 entries from before. */
function stretched(name: string, end: number, options: typeof OPTIONS): string {
  const file = path.join(dir.path, `${name}.journal`);
  const writer = JournalWriter.create(file, options, new PageCache());
  appendAll(writer, hostEntries(100));
  writer.close("offline");
  stretch(file, end);
  return file;
}

function expectEntries(file: string, entries: readonly PlainEntry[]): void {
  const lookup = new SeqnumLookup(file);
  expect(lookup.entries).toBe(entries.length);
  for (const { seqnum } of entries) {
    if (!lookup.has(seqnum)) throw new Error(`${seqnum} is not found`);
  }
  expect(lookup.has((entries.at(-1)?.seqnum ?? 0) + 1)).toBe(false);
  lookup.close();
  if (!hasSystemd()) return;
  expect(exported(file)).toEqual(entries.map(toExported));
  for (const match of ["_HOSTNAME=host.example.net", "PRIORITY=3", "MESSAGE=message number 150"]) {
    const matching = entries.filter(({ fields }) => fields.includes(match));
    expect(exported(file, match)).toEqual(matching.map(toExported));
  }
}

describe("JournalWriter", () => {
  for (const options of formats) {
    for (const end of [2 * GIB - 4096, 2.2 * GIB, 3.9 * GIB]) {
      const size = Math.floor(end / 8) * 8;
      const name = `${options.compact ? "compact" : "regular"}-${size}`;
      test(`appends at ${(end / GIB).toFixed(1)} GiB of a ${name} file, and again when reopened`, () => {
        const file = stretched(name, size, options);
        const big = `BIG=${"0123456789abcdef".repeat(20_000)}`;
        const entries = [...hostEntries(160), hostEntry(161, big), ...hostEntries(200, 162)];
        let done = 100;
        for (const count of [160, 161, 250, 361]) {
          const writer = JournalWriter.reopen(
            file,
            { ...options, compressThresholdBytes: 512 },
            new PageCache(0),
          );
          appendAll(writer, entries.slice(done, count));
          writer.publish();
          expectEntries(file, entries.slice(0, count));
          writer.close("offline");
          done = count;
        }
        expectEntries(file, entries);
        fs.rmSync(file);
      });
    }

    test(`fills a ${options.compact ? "compact" : "regular"} file to 4 GiB and asks for another before it cannot go on`, () => {
      const name = `${options.compact ? "compact" : "regular"}-full`;
      const file = stretched(name, 4 * GIB - 600_000, options);
      const entries = hostEntries(100);
      const writer = JournalWriter.reopen(file, options, new PageCache());
      for (let seqnum = 101; ; seqnum++) {
        const plain = hostEntry(seqnum, `BODY=${seqnum} ${"x".repeat(300)}`);
        const entry = toEntry(plain);
        const reason = writer.rotationReason(entry);
        if (reason !== undefined) {
          expect(reason).toBe("size");
          break;
        }
        writer.append(entry, seqnum);
        entries.push(plain);
        if (seqnum % 100 === 0) writer.publish();
      }
      writer.publish();
      expectEntries(file, entries);
      using patient = new Patient(file);
      const declared = HEADER_SIZE + patient.readUint64(HEADER.arenaSize);
      expect(declared).toBeLessThanOrEqual(COMPACT_FILE_SIZE_MAX);
      writer.close("archived");
      const { size } = fs.statSync(file);
      expect(size).toBeLessThan(4 * GIB);
      expect(size).toBeGreaterThan(4 * GIB - 10_000);
      expectEntries(file, entries);
      expect(entries.length).toBeGreaterThan(700);
      fs.rmSync(file);
    });
  }

  test("refuses an entry that no longer fits, and what was published stays readable", () => {
    const file = stretched("refuse", 4 * GIB - 100_000, LARGE);
    const writer = JournalWriter.reopen(file, LARGE, new PageCache());
    appendAll(writer, hostEntries(20, 101));
    writer.publish();
    const append = (): void => {
      const noise = crypto.getRandomValues(Buffer.alloc(200_000));
      appendAll(writer, [hostEntry(121, Buffer.concat([Buffer.from("NOISE="), noise]))]);
    };
    expect(append).toThrow("4 GiB is the most");
    expect(append).toThrow(AgentError);
    writer.publish();
    writer.close("offline");
    expectEntries(file, hostEntries(120));
    fs.rmSync(file);
  });
});
