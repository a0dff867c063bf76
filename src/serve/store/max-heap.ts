/** A binary heap that gives the greatest item first. */
export class MaxHeap<T> {
  readonly #items: T[] = [];
  readonly #compare: (a: T, b: T) => number;

  /** @param compare positive when `a` is greater; its answers may change for the top item only. */
  constructor(items: Iterable<T>, compare: (a: T, b: T) => number) {
    this.#compare = compare;
    this.#items = [...items].sort((a, b) => compare(b, a)); // sorted, so a heap
  }

  top(): T | undefined {
    return this.#items[0];
  }

  /** Puts the top item, which has become smaller, in its place. */
  sinkTop(): void {
    const items = this.#items;
    const sinking = items[0];
    if (sinking === undefined) return;
    let index = 0;
    for (;;) {
      let childIndex = 2 * index + 1;
      let child = items[childIndex];
      if (child === undefined) break;
      const right = items[childIndex + 1];
      if (right !== undefined && this.#compare(right, child) > 0) {
        child = right;
        childIndex++;
      }
      if (this.#compare(sinking, child) >= 0) break;
      items[index] = child;
      index = childIndex;
    }
    items[index] = sinking;
  }

  removeTop(): void {
    const last = this.#items.pop();
    if (last === undefined || this.#items.length === 0) return;
    this.#items[0] = last;
    this.sinkTop();
  }
}
