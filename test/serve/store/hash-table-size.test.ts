import { expect, test } from "bun:test";
import { nextDataBuckets } from "../../../src/serve/store/hash-table-size.ts";

const MIB = 1024 * 1024;

test.each([
  ["the first file of a sender is small", 0, 128 * MIB, 8191],
  ["a full one is followed by one of four times the room", 6000, 128 * MIB, 32_000],
  ["what systemd gives a file of that size is the most", 1_000_000, 128 * MIB, 233_016],
  ["the smallest file has systemd's smallest table", 0, 512 * 1024, 2047],
  ["bucket numbers stay exact", 100_000_000, 4096 * MIB, 2 ** 21 - 1],
])("nextDataBuckets(): %s", (_, previous, size, buckets) => {
  expect(nextDataBuckets(previous, size)).toBe(buckets);
});
