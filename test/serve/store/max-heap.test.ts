import { expect, test } from "bun:test";
import fc from "fast-check";
import { MaxHeap } from "../../../src/serve/store/max-heap.ts";

test("MaxHeap gives the greatest item while the top shrinks or goes", () => {
  const step = fc.record({ shrinkBy: fc.nat(20), remove: fc.boolean() });
  fc.assert(
    fc.property(fc.array(fc.nat(50)), fc.array(step), (sizes, steps) => {
      const left = sizes.map((size) => ({ size }));
      const heap = new MaxHeap(left, (a, b) => a.size - b.size);
      for (const { shrinkBy, remove } of steps) {
        const top = heap.top();
        if (top === undefined) break;
        expect(top.size).toBe(Math.max(...left.map(({ size }) => size)));
        if (remove) {
          left.splice(left.indexOf(top), 1);
          heap.removeTop();
        } else {
          top.size -= shrinkBy;
          heap.sinkTop();
        }
      }
      while (left.length > 0) {
        const top = heap.top();
        expect(top?.size).toBe(Math.max(...left.map(({ size }) => size)));
        left.splice(left.indexOf(top as { size: number }), 1);
        heap.removeTop();
      }
      expect(heap.top()).toBeUndefined();
    }),
  );
});
