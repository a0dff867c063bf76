import { expect, test } from "bun:test";
import { type EntryWindow, isInWindow } from "../../../src/journal/reader/entry-window.ts";

const BOOT = new Int32Array([1, 2, 3, 4]);
const WINDOW: EntryWindow = { fromUsec: 10, untilUsec: 20, bootWords: undefined };

test("a window has both its moments in it", () => {
  const inside = [9, 10, 20, 21].map((realtimeUsec) =>
    isInWindow({ realtimeUsec, bootWords: BOOT }, WINDOW),
  );
  expect(inside).toEqual([false, true, true, false]);
});

test("a window of a boot has no other boot's entries in it", () => {
  const window = { ...WINDOW, bootWords: BOOT };
  const isInside = (bootWords: Int32Array): boolean =>
    isInWindow({ realtimeUsec: 15, bootWords }, window);
  expect(isInside(new Int32Array([1, 2, 3, 4]))).toBe(true);
  expect(isInside(new Int32Array([1, 2, 3, 5]))).toBe(false);
});
