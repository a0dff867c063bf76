import { describe, expect, spyOn, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { viewOf } from "../../src/bytes/view.ts";
import { PAGE_SIZE, PageCache } from "../../src/journal/page-cache.ts";
import { PagedFile } from "../../src/journal/paged-file.ts";
import { seededRandom } from "../support/journal-damage.ts";
import { useOpenFiles } from "../support/open-files.ts";

const files = useOpenFiles();

const HEADER = 272;

function contentOf(fd: number): Buffer {
  const bytes = Buffer.alloc(fs.fstatSync(fd).size);
  fs.readSync(fd, bytes, 0, bytes.length, 0);
  return bytes;
}

/** A paged file, and what its content should be. */
class Modelled {
  readonly file: PagedFile;
  readonly fd: number;
  readonly #random: () => number;
  #model = Buffer.alloc(0);
  /** Objects go here next. */
  #end = HEADER;
  readonly #copies: { offset: number; bytes: Uint8Array }[] = [];

  constructor(name: string, cache: PageCache, random: () => number) {
    this.fd = files.open(name);
    this.file = new PagedFile(this.fd, 0, HEADER, cache);
    this.#random = random;
  }

  /** One random change or question. */
  step(): void {
    const kind = this.#random();
    if (kind < 0.01) this.#append(256 * 1024 + this.#below(40_000));
    else if (kind < 0.3) this.#append(1 + this.#below(700));
    else if (kind < 0.33) this.#append(1 + this.#below(20_000));
    else if (kind < 0.4) this.#appendWords(this.#below(3000));
    else if (kind < 0.6) this.#setWord((at, value) => this.file.set32(at, value));
    else if (kind < 0.9) this.#setWord((at, value) => this.file.poke32(at, value));
    else if (kind < 0.97) this.#ask();
    else this.file.flushPages();
  }

  /** Whether the file on disk is what it should be, after a flush. */
  check(): void {
    this.file.flushPages();
    const stored = contentOf(this.fd);
    expect(stored.length % PAGE_SIZE).toBe(0);
    const same = stored.subarray(HEADER, this.#end).equals(this.#model.subarray(HEADER, this.#end));
    expect(same).toBe(true);
    expect(stored.subarray(this.#end).every((byte) => byte === 0)).toBe(true);
    expect(stored.subarray(0, HEADER).every((byte) => byte === 0)).toBe(true);
  }

  #append(size: number): void {
    const bytes = new Uint8Array(size + 3);
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.#random() * 256;
    const offset = this.#place(bytes.subarray(3));
    this.file.copyIn(offset, viewOf(bytes), 3, bytes.length);
    this.#copies.push({ offset, bytes: bytes.subarray(3) });
  }

  #appendWords(count: number): void {
    const words = new Int32Array(count + 1);
    for (let i = 0; i <= count; i++) words[i] = this.#random() * 2 ** 32;
    const bytes = new Uint8Array(words.buffer, 0, 4 * count);
    const offset = this.#place(bytes);
    this.file.copyWords(offset, words, count);
    if (count > 0) this.#copies.push({ offset, bytes });
  }

  /** Where the file gets these bytes: the model has them there. */
  #place(bytes: Uint8Array): number {
    const offset = this.#end;
    this.#end = Math.ceil((offset + bytes.length) / 8) * 8;
    if (this.#end > this.#model.length) {
      this.#model = Buffer.concat([this.#model, Buffer.alloc(this.#end)]);
    }
    this.#model.set(bytes, offset);
    return offset;
  }

  #setWord(set: (offset: number, value: number) => void): void {
    const words = Math.floor((this.#end - HEADER) / 4);
    if (words === 0) return;
    const offset = HEADER + 4 * this.#below(words);
    const value = Math.floor(this.#random() * 2 ** 32);
    this.#model.writeUInt32LE(value, offset);
    set(offset, value);
    expect(this.#random() < 0.9 || this.file.get32(offset) === value).toBe(true);
  }

  #ask(): void {
    const copy = this.#copies[this.#below(this.#copies.length)];
    if (copy === undefined) return;
    const { offset, bytes } = copy;
    const now = new Uint8Array(this.#model.subarray(offset, offset + bytes.length));
    expect(this.file.equals(offset, viewOf(now), 0, now.length)).toBe(true);
    const at = this.#below(now.length);
    now[at] = (now[at] ?? 0) ^ 4;
    expect(this.file.equals(offset, viewOf(now), 0, now.length)).toBe(false);
    now[at] = (now[at] ?? 0) ^ 4;
    expect(Buffer.from(this.file.copyOut(offset, now.length)).equals(now)).toBe(true);
  }

  #below(count: number): number {
    return Math.floor(this.#random() * count);
  }
}

describe("PagedFile", () => {
  for (const seed of [1, 2, 3]) {
    test(`keeps three files apart in a cache far smaller than they are, seed ${seed}`, () => {
      const random = seededRandom(seed);
      const cache = new PageCache(0);
      const files = [0, 1, 2].map((i) => new Modelled(`model-${seed}-${i}`, cache, random));
      for (let round = 0; round < 4000; round++) files[Math.floor(random() * 3)]?.step();
      for (const file of files) file.check();
      for (const file of files) file.file.releasePages();
    });
  }

  test("writes from the end to the start, new pages before those that were there", () => {
    const fd = files.open("order");
    const file = new PagedFile(fd, 0, HEADER, new PageCache());
    const touch = (...pages: number[]): void => {
      for (const page of pages) file.set32(page * PAGE_SIZE + 1024, page + 1);
    };
    const writes: [number, number][] = [];
    const spy = spyOn(fs, "writeSync");
    const flush = (): [number, number][] => {
      spy.mockClear();
      file.flushPages();
      return spy.mock.calls.map((call: unknown[]) => [Number(call[4]), Number(call[3])]);
    };
    try {
      touch(2, 0, 1, 3);
      writes.push(...flush());
      expect(writes).toEqual([[HEADER, 4 * PAGE_SIZE - HEADER]]);
      // Page 3 was the last one: it may point to 4 and 5, and 1 and 2 may point into it.
      touch(1, 2, 3, 4, 5);
      expect(flush()).toEqual([
        [4 * PAGE_SIZE, 2 * PAGE_SIZE],
        [3 * PAGE_SIZE, PAGE_SIZE],
        [PAGE_SIZE, 2 * PAGE_SIZE],
      ]);
      expect(flush()).toEqual([]);
      touch(100, 7);
      expect(flush()).toEqual([
        [100 * PAGE_SIZE, PAGE_SIZE],
        [7 * PAGE_SIZE, PAGE_SIZE],
      ]);
      touch(...Array.from({ length: 200 }, (_, i) => 101 + i));
      const sizes = flush().map(([, size]) => size / PAGE_SIZE);
      expect(sizes).toEqual([64, 64, 64, 8]);
    } finally {
      spy.mockRestore();
    }
  });

  test("writes pokes of absent pages in the same order, the newest of each word", () => {
    const content = new Uint8Array(40 * PAGE_SIZE).fill(0x11);
    const fd = files.open("pokes", content);
    const file = new PagedFile(fd, content.length, HEADER, new PageCache());
    const at = (page: number): number => page * PAGE_SIZE + 8;
    file.poke32(at(30), 1);
    file.poke32(at(5), 2);
    file.set32(at(20), 3);
    file.poke32(at(30), 0xfffffffe);
    file.poke32(at(30) + 4, 5);
    file.poke32(at(10), 6);
    // Page 10 comes into memory and takes its poke along.
    expect(file.get32(at(10))).toBe(6);
    const spy = spyOn(fs, "writeSync");
    try {
      file.flushPages();
      expect(spy.mock.calls.map((call: unknown[]) => call[4])).toEqual([
        at(30) + 4,
        at(30),
        20 * PAGE_SIZE,
        10 * PAGE_SIZE,
        at(5),
      ]);
    } finally {
      spy.mockRestore();
    }
    const expected = Buffer.from(content);
    for (const [offset, value] of [
      [at(30), 0xfffffffe],
      [at(30) + 4, 5],
      [at(20), 3],
      [at(10), 6],
      [at(5), 2],
    ] as const) {
      expected.writeUInt32LE(value, offset);
    }
    expect(contentOf(fd).equals(expected)).toBe(true);
  });

  test("flushes by itself before pokes take more than their memory", () => {
    const content = new Uint8Array(2 * PAGE_SIZE);
    const fd = files.open("many-pokes", content);
    const file = new PagedFile(fd, content.length, HEADER, new PageCache());
    for (let i = 0; i <= 2 ** 20; i++) file.poke32(PAGE_SIZE + 4 * (i % 1024), i);
    expect(contentOf(fd).readUInt32LE(PAGE_SIZE)).toBe(2 ** 20 - 1024);
    file.flushPages();
    expect(contentOf(fd).readUInt32LE(PAGE_SIZE)).toBe(2 ** 20);
  });

  test("may flush again after the disk did not take it, and loses nothing", () => {
    const content = new Uint8Array(40 * PAGE_SIZE);
    const fd = files.open("failing", content);
    const file = new PagedFile(fd, content.length, HEADER, new PageCache());
    for (const page of [1, 3, 9]) file.set32(page * PAGE_SIZE + 512, page);
    for (const page of [2, 30]) file.poke32(page * PAGE_SIZE, page);
    const write = fs.writeSync;
    for (let allowed = 0; allowed < 5; allowed++) {
      let left = allowed;
      const spy = spyOn(fs, "writeSync").mockImplementation((...args: unknown[]) => {
        if (left-- === 0) throw Object.assign(new Error("ENOSPC"), { code: "ENOSPC" });
        return Reflect.apply(write, fs, args);
      });
      try {
        expect(() => file.flushPages()).toThrow("ENOSPC");
      } finally {
        spy.mockRestore();
      }
    }
    file.flushPages();
    const stored = contentOf(fd);
    expect([1, 3, 9].map((page) => stored.readUInt32LE(page * PAGE_SIZE + 512))).toEqual([1, 3, 9]);
    expect([2, 30].map((page) => stored.readUInt32LE(page * PAGE_SIZE))).toEqual([2, 30]);
  });

  test("goes on after a short write", () => {
    const fd = files.open("short");
    const file = new PagedFile(fd, 0, HEADER, new PageCache());
    for (let word = 0; word < 3 * 1024; word++) file.set32(PAGE_SIZE + word * 4, word + 1);
    const write = fs.writeSync;
    const spy = spyOn(fs, "writeSync").mockImplementation(((
      to: number,
      from: Uint8Array,
      start: number,
      length: number,
      position: number,
    ) => write(to, from, start, Math.min(length, 1000), position)) as typeof fs.writeSync);
    try {
      file.flushPages();
      expect(spy.mock.calls.length).toBe(13);
    } finally {
      spy.mockRestore();
    }
    const stored = contentOf(fd);
    for (let word = 0; word < 3 * 1024; word++) {
      if (stored.readUInt32LE(PAGE_SIZE + word * 4) !== word + 1) throw new Error(`word ${word}`);
    }
  });

  test("takes a large copy at every alignment and end", () => {
    const size = 256 * 1024;
    for (const start of [0, 8, 272, 4088, 4096]) {
      for (const extra of [0, 1, 7, 8, 4095, 4096 - (start % 4096), 4097 - (start % 4096)]) {
        const fd = files.open(`large-${start}-${extra}`);
        const file = new PagedFile(fd, 0, 0, new PageCache());
        const bytes = new Uint8Array(size + extra).map((_, i) => (i * 31 + (i >>> 8)) % 251);
        file.set32(start, 1);
        file.copyIn(start, viewOf(bytes), 0, bytes.length);
        expect(file.equals(start, viewOf(bytes), 0, bytes.length)).toBe(true);
        file.set32(Math.ceil((start + bytes.length) / 4) * 4, 0x01020304);
        file.flushPages();
        const stored = contentOf(fd);
        expect(stored.subarray(start, start + bytes.length).equals(bytes)).toBe(true);
        expect(stored.readUInt32LE(Math.ceil((start + bytes.length) / 4) * 4)).toBe(0x01020304);
      }
    }
  });

  test("works on offsets past 2 and close to 4 GiB", () => {
    const fd = files.open("sparse");
    const size = 2 ** 32 - 8;
    fs.ftruncateSync(fd, size);
    const file = new PagedFile(fd, size, HEADER, new PageCache());
    const offsets = [
      2 ** 31 - 8,
      2 ** 31,
      2 ** 31 + 4096,
      3 * 2 ** 30,
      2 ** 32 - 4096,
      2 ** 32 - 16,
    ];
    for (const [i, offset] of offsets.entries()) {
      if (i % 2 === 0) file.set32(offset, offset);
      else file.poke32(offset, offset);
    }
    const text = Buffer.from("across a page and more".repeat(300));
    file.copyIn(2 ** 31 + 8192, viewOf(text), 0, text.length);
    file.flushPages();
    const word = Buffer.alloc(4);
    for (const offset of offsets) {
      fs.readSync(fd, word, 0, 4, offset);
      expect(word.readUInt32LE()).toBe(offset);
      expect(file.get32(offset)).toBe(offset);
    }
    expect(file.equals(2 ** 31 + 8192, viewOf(text), 0, text.length)).toBe(true);
    expect(Buffer.from(file.copyOut(2 ** 31 + 8192, text.length)).equals(text)).toBe(true);
    file.releasePages();
    fs.rmSync(path.join(files.path, "sparse"));
  });
});
