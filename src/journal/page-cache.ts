/**
 * The memory that open journal files are worked on in: one slab of 4 KiB slots shared by all files,
 * so that total memory has one named maximum however many senders are connected. We do not map files:
 * a full disk or a truncated file would be a SIGBUS that kills the process, where pwrite() returns an error.
 * HOT: guarded by scripts/bench/writer.ts.
 */

export const PAGE_SIZE = 4096;
export const PAGE_SHIFT = 12;
const PAGE_CACHE_BYTES_DEFAULT = 20 * 1024 * 1024;

/** What the cache needs of a file whose pages it holds. */
export interface PageOwner {
  /** Writes dirty pages so that they become clean. Throws when the disk does not take them. */
  flushPages(): void;
  /** The slot of `page` is taken away; it was clean. */
  dropPage(page: number): void;
  readonly dirtyPages: number;
}

/** A bounded set of page slots with clock (second chance) replacement. Dirty pages are never taken. */
export class PageCache {
  readonly bytes: Uint8Array;
  /** The same memory; signed, because the engine keeps numbers past 2^31 as doubles. */
  readonly words: Int32Array;
  /** 1 = changed since last written. */
  readonly dirty: Uint8Array;
  /** 1 = used since the clock hand passed. */
  readonly used: Uint8Array;
  readonly #pages: Int32Array;
  readonly #owners: (PageOwner | undefined)[];
  readonly #slots: number;
  /** Slots given back, to be taken before the hand moves. */
  readonly #free: number[] = [];
  #hand = 0;
  /** Slots below this have been handed out at least once; the rest of the slab is untouched memory. */
  #touched = 0;

  constructor(bytesMax: number = PAGE_CACHE_BYTES_DEFAULT) {
    this.#slots = Math.max(64, Math.floor(bytesMax / PAGE_SIZE));
    this.bytes = new Uint8Array(this.#slots * PAGE_SIZE);
    this.words = new Int32Array(this.bytes.buffer);
    this.dirty = new Uint8Array(this.#slots);
    this.used = new Uint8Array(this.#slots);
    this.#pages = new Int32Array(this.#slots);
    this.#owners = new Array(this.#slots).fill(undefined);
  }

  /** A slot for `page` of `owner`; its bytes are whatever was there before. */
  acquire(owner: PageOwner, page: number): number {
    const slot =
      this.#free.pop() ?? (this.#touched < this.#slots ? this.#touched++ : this.#evict());
    this.#owners[slot] = owner;
    this.#pages[slot] = page;
    this.dirty[slot] = 0;
    this.used[slot] = 1;
    return slot;
  }

  release(slot: number): void {
    this.#owners[slot] = undefined;
    this.dirty[slot] = 0;
    this.#free.push(slot);
  }

  #evict(): number {
    const slot = this.#findClean();
    if (slot >= 0) return slot;
    this.#cleanSome();
    const cleaned = this.#findClean();
    if (cleaned < 0) throw new RangeError("Cannot find a free page: all are dirty after a flush");
    return cleaned;
  }

  /** Two turns of the clock: the first takes away second chances, the second finds what had none. */
  #findClean(): number {
    for (let step = 2 * this.#slots; step > 0; step--) {
      const slot = this.#hand;
      this.#hand = slot + 1 === this.#slots ? 0 : slot + 1;
      if (this.dirty[slot] === 1) continue;
      if (this.used[slot] === 1) {
        this.used[slot] = 0;
        continue;
      }
      this.#owners[slot]?.dropPage(this.#pages[slot]!);
      return slot;
    }
    return -1;
  }

  /**
   * Has files written, those with the most dirty pages first, until a quarter of the slots is clean: with many
   * files a page at a time would mean looking through all slots for each.
   * @throws the error of the first file that could not be written, when none could
   */
  #cleanSome(): void {
    const owners = [...new Set(this.#owners)].filter((owner) => owner !== undefined);
    owners.sort((a, b) => b.dirtyPages - a.dirtyPages);
    let wanted = this.#slots / 4;
    let failure: unknown;
    for (const owner of owners) {
      if (wanted <= 0) return;
      const count = owner.dirtyPages;
      try {
        owner.flushPages();
        wanted -= count;
      } catch (error) {
        // Another file may lie where there is space.
        failure ??= error;
      }
    }
    if (wanted === this.#slots / 4) throw failure;
  }
}
