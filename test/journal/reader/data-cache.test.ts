import { afterAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import { BlockCache } from "../../../src/journal/reader/block-cache.ts";
import { DataCache, type FieldHooks, NO_RECORD } from "../../../src/journal/reader/data-cache.ts";
import { loadEntry, newJournalEntry } from "../../../src/journal/reader/journal-entry.ts";
import { JournalFile } from "../../../src/journal/reader/journal-file.ts";
import { messageOf, plain, writeFile } from "../../support/reader-journals.ts";
import { TempDir } from "../../support/temp-dir.ts";

const dir = new TempDir();
afterAll(() => dir[Symbol.dispose]());

function field(cache: DataCache, record: number): string {
  const start = cache.start[record] ?? 0;
  return cache.bytesOf(record).toString("latin1", start, start + (cache.size[record] ?? 0));
}

describe("DataCache", () => {
  test("gives the fields of more entries than it holds, and forgets in between", () => {
    const entries = Array.from({ length: 3000 }, (_, i) =>
      plain(i + 1, { fields: [0, 1, 2].map((n) => `BODY_${n}=${i} ${"x".repeat(1500)}`) }),
    );
    const path = writeFile(dir.path, "a.journal", entries, 1, {
      compressThresholdBytes: undefined,
    });
    const file = new JournalFile(path, new BlockCache());
    const entry = newJournalEntry(new DataCache());
    for (let i = 0; i < file.entries; i++) {
      loadEntry(file, file.entryOffset(i), entry);
      expect(messageOf(entry)).toBe(`${i + 1}`);
      const bodies = Array.from(entry.records.subarray(0, entry.recordCount), (record) =>
        field(entry.cache, record),
      );
      expect(bodies.filter((body) => body.startsWith("BODY_"))).toHaveLength(3);
      expect(
        bodies.filter((body) => body.startsWith("BODY_") && !body.includes(`=${i} x`)),
      ).toEqual([]);
    }
    expect(entry.cache.generation).toBeGreaterThan(0);
    file.close();
  });

  test("knows files apart, and knows them again", () => {
    const paths = ["b", "c"].map((name) =>
      writeFile(dir.path, `${name}.journal`, [
        plain(1, { message: name }),
        plain(2, { message: name }),
      ]),
    );
    const blocks = new BlockCache();
    const files = paths.map((path) => new JournalFile(path, blocks));
    const entry = newJournalEntry(new DataCache());
    const messages: string[] = [];
    for (const index of [0, 1]) {
      for (const file of files) {
        loadEntry(file, file.entryOffset(index), entry);
        messages.push(messageOf(entry));
      }
    }
    expect(messages).toEqual(["b", "c", "b", "c"]);
    // MESSAGE, PRIORITY, _HOSTNAME, _BOOT_ID of each file, once.
    expect(entry.cache.recordCount).toBe(8);
    for (const file of files) file.close();
  });

  test("keeps what is sent in place of fields, and tags of what the journal has", () => {
    const hooks: FieldHooks = {
      tag: (bytes, start, end) => end - start + (bytes[start] ?? 0),
      rewrite: (bytes, start, _end, nameLength) => {
        const name = Buffer.from(bytes).toString("latin1", start, start + nameLength);
        if (name === "DROPPED") return undefined;
        return name === "SECRET" ? Buffer.from("SECRET=***") : "same";
      },
    };
    const cache = new DataCache(hooks);
    const add = (text: string): number => cache.add(Buffer.from(`  ${text}  `), 2, 2 + text.length);
    const [secret, dropped, plainOne] = ["SECRET=password", "DROPPED=1", "A=b"].map(add);
    expect(field(cache, secret ?? 0)).toBe("SECRET=***");
    expect(cache.isDropped[dropped ?? 0]).toBe(1);
    expect(field(cache, plainOne ?? 0)).toBe("A=b");
    expect(cache.tags[secret ?? 0]).toBe(15 + 0x53);
    expect(cache.tags[dropped ?? 0]).toBe(9 + 0x44);
  });

  test("refuses names that are none, and counts them", () => {
    const cache = new DataCache();
    for (const text of ["no equals", "=x", "lower=x", `${"A".repeat(65)}=x`, "1A=x"]) {
      expect(cache.add(Buffer.from(text), 0, text.length)).toBe(NO_RECORD);
    }
    expect([...cache.damage]).toEqual([["field-name", 5]]);
  });

  test("keeps large fields outside of its arena", () => {
    const cache = new DataCache();
    const texts = [1, 2, 3].map((n) => `LARGE=${n}${"x".repeat(n * 100_000)}`);
    const records = texts.map((text) => cache.add(Buffer.from(text), 0, text.length));
    expect(records.map((record) => field(cache, record))).toEqual(texts);
    const small = cache.add(Buffer.from("A=1"), 0, 3);
    expect(field(cache, small)).toBe("A=1");
  });
});

test("a file that was erased gives no entry with fields missing", () => {
  const path = writeFile(
    dir.path,
    "erased.journal",
    [plain(1, { fields: [`BODY=${"x".repeat(400_000)}`] })],
    1,
    {
      compressThresholdBytes: undefined,
    },
  );
  const file = new JournalFile(path, new BlockCache());
  const entry = newJournalEntry(new DataCache());
  const offset = file.entryOffset(0);
  file.readEntry(offset, true);
  fs.writeFileSync(path, Buffer.alloc(fs.statSync(path).size), { flag: "r+" });
  expect(() => loadEntry(file, offset, entry)).toThrow("deleted and its space freed");
  expect(file.isErased).toBe(true);
  expect(entry.cache.damage.size).toBe(0);
  file.close();
});
