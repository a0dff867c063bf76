import { describe, expect, test } from "bun:test";
import { decodeLz4Block, Lz4Block } from "../../src/bytes/lz4-block.ts";
import { exportText, lz4BlockOf, noise, seededRandom } from "../support/encoded-bodies.ts";

const raws = {
  text: exportText(300_000),
  noise: noise(100_000),
  zeros: new Uint8Array(1_000_000),
  "one byte": Uint8Array.of(65),
  nothing: new Uint8Array(0),
};

describe("blocks that lz4(1) makes", () => {
  for (const [name, raw] of Object.entries(raws)) {
    for (const level of ["-1", "-12"]) {
      test(`${name}, level ${level}`, () => {
        const block = lz4BlockOf(raw, level);
        expect(Buffer.compare(decodeLz4Block(block, raw.length) ?? noise(3), raw)).toBe(0);
        expect(decodeLz4Block(block, raw.length + 1)).toBeUndefined();
        expect(decodeLz4Block(block.subarray(0, -1), raw.length)).toBeUndefined();
        expect(decodeLz4Block(Uint8Array.of(...block.subarray(0, 9), 0), 2)).toBeUndefined();
      });
    }
  }
});

test("a smaller size than the block's is refused", () => {
  const block = lz4BlockOf(raws.text);
  for (const size of [0, 1, 1000, raws.text.length - 1]) {
    expect(decodeLz4Block(block, size)).toBeUndefined();
  }
});

const LETTERS = [0x61, 0x62, 0x63, 0x64];
const FIVE = [1, 2, 3, 4, 5];
const malformed: [string, number, number[]][] = [
  ["no token", 4, []],
  ["fewer literals than announced", 4, [0x40, ...LETTERS.slice(1)]],
  ["more literals than fit", 3, [0x40, ...LETTERS]],
  ["an offset of 0", 13, [0x40, ...LETTERS, 0, 0, 0x50, ...FIVE]],
  ["an offset before the start", 13, [0x40, ...LETTERS, 5, 0, 0x50, ...FIVE]],
  ["half an offset", 13, [0x40, ...LETTERS, 4]],
  ["a match longer than the rest", 9, [0x42, ...LETTERS, 4, 0]],
  ["a match at the end", 8, [0x40, ...LETTERS, 4, 0]],
  ["an empty last sequence after a match", 8, [0x40, ...LETTERS, 4, 0, 0]],
  ["endless lengths", 1000, [0xf0, ...new Array(100).fill(255)]],
  ["bytes after the end", 4, [0x40, ...LETTERS, 0]],
];
test.each(malformed)("%s is refused", (_, rawSize, bytes) => {
  expect(decodeLz4Block(Uint8Array.from(bytes), rawSize)).toBeUndefined();
});

test("no more than the announced size comes out", () => {
  for (const bytes of [
    [0x40, ...LETTERS],
    [0x10, ...LETTERS.slice(0, 1), 1, 0, 0x50, ...FIVE],
  ]) {
    const block = new Lz4Block(3, new Uint8Array(100));
    block.decode(Uint8Array.from(bytes));
    expect(block.status).toBe("corrupt");
    expect(block.position).toBeLessThanOrEqual(3);
  }
});

test("a match may overlap what it makes", () => {
  const block = Uint8Array.of(0x44, ...LETTERS, 3, 0, 0x50, ...FIVE);
  const raw = decodeLz4Block(block, 17);
  expect(raw).toEqual(
    Uint8Array.of(...LETTERS, ...[0x62, 0x63, 0x64, 0x62, 0x63, 0x64, 0x62, 0x63], ...FIVE),
  );
});

test("a block decodes in pieces through a window smaller than itself", () => {
  const random = seededRandom(3);
  const block = lz4BlockOf(raws.text);
  const window = new Uint8Array(65_536 + 100);
  const decoder = new Lz4Block(raws.text.length, window);
  const decoded: Uint8Array[] = [];
  for (let at = 0; decoder.status === "open"; ) {
    const start = decoder.position;
    at += decoder.decode(block.subarray(at, at + random() ** 3 * 5000));
    decoded.push(window.slice(start, decoder.position));
    if (decoder.isFull) decoder.slide();
  }
  expect(decoder.status).toBe("done");
  expect(Buffer.compare(Buffer.concat(decoded), raws.text)).toBe(0);
});

test("damaged blocks are refused or decode to the size asked for", () => {
  const random = seededRandom(5);
  const block = lz4BlockOf(raws.text.subarray(0, 3000));
  let refused = 0;
  for (let i = 0; i < 3000; i++) {
    const damaged = Uint8Array.from(block);
    damaged[Math.floor(random() * block.length)] = random() * 256;
    const raw = decodeLz4Block(damaged, 3000);
    if (raw === undefined) refused++;
    else expect(raw).toHaveLength(3000);
  }
  expect(refused).toBeGreaterThan(100);
});
