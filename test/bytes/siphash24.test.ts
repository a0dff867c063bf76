import { describe, expect, test } from "bun:test";
import { hashSiphash24, siphash } from "../../src/bytes/siphash24.ts";
import { viewOf } from "../../src/bytes/view.ts";

/** vectors.h of the reference implementation: message 00 01 … of length i, key 00 01 … 0f. */
const REFERENCE = [
  "310e0edd47db6f72",
  "fd67dc93c539f874",
  "5a4fa9d909806c0d",
  "2d7efbd796666785",
  "b7877127e09427cf",
  "8da699cd64557618",
  "cee3fe586e46c9cb",
  "37d1018bf50002ab",
  "6224939a79f5f593",
  "b0e4a90bdf82009e",
  "f3b9dd94c5bb5d7a",
  "a7ad6b22462fb3f4",
  "fbe50e86bc8f1e75",
  "903d84c02756ea14",
  "eef27a8e90ca23f7",
  "e545be4961ca29a1",
  "db9bc2577fcc2a3f",
  "9447be2cf5e99a69",
  "9cd38d96f0b3c14b",
  "bd6179a71dc96dbb",
  "98eea21af25cd6be",
  "c7673b2eb0cbf2d0",
  "883ea3e395675393",
  "c8ce5ccd8c030ca8",
];

const KEY = Uint8Array.from({ length: 16 }, (_, i) => i);

describe("hashSiphash24()", () => {
  test("matches the reference vectors", () => {
    const message = Uint8Array.from({ length: REFERENCE.length }, (_, i) => i);
    const hashes = REFERENCE.map((_, length) => {
      hashSiphash24(KEY, viewOf(message), 0, length);
      return Buffer.from(Uint32Array.of(siphash.low, siphash.high).buffer).toString("hex");
    });
    expect(hashes).toEqual(REFERENCE);
  });

  test("agrees with the definition in 64-bit arithmetic, for any key, length and start", () => {
    const key = Uint8Array.from({ length: 16 }, (_, i) => 255 - i * 13);
    const bytes = Uint8Array.from({ length: 700 }, (_, i) => (i * 167 + (i >> 3)) & 0xff);
    for (let length = 0; length < 600; length++) {
      const start = length % 17;
      hashSiphash24(key, viewOf(bytes), start, start + length);
      const hash = (BigInt(siphash.high >>> 0) << 32n) | BigInt(siphash.low >>> 0);
      expect(hash).toBe(defineSiphash24(key, bytes.subarray(start, start + length)));
    }
  });
});

/** https://www.aumasson.jp/siphash/siphash.pdf section 2, word for word. */
function defineSiphash24(key: Uint8Array, message: Uint8Array): bigint {
  const u64 = (value: bigint): bigint => BigInt.asUintN(64, value);
  const rotate = (value: bigint, bits: bigint): bigint =>
    u64((value << bits) | (value >> (64n - bits)));
  const read = (bytes: Uint8Array, at: number): bigint => Buffer.from(bytes).readBigUInt64LE(at);
  const k0 = read(key, 0);
  const k1 = read(key, 8);
  let [v0, v1, v2, v3]: [bigint, bigint, bigint, bigint] = [
    k0 ^ 0x736f6d6570736575n,
    k1 ^ 0x646f72616e646f6dn,
    k0 ^ 0x6c7967656e657261n,
    k1 ^ 0x7465646279746573n,
  ];
  const round = (): void => {
    v0 = u64(v0 + v1);
    v2 = u64(v2 + v3);
    v1 = rotate(v1, 13n) ^ v0;
    v3 = rotate(v3, 16n) ^ v2;
    v0 = rotate(v0, 32n);
    v2 = u64(v2 + v1);
    v0 = u64(v0 + v3);
    v1 = rotate(v1, 17n) ^ v2;
    v3 = rotate(v3, 21n) ^ v0;
    v2 = rotate(v2, 32n);
  };
  const padded = new Uint8Array(Math.floor(message.length / 8) * 8 + 8);
  padded.set(message);
  padded[padded.length - 1] = message.length & 0xff;
  for (let at = 0; at < padded.length; at += 8) {
    const word = read(padded, at);
    v3 ^= word;
    round();
    round();
    v0 ^= word;
  }
  v2 ^= 0xffn;
  for (let i = 0; i < 4; i++) round();
  return v0 ^ v1 ^ v2 ^ v3;
}
