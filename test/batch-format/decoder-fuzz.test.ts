import { expect, test } from "bun:test";
import { isFieldName } from "../../src/journal/field-name.ts";
import {
  block,
  type Decoded,
  decodeAll,
  decodeChunks,
  type EntryContent,
  encodeBatch,
} from "../support/batch-bodies.ts";
import { concat, cutEvery } from "../support/export-stream.ts";
import { hostEntries, toEntry } from "../support/journal-entries.ts";

/** FUZZ_ROUNDS=100000 bun test … for a long run. */
const { FUZZ_ROUNDS = "4000", FUZZ_SEED = "1" } = Bun.env;
const ROUNDS = Number(FUZZ_ROUNDS);
const SEED = Number(FUZZ_SEED);

const CORPUS: Uint8Array[] = [
  encodeBatch(hostEntries(5).map((plain) => toEntry(plain))),
  concat(
    block({ definitions: ["A=1", "_BOOT_ID=x", `B=${"\0".repeat(20)}`], entries: [{}, {}] }),
    block({ definitions: ["C=1"], entries: [{ fields: [0, 1, 2, 3] }, { seqnum: 0, flags: 1 }] }),
    block({ entries: [{ fields: [3, 3, 3] }] }),
  ),
];
const WORDS = [0, 1, 2, 7, 8, 16, 24, 88, 0x7fffffff, 0x80000000, 0xffffffff, 0x3142414a];

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
  const copy = bytes.slice();
  const at = random(Math.max(1, bytes.length));
  const word = at & ~3;
  switch (random(6)) {
    case 0: // one bit
      copy[at] = (copy[at] ?? 0) ^ (1 << random(8));
      return copy;
    case 1: // a word that means something
      if (word + 4 > copy.length) return copy;
      new DataView(copy.buffer).setUint32(word, WORDS[random(WORDS.length)] ?? 0, true);
      return copy;
    case 2: // a word a little larger or smaller
      if (word + 4 > copy.length) return copy;
      new DataView(copy.buffer).setUint32(word, (copy[word] ?? 0) + random(17) - 8, true);
      return copy;
    case 3: // cut, mostly at a multiple of 8
      return copy.subarray(0, random(3) === 0 ? at : at & ~7);
    case 4: // left out
      return concat(copy.subarray(0, at & ~7), copy.subarray((at & ~7) + 8 * random(4)));
    default: // doubled
      return concat(copy.subarray(0, (at & ~7) + 8), copy.subarray(at & ~7));
  }
}

/** What of the decoded entries must not be stored. */
function faultOf(entry: EntryContent): string | undefined {
  const { realtimeUsec, monotonicUsec, seqnum, fields } = entry;
  if (!Number.isSafeInteger(realtimeUsec) || realtimeUsec < 1) return "time";
  if (!Number.isSafeInteger(monotonicUsec) || monotonicUsec < 0) return "monotonic time";
  if (!Number.isSafeInteger(seqnum) || seqnum < 0) return "number";
  if (entry.bootId === "0".repeat(32) || entry.seqnumId === "0".repeat(32)) return "id";
  if (fields.length === 0 || fields.length > 1088) return "fields";
  for (const [text, nameLength] of fields) {
    const bytes = Buffer.from(String(text), "latin1");
    const end = Number(nameLength);
    const isNamed = isFieldName(bytes, 0, end) && bytes[end] === 0x3d;
    if (!isNamed || String(text).startsWith("__")) return `field ${text}`;
  }
  return undefined;
}

test(
  `${ROUNDS} damaged bodies give what is sound, the same for every split`,
  () => {
    const errors = new Set<string>();
    const reasons = new Set<string>();
    let entries = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const random = randomFrom(SEED * 1_000_003 + round);
      let body = CORPUS[random(CORPUS.length)] ?? new Uint8Array(0);
      for (let i = random(4); i >= 0; i--) body = mutate(body, random);
      const whole = decodeChunks([body]);
      const split: Decoded = decodeChunks(cutEvery(body, 1 + random(50)));
      if (!Bun.deepEquals(split, whole)) {
        expect({ round, ...split }).toEqual({ round, ...whole });
      }
      if (whole.error !== undefined) errors.add(whole.error.slice(0, 16));
      for (const { reason } of whole.refusals) reasons.add(reason);
      if (whole.error !== undefined || whole.trailingBytes > 0) continue;
      const found = decodeAll(body);
      entries += found.length;
      for (const entry of found) expect(faultOf(entry)).toBeUndefined();
    }
    expect(entries).toBeGreaterThan(ROUNDS / 4);
    expect([...errors].sort()).toEqual(["E_EXPORT_SYNTAX:"]);
    expect(reasons.size).toBeGreaterThan(4);
  },
  10_000 + ROUNDS * 5,
);

test("every truncation of a body gives its whole blocks, and the size of the rest", () => {
  for (const body of CORPUS) {
    const whole = decodeChunks([body]);
    for (let length = 0; length < body.length; length++) {
      const cut = decodeChunks([body.subarray(0, length)]);
      expect(cut.error).toBeUndefined();
      expect(cut.blocks.length + cut.trailingBytes).toBe(length);
      expect(whole.blocks).toStartWith(cut.blocks);
    }
  }
});
