/**
 * A file read and written through the page cache. Changes stay in memory until `flushPages()` writes them
 * from the end of the file to its start. In a journal file everything that counts or points (hash table,
 * DATA, older arrays) stands before what it points to, so another process that reads at the same time, or
 * after this one was killed, never follows a pointer to something not yet written. The caller writes its
 * header last.
 * HOT: guarded by scripts/bench/writer.ts.
 */
import fs from "node:fs";
import { PAGE_SHIFT, PAGE_SIZE, type PageCache, type PageOwner } from "./page-cache.ts";

const PAGE_MASK = PAGE_SIZE - 1;
const SLOT_WORD_SHIFT = PAGE_SHIFT - 2;
/** Largest single write; also the staging buffer shared by all files (flush is synchronous). */
const STAGING_SIZE = 256 * 1024;
const staging = new Uint8Array(STAGING_SIZE);
const pokeBytes = new Uint8Array(4);
const pokeView = new DataView(pokeBytes.buffer);
/** Copies at least this long go to whole pages directly, past the cache. */
const WRITE_THROUGH_MIN = 256 * 1024;

const POKES_INITIAL = 64;
/** Also the factor that makes offset and index one exact number: 2^32 * 2^20 < 2^53. */
const POKES_MAX = 2 ** 20;

export class PagedFile implements PageOwner {
  readonly fd: number;
  readonly #cache: PageCache;
  readonly #bytes: Uint8Array;
  readonly #words: Int32Array;
  readonly #dirty: Uint8Array;
  readonly #used: Uint8Array;
  /** page → slot, -1 when not in memory. */
  #slots: Int32Array;
  /** Pages with the dirty mark, in the order they became dirty. */
  #dirtyList: number[] = [];
  /** Words changed on pages that are not in memory, in the order they were changed. */
  #pokeOffsets = new Uint32Array(POKES_INITIAL);
  #pokeValues = new Int32Array(POKES_INITIAL);
  #pokes = 0;
  /** 1 = there is a poke for that page. */
  #poked = new Uint8Array(0);
  /** Pages from here on have never been written and read as zeros. */
  #writtenPages: number;
  /** Bytes of page 0 that belong to the header, which flushPages() leaves alone. */
  readonly #headerSize: number;

  /** @param size bytes now in the file */
  constructor(fd: number, size: number, headerSize: number, cache: PageCache) {
    this.fd = fd;
    this.#cache = cache;
    this.#bytes = cache.bytes;
    this.#words = cache.words;
    this.#dirty = cache.dirty;
    this.#used = cache.used;
    this.#headerSize = headerSize;
    this.#writtenPages = Math.ceil(size / PAGE_SIZE);
    this.#slots = new Int32Array(Math.max(256, this.#writtenPages + 64)).fill(-1);
  }

  get dirtyPages(): number {
    return this.#dirtyList.length;
  }

  /** The u32 at a multiple of 4. */
  get32(offset: number): number {
    const slot = this.#load(offset >>> PAGE_SHIFT);
    return this.#words[(slot << SLOT_WORD_SHIFT) | ((offset & PAGE_MASK) >>> 2)]! >>> 0;
  }

  set32(offset: number, value: number): void {
    const slot = this.#loadDirty(offset >>> PAGE_SHIFT);
    this.#words[(slot << SLOT_WORD_SHIFT) | ((offset & PAGE_MASK) >>> 2)] = value;
  }

