import { expect, test } from "bun:test";
import { fileIdRound, releaseFileId, takeFileId } from "../../../src/journal/reader/file-ids.ts";

test("takeFileId() never gives an id that is in use, however many were given", () => {
  const [first, second] = [takeFileId(), takeFileId()];
  expect(first).not.toBe(second);
  const round = fileIdRound();
  const given = new Set<number>();
  for (let i = 0; i < 300_000; i++) {
    const id = takeFileId();
    given.add(id);
    releaseFileId(id);
  }
  expect(fileIdRound()).toBe(round + 2);
  expect(given.has(first) || given.has(second) || given.has(0)).toBe(false);
  expect(Math.max(...given)).toBeLessThan(2 ** 17);
  releaseFileId(first);
  releaseFileId(second);
});
