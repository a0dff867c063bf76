import { expect, test } from "bun:test";
import fc from "fast-check";
import { unpackXz } from "../../../src/bytes/xz/unpack.ts";
import { encodeXz } from "../../../src/bytes/xz/xz-encoder.ts";
import { concat, exportText, noise, pipe } from "../../support/encoded-bodies.ts";

const MIB = 1024 * 1024;

/** Chunks of 64 KiB: compressed, plain, and each after the other. */
const SAMPLES: Record<string, Uint8Array> = {
  nothing: new Uint8Array(0),
  "one byte": Uint8Array.of(7),
  text: exportText(300_000),
  "a whole chunk of text": exportText(65_536).slice(0, 65_536),
  zeros: new Uint8Array(MIB),
  noise: noise(200_000),
  "noise, then text": concat([noise(65_536), exportText(100_000)]),
  "text, then noise, then text": concat([
    exportText(65_536).slice(0, 65_536),
    noise(65_536),
    exportText(200_000, 2),
  ]),
  "noise twice, so that matches reach far": concat([noise(150_000, 3), noise(150_000, 3)]),
};

for (const level of [0, 6, 9]) {
  test.each(Object.entries(SAMPLES))(
    `encodeXz() at level ${level} makes a stream of %s`,
    (_, raw) => {
      const stream = encodeXz(raw, level);
      expect(pipe(["xz", "-dc"], stream)).toEqual(raw);
      expect(Buffer.compare(unpackXz(stream, raw.length), raw)).toBe(0);
    },
  );
}

test("encodeXz() makes a stream of whatever it is given", () => {
  const bytes = fc.uint8Array({ maxLength: 600, max: 2 });
  fc.assert(
    fc.property(bytes, (raw) => {
      expect(Buffer.compare(unpackXz(encodeXz(raw), raw.length), raw)).toBe(0);
    }),
    { numRuns: 1000 },
  );
});

test("encodeXz() needs at most a third more than xz(1), and less the higher its level", () => {
  const raw = exportText(MIB);
  const [worst = 0, usual = 0, best = 0] = [0, 6, 9].map((level) => encodeXz(raw, level).length);
  expect(usual).toBeLessThan(pipe(["xz", "-6", "-c"], raw).length * 1.33);
  expect(usual).toBeLessThan(worst);
  expect(best).toBeLessThanOrEqual(usual);
});

test("encodeXz() lets noise grow by less than a thousandth", () => {
  expect(encodeXz(noise(200_000)).length).toBeLessThan(200_200);
});
