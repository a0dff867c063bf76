import { expect, test } from "bun:test";
import { REFUSAL_REASONS } from "../../src/export-format/fields.ts";
import {
  binaryField,
  concat,
  cutEvery,
  parseChunks,
  sampleEntry,
} from "../support/export-stream.ts";
import { REFUSED } from "./refused-entries.ts";

/** FUZZ_ROUNDS=100000 bun test … for a long run. */
const { FUZZ_ROUNDS = "5000", FUZZ_SEED = "1" } = Bun.env;
const ROUNDS = Number(FUZZ_ROUNDS);
const TIMEOUT_MS = 10_000 + ROUNDS * 5;
const SEED = Number(FUZZ_SEED);

const CORPUS: Uint8Array[] = [
  concat(...[0, 1, 2].map((index) => sampleEntry(index))),
  concat(
    sampleEntry(0, { fields: [binaryField("B", "one\n\ntwo=2\n"), binaryField("E", ""), "T=="] }),
    sampleEntry(1, { identity: false }),
    "MESSAGE=inherits\n\n",
  ),
  ...REFUSED.map(([, bytes]) => concat(sampleEntry(0), bytes, sampleEntry(1))).filter(
    (bytes) => bytes.length < 2000,
  ),
];
/** Bytes that mean something in the format, so that changes hit it more often. */
const TOKENS = ["\n", "\n\n", "\r\n", "=", "_", "__", "\0", "0", "A\n", "A=", "\n\0\0\0\0\0\0\0\0"];

/** Numbers 0 .. below, the same for the same seed (mulberry32). */
function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

function mutate(bytes: Uint8Array, random: (below: number) => number): Uint8Array {
  const at = random(bytes.length + 1);
  const end = Math.min(bytes.length, at + random(40));
  const [before, cut, after] = [
    bytes.subarray(0, at),
    bytes.subarray(at, end),
    bytes.subarray(end),
  ];
  switch (random(6)) {
    case 0: // one bit
      return concat(
        before,
        cut.map((byte, i) => (i === 0 ? byte ^ (1 << random(8)) : byte)),
        after,
      );
    case 1: // a byte of any value
      return concat(before, Uint8Array.of(random(256)), cut.subarray(1), after);
    case 2: // left out
      return concat(before, after);
    case 3: // doubled
      return concat(before, cut, cut, after);
    case 4: // ended
      return concat(before);
    default:
      return concat(before, TOKENS[random(TOKENS.length)] ?? "", cut, after);
  }
}

test(
  `${ROUNDS} damaged streams give entries and refusals, the same for every split`,
  () => {
    const reasons = new Set<string>();
    let entries = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const random = randomFrom(SEED * 1_000_003 + round);
      let bytes = CORPUS[random(CORPUS.length)] ?? new Uint8Array(0);
      for (let i = random(4); i >= 0; i--) bytes = mutate(bytes, random);
      const limits = random(4) === 0 ? { fieldsMax: 4, fieldSizeMax: 150, entrySizeMax: 400 } : {};
      const whole = parseChunks([bytes], limits);
      const split = parseChunks(cutEvery(bytes, 1 + random(50)), limits);
      if (!Bun.deepEquals(split, whole)) {
        expect({ round, stream: Buffer.from(bytes).toString("latin1"), ...split }).toEqual(
          whole as never,
        );
      }
      for (const { reason, offset } of whole.refusals) {
        reasons.add(reason);
        expect(offset).toBeLessThanOrEqual(bytes.length);
      }
      for (const found of whole.entries) {
        expect(found.realtimeUsec).toBeGreaterThan(0);
        expect(found.fields.length).toBeGreaterThan(0);
        expect(found.bootId).not.toBe("0".repeat(32));
      }
      entries += whole.entries.length;
    }
    expect(entries).toBeGreaterThan(ROUNDS / 2);
    // The corpus has them all; damage alone would hide it if one could no longer be reached.
    if (ROUNDS >= 5000) expect([...reasons].sort()).toEqual([...REFUSAL_REASONS].sort());
  },
  TIMEOUT_MS,
);

test("every truncation of a stream", () => {
  for (const bytes of CORPUS) {
    const whole = parseChunks([bytes]);
    for (let length = 0; length < bytes.length; length++) {
      const cut = parseChunks([bytes.subarray(0, length)]);
      expect(cut.entries).toEqual(whole.entries.slice(0, cut.entries.length));
      expect(cut.entries.length + cut.refusals.length).toBeLessThanOrEqual(
        whole.entries.length + whole.refusals.length,
      );
    }
  }
});
