import { expect, test } from "bun:test";
import fc from "fast-check";
import { decodeLz4Block } from "../../src/bytes/lz4-block.ts";
import { encodeLz4Block } from "../../src/bytes/lz4-encoder.ts";
import { concat, exportText, noise, pipe } from "../support/encoded-bodies.ts";

const SAMPLES: Record<string, Uint8Array> = {
  nothing: new Uint8Array(0),
  text: exportText(300_000),
  noise: noise(200_000),
  zeros: new Uint8Array(500_000),
  "noise twice, further apart than a match reaches": concat([noise(70_000, 3), noise(70_000, 3)]),
  "noise twice, as far apart as a match reaches": concat([noise(65_535, 4), noise(65_535, 4)]),
  "all sizes of runs": concat(
    Array.from({ length: 300 }, (_, size) => new Uint8Array(size).fill(size)),
  ),
};

test.each(Object.entries(SAMPLES))("encodeLz4Block() makes a block of %s", (_, raw) => {
  expect(decodeLz4Block(encodeLz4Block(raw), raw.length)).toEqual(raw);
});

test("encodeLz4Block() makes a block of whatever it is given", () => {
  const bytes = fc.uint8Array({ maxLength: 400, max: 3 });
  fc.assert(
    fc.property(bytes, (raw) => {
      expect(decodeLz4Block(encodeLz4Block(raw), raw.length)).toEqual(raw);
    }),
    { numRuns: 2000 },
  );
});

test("encodeLz4Block() makes blocks that lz4(1) decodes", () => {
  const raw = exportText(60_000);
  const block = encodeLz4Block(raw);
  const size = new Uint8Array(4);
  new DataView(size.buffer).setUint32(0, block.length, true);
  // Version 1, independent blocks of at most 64 KiB, no checksums; 0x82 is the header's own.
  const frame = concat([
    Uint8Array.of(4, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82),
    size,
    block,
    new Uint8Array(4),
  ]);
  expect(pipe(["lz4", "-dc"], frame)).toEqual(raw);
});

test("encodeLz4Block() compresses text, and lets noise grow by less than one percent", () => {
  expect(encodeLz4Block(exportText(300_000)).length).toBeLessThan(300_000 / 3);
  expect(encodeLz4Block(noise(200_000)).length).toBeLessThan(202_000);
});
