import { afterAll, expect, test } from "bun:test";
import fs from "node:fs";
import {
  BLOCK_OBJECT_MAX,
  BlockCache,
  type BlockFile,
  readAt,
} from "../../../src/journal/reader/block-cache.ts";
import { seededRandom } from "../../support/journal-damage.ts";
import { TempDir } from "../../support/temp-dir.ts";

const dir = new TempDir();
afterAll(() => dir[Symbol.dispose]());

let files = 0;

/** A file of random bytes. */
function makeFile(size: number): BlockFile & { content: Buffer } {
  const content = Buffer.from(crypto.getRandomValues(new Uint8Array(Math.min(size, 65536))));
  const whole = Buffer.alloc(size);
  for (let at = 0; at < size; at += content.length) content.copy(whole, at, 0, size - at);
  // Blocks that are taken for one another would look alike otherwise.
  for (let at = 0; at + 4 <= size; at += 4096) whole.writeUInt32LE(at, at);
  const id = ++files;
  const path = dir.write(`${id}`, whole);
  return { path, fd: fs.openSync(path, "r"), id, content: whole, afterRead: () => undefined };
}

function at(cache: BlockCache, file: BlockFile, offset: number, size: number): Buffer | undefined {
  const start = cache.locate(file, offset, size);
  return start < 0 ? undefined : cache.bytes.subarray(start, start + size);
}

test("BlockCache gives the bytes of a file at any offset, of several files, with few blocks", () => {
  const cache = new BlockCache(3, 3);
  const sources = [1_000_003, 300_000, 500].map(makeFile);
  const random = seededRandom(1);
  for (let i = 0; i < 3000; i++) {
    const file = sources[Math.floor(random() * sources.length)] as (typeof sources)[number];
    const size = 1 + Math.floor(random() * Math.min(file.content.length, BLOCK_OBJECT_MAX));
    const offset = Math.floor(random() * (file.content.length - size + 1));
    expect(
      at(cache, file, offset, size)?.equals(file.content.subarray(offset, offset + size)),
    ).toBe(true);
  }
  for (const { fd } of sources) fs.closeSync(fd);
});

test("BlockCache tells where the file ends before", () => {
  const cache = new BlockCache(3, 3);
  const file = makeFile(1000);
  expect(cache.locate(file, 990, 10)).toBeGreaterThanOrEqual(0);
  expect(cache.locate(file, 990, 11)).toBe(-1);
  expect(cache.locate(file, 10_000_000, 1)).toBe(-1);
  expect(readAt(file, new Uint8Array(100), 950)).toBe(50);
  fs.closeSync(file.fd);
});

test("BlockCache.dropFrom() has what may have changed read again, and nothing else", () => {
  const cache = new BlockCache();
  const file = makeFile(2_000_000);
  const fd = fs.openSync(file.path, "r+");
  for (let offset = 0; offset < 2_000_000; offset += 100_000) cache.locate(file, offset, 8);
  const before = cache.loads;
  fs.writeSync(fd, "changed!", 0);
  fs.writeSync(fd, "changed!", 1_500_000);
  cache.dropFrom(file, 1_400_000);
  expect(at(cache, file, 1_500_000, 8)?.toString()).toBe("changed!");
  expect(at(cache, file, 0, 8)?.toString()).not.toBe("changed!");
  expect(cache.loads).toBe(before + 1);
  for (const open of [fd, file.fd]) fs.closeSync(open);
});

test("BlockCache uses more blocks when more files are read by turns", () => {
  const cache = new BlockCache(4, 64);
  const sources = Array.from({ length: 16 }, () => makeFile(5000));
  const read = (): number => {
    const before = cache.loads;
    for (const file of [...sources, ...sources]) cache.locate(file, 0, 8);
    return cache.loads - before;
  };
  expect(read()).toBe(32);
  cache.widen(sources.length);
  read();
  expect(read()).toBe(0);
  for (const { fd } of sources) fs.closeSync(fd);
});

test("BlockCache keeps nothing of what its file says not to be its own", () => {
  const cache = new BlockCache();
  const file = makeFile(5000);
  const refuse = (): never => {
    throw new Error("erased");
  };
  expect(() => cache.locate({ ...file, afterRead: refuse }, 0, 8)).toThrow("erased");
  const before = cache.loads;
  expect(at(cache, file, 0, 8)?.equals(file.content.subarray(0, 8))).toBe(true);
  expect(cache.loads).toBe(before + 1);
  fs.closeSync(file.fd);
});
