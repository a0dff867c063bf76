import { describe, expect, test } from "bun:test";
import { PageCache, type PageOwner } from "../../src/journal/page-cache.ts";

const SLOTS = 64;

/** Takes pages of a cache; its flush cleans them, or fails. */
class Owner implements PageOwner {
  readonly slots = new Map<number, number>();
  readonly dropped: number[] = [];
  flushes = 0;
  error: Error | undefined;
  readonly #cache: PageCache;

  constructor(cache: PageCache) {
    this.#cache = cache;
  }

  get dirtyPages(): number {
    return [...this.slots.values()].filter((slot) => this.#cache.dirty[slot] === 1).length;
  }

  take(page: number, isDirty: boolean): number {
    const slot = this.#cache.acquire(this, page);
    this.slots.set(page, slot);
    if (isDirty) this.#cache.dirty[slot] = 1;
    return slot;
  }

  flushPages(): void {
    this.flushes++;
    if (this.error !== undefined) throw this.error;
    for (const slot of this.slots.values()) this.#cache.dirty[slot] = 0;
  }

  dropPage(page: number): void {
    this.slots.delete(page);
    this.dropped.push(page);
  }
}

describe("PageCache", () => {
  test("has 64 slots at least, each its own", () => {
    const cache = new PageCache(0);
    const owner = new Owner(cache);
    for (let page = 0; page < SLOTS; page++) owner.take(page, false);
    expect(new Set(owner.slots.values()).size).toBe(SLOTS);
    expect(owner.dropped).toEqual([]);
    owner.take(SLOTS, false);
    expect(owner.dropped).toHaveLength(1);
  });

  test("takes away the page not used since the hand passed", () => {
    const cache = new PageCache(0);
    const owner = new Owner(cache);
    for (let page = 0; page < SLOTS; page++) owner.take(page, false);
    owner.take(100, false); // every page had its second chance
    const kept = owner.slots.get(1);
    if (kept === undefined) throw new Error("page 1 is gone");
    cache.used[kept] = 1;
    owner.take(101, false);
    expect(owner.dropped).toEqual([0, 2]);
  });

  test("never takes a dirty page without a flush", () => {
    const cache = new PageCache(0);
    const owner = new Owner(cache);
    for (let page = 0; page < SLOTS; page++) owner.take(page, page !== 40);
    owner.take(100, true);
    expect([owner.dropped, owner.flushes]).toEqual([[40], 0]);
    owner.take(101, true);
    expect([owner.dropped.length, owner.flushes]).toEqual([2, 1]);
  });

  test("has the files with the most dirty pages written, until a quarter of the slots is clean", () => {
    const cache = new PageCache(0);
    const owners = [30, 4, 20, 10].map((pages) => {
      const owner = new Owner(cache);
      for (let page = 0; page < pages; page++) owner.take(page, true);
      return owner;
    });
    new Owner(cache).take(0, true);
    expect(owners.map(({ flushes }) => flushes)).toEqual([1, 0, 0, 0]);
    for (let page = 0; page < 29; page++) new Owner(cache).take(page, true);
    new Owner(cache).take(0, true);
    expect(owners.map(({ flushes }) => flushes)).toEqual([1, 0, 1, 0]);
  });

  test("goes on to another file when one cannot be written, and fails when none can", () => {
    const cache = new PageCache(0);
    const [full, other] = [new Owner(cache), new Owner(cache)];
    for (let page = 0; page < 40; page++) full.take(page, true);
    for (let page = 0; page < 24; page++) other.take(page, true);
    full.error = new Error("ENOSPC");
    const third = new Owner(cache);
    third.take(0, false);
    expect([full.flushes, other.flushes, other.dropped.length]).toEqual([1, 1, 1]);
    for (const slot of other.slots.values()) cache.dirty[slot] = 1;
    for (const slot of third.slots.values()) cache.dirty[slot] = 1;
    other.error = new Error("EIO");
    third.error = new Error("EIO");
    expect(() => third.take(1, false)).toThrow("ENOSPC");
    expect(third.slots.size).toBe(1);
    full.error = undefined;
    third.take(1, false);
    expect(third.slots.size).toBe(2);
  });

  test("hands out slots that were given back before it takes any away", () => {
    const cache = new PageCache(0);
    const owner = new Owner(cache);
    for (let page = 0; page < SLOTS; page++) owner.take(page, true);
    const slot = owner.slots.get(5);
    if (slot === undefined) throw new Error("page 5 is gone");
    owner.slots.delete(5);
    cache.release(slot);
    expect(owner.take(100, false)).toBe(slot);
    expect([owner.flushes, owner.dropped]).toEqual([0, []]);
    expect(cache.dirty[slot]).toBe(0);
  });
});
