import { describe, expect, spyOn, test } from "bun:test";
import fs from "node:fs";
import { BucketTable } from "../../src/journal/bucket-table.ts";
import { DATA, HASH_ITEM_SIZE } from "../../src/journal/format.ts";
import { PAGE_SIZE, PageCache } from "../../src/journal/page-cache.ts";
import { PagedFile } from "../../src/journal/paged-file.ts";
import { seededRandom } from "../support/journal-damage.ts";
import { useOpenFiles } from "../support/open-files.ts";

const files = useOpenFiles();

const HEADER = 272;
/** Of a journal file with the usual field hash table: not at the start of a page. */
const ITEMS_OFFSET = 5632;
const BUCKETS = 2000;
const OBJECT_SIZE = 64;
const OBJECTS_OFFSET = ITEMS_OFFSET + BUCKETS * HASH_ITEM_SIZE;

/** A file with a table and, behind it, objects that it gets. */
class Rig {
  readonly fd: number;
  readonly file: PagedFile;
  readonly table: BucketTable;
  objects = 0;

  constructor(name: string, isKept: boolean, buckets: number = BUCKETS) {
    this.fd = files.open(name);
    this.file = new PagedFile(this.fd, 0, HEADER, new PageCache(0));
    this.table = new BucketTable(this.file, ITEMS_OFFSET, buckets, isKept);
  }

  append(bucket: number): number {
    const offset = OBJECTS_OFFSET + this.objects++ * OBJECT_SIZE;
    this.file.set32(offset, 1);
    this.table.append(bucket, offset);
    return offset;
  }

  flush(): void {
    this.file.flushPages();
    this.table.flush();
  }

  content(): Buffer {
    const bytes = Buffer.alloc(OBJECTS_OFFSET + this.objects * OBJECT_SIZE);
    fs.readSync(this.fd, bytes, 0, bytes.length, 0);
    return bytes;
  }
}

function headAndTail(content: Buffer, bucket: number): number[] {
  const item = ITEMS_OFFSET + bucket * HASH_ITEM_SIZE;
  return [content.readUInt32LE(item), content.readUInt32LE(item + 8)];
}

describe("BucketTable", () => {
  test("leads to the first and the last object of a chain, and one leads to the next", () => {
    const rig = new Rig("chain", true);
    const [first, second, third] = [rig.append(1000), rig.append(1000), rig.append(1000)];
    rig.flush();
    const content = rig.content();
    expect(headAndTail(content, 1000)).toEqual([first, third]);
    expect(content.readUInt32LE(first + DATA.nextHashOffset)).toBe(second);
    expect(content.readUInt32LE(second + DATA.nextHashOffset)).toBe(third);
    expect(content.readUInt32LE(third + DATA.nextHashOffset)).toBe(0);
  });

  test("with pages of its own makes the same file as without, over many flushes", () => {
    const random = seededRandom(7);
    const kept = new Rig("kept", true);
    const plain = new Rig("plain", false);
    for (let round = 0; round < 20; round++) {
      const count = Math.floor(random() * 300);
      for (let i = 0; i < count; i++) {
        // All over the table, or close together; the first and the last bucket, too.
        const bucket = Math.floor((random() < 0.5 ? random() : random() ** 8) * BUCKETS);
        expect(kept.append(bucket)).toBe(plain.append(bucket));
      }
      for (const rig of [kept, plain]) {
        rig.append(0);
        rig.append(BUCKETS - 1);
        rig.flush();
      }
      expect(kept.content().equals(plain.content())).toBe(true);
    }
  });

  test("writes no bucket before what it leads to: not until it is flushed", () => {
    const rig = new Rig("late", true);
    rig.append(1000);
    rig.file.flushPages();
    expect(headAndTail(rig.content(), 1000)).toEqual([0, 0]);
    rig.table.flush();
    expect(headAndTail(rig.content(), 1000)).toEqual([OBJECTS_OFFSET, OBJECTS_OFFSET]);
  });

  test("writes only pages that changed, neighbours in one call", () => {
    const rig = new Rig("few", true);
    const perPage = PAGE_SIZE / HASH_ITEM_SIZE;
    for (const page of [1, 2, 3, 6]) rig.append(page * perPage);
    rig.file.flushPages();
    const write = spyOn(fs, "writeSync");
    try {
      rig.table.flush();
      const sizes = write.mock.calls.map((call: unknown[]) => call[3]);
      expect(sizes).toEqual([3 * PAGE_SIZE, PAGE_SIZE]);
      rig.table.flush();
      expect(write).toHaveBeenCalledTimes(2);
    } finally {
      write.mockRestore();
    }
  });

  test("may be flushed again after the disk was full", () => {
    const rig = new Rig("full", true);
    rig.append(300);
    rig.append(1000);
    rig.file.flushPages();
    const write = spyOn(fs, "writeSync").mockImplementation(() => {
      throw new Error("ENOSPC");
    });
    expect(() => rig.table.flush()).toThrow("ENOSPC");
    write.mockRestore();
    rig.table.flush();
    const content = rig.content();
    expect(headAndTail(content, 300)[0]).toBe(OBJECTS_OFFSET);
    expect(headAndTail(content, 1000)[0]).toBe(OBJECTS_OFFSET + OBJECT_SIZE);
  });

  test("may be too small to fill a page", () => {
    const rig = new Rig("small", true, 10);
    const offset = rig.append(9);
    rig.flush();
    expect(headAndTail(rig.content(), 9)).toEqual([offset, offset]);
  });
});