  /** Like set32, but a page that is not in memory is not read for it: the word is written at the next flush. */
  poke32(offset: number, value: number): void {
    const page = offset >>> PAGE_SHIFT;
    if (page >= this.#writtenPages || this.#slots[page]! >= 0) {
      this.set32(offset, value);
      return;
    }
    this.#addPoke(offset, value);
    if (page >= this.#poked.length) {
      const grown = new Uint8Array(Math.max(page + 1, this.#slots.length));
      grown.set(this.#poked);
      this.#poked = grown;
    }
    this.#poked[page] = 1;
  }

  /** Copies the first `count` words of `source` to `offset`, a multiple of 4. */
  copyWords(offset: number, source: Int32Array, count: number): void {
    const words = this.#words;
    for (let from = 0; from < count; ) {
      const to = offset + (from << 2);
      const inPage = to & PAGE_MASK;
      const first = (this.#loadDirty(to >>> PAGE_SHIFT) << SLOT_WORD_SHIFT) | (inPage >>> 2);
      const end = Math.min(count, from + ((PAGE_SIZE - inPage) >>> 2));
      for (let i = first - from; from < end; from++) words[i + from] = source[from]!;
    }
  }

  /** Copies [start .. end) of `source` to `offset`, a multiple of 8. */
  copyIn(offset: number, source: DataView, start: number, end: number): void {
    if (end - start >= WRITE_THROUGH_MIN) {
      this.#writeThrough(offset, source, start, end);
      return;
    }
    let from = start;
    let to = offset;
    while (from < end) {
      const slot = this.#loadDirty(to >>> PAGE_SHIFT);
      const inPage = to & PAGE_MASK;
      const count = Math.min(end - from, PAGE_SIZE - inPage);
      this.#copyIntoSlot((slot << PAGE_SHIFT) + inPage, source, from, count);
      from += count;
      to += count;
    }
  }

  /** Short copies by hand: a native call costs more than a hundred word stores. */
  #copyIntoSlot(base: number, source: DataView, from: number, count: number): void {
    if (count > 512) {
      const bytes = new Uint8Array(source.buffer, source.byteOffset + from, count);
      this.#bytes.set(bytes, base);
      return;
    }
    const words = count >>> 2;
    const first = base >>> 2;
    for (let i = 0; i < words; i++) {
      this.#words[first + i] = source.getInt32(from + (i << 2), true);
    }
    for (let i = words << 2; i < count; i++) this.#bytes[base + i] = source.getUint8(from + i);
  }

  /** Whether the file's bytes at `offset`, a multiple of 8, are [start .. end) of `source`. */
  equals(offset: number, source: DataView, start: number, end: number): boolean {
    const inPage = offset & PAGE_MASK;
    const count = end - start;
    if (inPage + count > PAGE_SIZE) return this.#equalsAcrossPages(offset, source, start, end);
    const base = (this.#load(offset >>> PAGE_SHIFT) << PAGE_SHIFT) + inPage;
    const bytes = this.#bytes;
    const words = this.#words;
    const wholeWords = count >>> 2;
    const first = base >>> 2;
    // From the end: what is compared mostly begins alike, with the field's name.
    for (let i = wholeWords << 2; i < count; i++) {
      if (bytes[base + i] !== source.getUint8(start + i)) return false;
    }
    for (let i = wholeWords - 1; i >= 0; i--) {
      if (words[first + i] !== source.getInt32(start + (i << 2), true)) return false;
    }
    return true;
  }

  #equalsAcrossPages(offset: number, source: DataView, start: number, end: number): boolean {
    let from = start;
    let at = offset;
    while (from < end) {
      const count = Math.min(end - from, PAGE_SIZE - (at & PAGE_MASK));
      if (!this.equals(at, source, from, from + count)) return false;
      from += count;
      at += count;
    }
    return true;
  }

  /** A copy of `size` bytes at `offset`. */
  copyOut(offset: number, size: number): Uint8Array {
    const out = new Uint8Array(size);
    let done = 0;
    while (done < size) {
      const slot = this.#load((offset + done) >>> PAGE_SHIFT);
      const inPage = (offset + done) & PAGE_MASK;
      const count = Math.min(size - done, PAGE_SIZE - inPage);
      const base = (slot << PAGE_SHIFT) + inPage;
      out.set(this.#bytes.subarray(base, base + count), done);
      done += count;
    }
    return out;
  }

  /**
   * Writes everything that changed, except the header. May be repeated after it threw.
   * @throws the runtime's error (ENOSPC, EIO …)
   */
  flushPages(): void {
    // Typed, because the engine sorts those without asking anybody how.
    const pages = Uint32Array.from(this.#dirtyList).sort();
    const pokes = this.#sortPokes();
    let poke = pokes.length;
    let last = pages.length - 1;
    const firstNew = this.#writtenPages;
    while (last >= 0) {
      // One call copies from its start to its end. So new pages, and the page that was the last one and has
      // new objects too, have to be written before a call with pages that may point to them.
      const end = pages[last]!;
      const runMin = end >= firstNew ? firstNew : end === firstNew - 1 ? end : 0;
      let first = last;
      while (
        first > 0 &&
        pages[first - 1]! >= runMin &&
        pages[first - 1] === pages[first]! - 1 &&
        (last - first + 2) * PAGE_SIZE <= STAGING_SIZE
      ) {
        first--;
      }
      poke = this.#writePokes(pokes, poke, pages[last]! * PAGE_SIZE);
      this.#writeRun(pages[first]!, last - first + 1);
      last = first - 1;
    }
    this.#writePokes(pokes, poke, 0);
    for (const page of pages) this.#dirty[this.#slots[page]!] = 0;
    this.#dirtyList = [];
    this.#pokes = 0;
    this.#poked.fill(0);
  }

  dropPage(page: number): void {
    this.#slots[page] = -1;
  }

  /** Gives all memory back; changes that were not flushed are lost. */
  releasePages(): void {
    for (let page = 0; page < this.#slots.length; page++) {
      const slot = this.#slots[page]!;
      if (slot >= 0) this.#cache.release(slot);
      this.#slots[page] = -1;
    }
    this.#dirtyList = [];
    this.#pokes = 0;
  }

  #load(page: number): number {
    if (page < this.#slots.length) {
      const slot = this.#slots[page]!;
      if (slot >= 0) {
        this.#used[slot] = 1;
        return slot;
      }
    }
    return this.#fault(page);
  }

  #loadDirty(page: number): number {
    const slot = this.#load(page);
    if (this.#dirty[slot] === 0) {
      this.#dirty[slot] = 1;
      this.#dirtyList.push(page);
    }
    return slot;
  }

  #fault(page: number): number {
    const slot = this.#cache.acquire(this, page);
    const base = slot << PAGE_SHIFT;
    this.#bytes.fill(0, base, base + PAGE_SIZE);
    if (page < this.#writtenPages) {
      try {
        readFully(this.fd, this.#bytes, base, PAGE_SIZE, page * PAGE_SIZE);
      } catch (error) {
        this.#cache.release(slot);
        throw error;
      }
    }
    if (page >= this.#slots.length) this.#growSlots(page);
    this.#slots[page] = slot;
    this.#applyPokes(page);
    return slot;
  }

  #growSlots(page: number): void {
    const grown = new Int32Array(Math.max(page + 64, this.#slots.length * 2)).fill(-1);
    grown.set(this.#slots);
    this.#slots = grown;
  }

  /** A page that comes into memory takes the words meant for it along. */
  #applyPokes(page: number): void {
    if (this.#pokes === 0 || this.#poked[page] !== 1) return;
    this.#poked[page] = 0;
    let kept = 0;
    for (let i = 0; i < this.#pokes; i++) {
      const offset = this.#pokeOffsets[i]!;
      const value = this.#pokeValues[i]!;
      if (offset >>> PAGE_SHIFT === page) {
        this.set32(offset, value);
      } else {
        this.#pokeOffsets[kept] = offset;
        this.#pokeValues[kept++] = value;
      }
    }
    this.#pokes = kept;
  }

  #addPoke(offset: number, value: number): void {
    if (this.#pokes === POKES_MAX) this.flushPages();
    if (this.#pokes === this.#pokeOffsets.length) {
      const offsets = new Uint32Array(this.#pokes * 2);
      offsets.set(this.#pokeOffsets);
      this.#pokeOffsets = offsets;
      const values = new Int32Array(this.#pokes * 2);
      values.set(this.#pokeValues);
      this.#pokeValues = values;
    }
    this.#pokeOffsets[this.#pokes] = offset;
    this.#pokeValues[this.#pokes++] = value;
  }

  /** Numbers that sort by offset, then by age; `#writePokes` takes them apart. */
  #sortPokes(): Float64Array {
    const keys = new Float64Array(this.#pokes);
    for (let i = 0; i < keys.length; i++) keys[i] = this.#pokeOffsets[i]! * POKES_MAX + i;
    return keys.sort();
  }

  /** Writes sorted pokes below index `end` while they lie at or behind `offset`; returns where it stopped. */
  #writePokes(keys: Float64Array, end: number, offset: number): number {
    let i = end;
    let written = -1;
    for (; i > 0; i--) {
      const at = Math.floor(keys[i - 1]! / POKES_MAX);
      if (at < offset) break;
      // Of several for one word the newest comes first here, and is the one that counts.
      if (at === written) continue;
      pokeView.setInt32(0, this.#pokeValues[keys[i - 1]! % POKES_MAX]!, true);
      writeFully(this.fd, pokeBytes, 0, 4, at);
      written = at;
    }
    return i;
  }

  /** Writes `count` neighbouring pages in one call. */
  #writeRun(first: number, count: number): void {
    const skip = first === 0 ? this.#headerSize : 0;
    const size = count * PAGE_SIZE;
    const neighbours = this.#neighbours(first, count);
    if (neighbours === count) {
      const base = this.#slots[first]! << PAGE_SHIFT;
      writeFully(this.fd, this.#bytes, base + skip, size - skip, first * PAGE_SIZE + skip);
    } else {
      this.#stage(first, count, neighbours);
      writeFully(this.fd, staging, skip, size - skip, first * PAGE_SIZE + skip);
    }
    if (first + count > this.#writtenPages) this.#writtenPages = first + count;
  }

  /** Copies pages to where they stand one behind the other; the first `neighbours` of them do already. */
  #stage(first: number, count: number, neighbours: number): void {
    let run = neighbours;
    for (let i = 0; i < count; i += run, run = this.#neighbours(first + i, count - i)) {
      const base = this.#slots[first + i]! << PAGE_SHIFT;
      staging.set(this.#bytes.subarray(base, base + run * PAGE_SIZE), i * PAGE_SIZE);
    }
  }

  /** How many of `count` pages from `first` on stand one behind the other in memory, too: at least one. */
  #neighbours(first: number, count: number): number {
    const slots = this.#slots;
    const shift = slots[first]! - first;
    let i = 1;
    while (i < count && slots[first + i]! - first - i === shift) i++;
    return i;
  }

  /** A long payload: whole pages go to the file at once, the ragged ends through the cache. */
  #writeThrough(offset: number, source: DataView, start: number, end: number): void {
    const firstWhole = Math.ceil(offset / PAGE_SIZE);
    const head = firstWhole * PAGE_SIZE - offset;
    const wholePages = Math.floor((end - start - head) / PAGE_SIZE);
    const tailStart = start + head + wholePages * PAGE_SIZE;
    for (let page = firstWhole; page < firstWhole + wholePages; page++) this.#forget(page);
    const bytes = new Uint8Array(
      source.buffer,
      source.byteOffset + start + head,
      wholePages * PAGE_SIZE,
    );
    writeFully(this.fd, bytes, 0, bytes.length, firstWhole * PAGE_SIZE);
    this.copyIn(offset, source, start, start + head);
    // The last, partial page lies behind what was just written: it must not be read back as zeros.
    const writtenBefore = this.#writtenPages;
    if (firstWhole + wholePages > writtenBefore) this.#writtenPages = firstWhole + wholePages;
    this.copyIn((firstWhole + wholePages) * PAGE_SIZE, source, tailStart, end);
  }

  /** New space is never in memory before it is written; this guards against a page loaded ahead. */
  #forget(page: number): void {
    const slot = page < this.#slots.length ? this.#slots[page]! : -1;
    if (slot < 0) return;
    if (this.#dirty[slot] === 1) this.#dirtyList.splice(this.#dirtyList.indexOf(page), 1);
    this.#cache.release(slot);
    this.#slots[page] = -1;
  }
}

/** pread() until `length` bytes or the end of the file; what lies past the end stays as it is. */
function readFully(
  fd: number,
  into: Uint8Array,
  start: number,
  length: number,
  position: number,
): void {
  let done = 0;
  while (done < length) {
    const count = fs.readSync(fd, into, start + done, length - done, position + done);
    if (count === 0) return;
    done += count;
  }
}

/** pwrite() until everything is written: a short write is how a filling disk first shows. */
export function writeFully(
  fd: number,
  from: Uint8Array,
  start: number,
  length: number,
  position: number,
): void {
  let done = 0;
  while (done < length) {
    done += fs.writeSync(fd, from, start + done, length - done, position + done);
  }
}
