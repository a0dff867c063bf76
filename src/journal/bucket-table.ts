/**
 * The buckets of a file's DATA hash table: each leads to the first and the last DATA object of a chain.
 * A busy sender's table is written to all over at every flush. So the whole pages of a large one are kept here, and
 * written in one piece, instead of crowding what is new out of the page cache.
 * HOT: guarded by scripts/bench/writer.ts.
 */
import { DATA, HASH_ITEM, HASH_ITEM_SIZE } from "./format.ts";
import { PAGE_SHIFT, PAGE_SIZE } from "./page-cache.ts";
import { type PagedFile, writeFully } from "./paged-file.ts";

const ITEM_WORDS = HASH_ITEM_SIZE / 4;
const ITEMS_PER_PAGE_SHIFT = PAGE_SHIFT - 4;

/** Of a file that was closed, for the next one, which most often has as many: see data-index.ts. */
let spare: WeakRef<Int32Array> | undefined;

function takeWords(length: number): Int32Array {
  const words = spare?.deref();
  if (length === 0 || words?.length !== length) return new Int32Array(length);
  spare = undefined;
  return words.fill(0);
}

export class BucketTable {
  readonly #file: PagedFile;
  readonly #itemsOffset: number;
  /** Buckets [first .. end) are kept here; the others share their pages with other objects, or the table is small. */
  readonly #first: number;
  readonly #end: number;
  /** As they are in the file. */
  readonly #words: Int32Array;
  /** 1 = that page of them has changed. */
  readonly #dirty: Uint8Array;

  /** @param isKept whether to keep pages here; the table is then empty */
  constructor(file: PagedFile, itemsOffset: number, buckets: number, isKept: boolean) {
    this.#file = file;
    this.#itemsOffset = itemsOffset;
    const head = (-itemsOffset & (PAGE_SIZE - 1)) / HASH_ITEM_SIZE;
    const pages = isKept ? Math.max(0, buckets - head) >>> ITEMS_PER_PAGE_SHIFT : 0;
    this.#first = head;
    this.#end = head + (pages << ITEMS_PER_PAGE_SHIFT);
    this.#words = takeWords((pages * PAGE_SIZE) / 4);
    this.#dirty = new Uint8Array(pages);
  }

  /** Puts a DATA object at the end of a bucket's chain. */
  append(bucket: number, offset: number): void {
    if (bucket < this.#first || bucket >= this.#end) {
      this.#appendInFile(bucket, offset);
      return;
    }
    const words = this.#words;
    const index = bucket - this.#first;
    const item = index * ITEM_WORDS;
    const tail = words[item + HASH_ITEM.tail / 4]!;
    if (tail === 0) words[item + HASH_ITEM.head / 4] = offset;
    else this.#file.poke32((tail >>> 0) + DATA.nextHashOffset, offset);
    words[item + HASH_ITEM.tail / 4] = offset;
    this.#dirty[index >>> ITEMS_PER_PAGE_SHIFT] = 1;
  }

  #appendInFile(bucket: number, offset: number): void {
    const file = this.#file;
    const item = this.#itemsOffset + bucket * HASH_ITEM_SIZE;
    const tail = file.get32(item + HASH_ITEM.tail);
    if (tail === 0) file.set32(item + HASH_ITEM.head, offset);
    else file.poke32(tail + DATA.nextHashOffset, offset);
    file.set32(item + HASH_ITEM.tail, offset);
  }

  /**
   * Writes what changed of the pages kept here, after everything they lead to. May be repeated after it threw.
   * @throws the runtime's error (ENOSPC, EIO …)
   */
  flush(): void {
    const dirty = this.#dirty;
    for (let end = 0; ; ) {
      const first = dirty.indexOf(1, end);
      if (first < 0) return;
      end = dirty.indexOf(0, first);
      if (end < 0) end = dirty.length;
      const bytes = new Uint8Array(
        this.#words.buffer,
        first * PAGE_SIZE,
        (end - first) * PAGE_SIZE,
      );
      const offset = this.#itemsOffset + this.#first * HASH_ITEM_SIZE + first * PAGE_SIZE;
      writeFully(this.#file.fd, bytes, 0, bytes.length, offset);
      dirty.fill(0, first, end);
    }
  }

  /** The file is closed. */
  release(): void {
    if (this.#words.length > 0) spare = new WeakRef(this.#words);
  }
}
