import { describe, expect, test } from "bun:test";
import { hashJenkins, jenkins } from "../../src/bytes/lookup3.ts";
import { viewOf } from "../../src/bytes/view.ts";

function hash(bytes: Uint8Array, start = 0, end = bytes.length): string {
  hashJenkins(viewOf(bytes), start, end);
  const words = [jenkins.high, jenkins.low];
  return words.map((word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
}

describe("hashJenkins()", () => {
  test("matches the values of driver5() in lookup3.c", () => {
    expect(hash(new Uint8Array(0))).toBe("deadbeefdeadbeef");
    expect(hash(new TextEncoder().encode("Four score and seven years ago"))).toBe(
      "17770551ce7226e6",
    );
  });

  test("agrees with the definition byte by byte, for any length and start", () => {
    const bytes = Uint8Array.from({ length: 300 }, (_, i) => (i * 197 + (i >> 2)) & 0xff);
    for (let length = 0; length < 250; length++) {
      const start = length % 13;
      expect(hash(bytes, start, start + length)).toBe(
        defineLookup3(bytes.subarray(start, start + length)),
      );
    }
  });
});

/** hashlittle2() of http://burtleburtle.net/bob/c/lookup3.c in unbounded integers. */
function defineLookup3(key: Uint8Array): string {
  const u32 = (value: bigint): bigint => BigInt.asUintN(32, value);
  const rotate = (value: bigint, bits: bigint): bigint =>
    u32((value << bits) | (value >> (32n - bits)));
  const initial = u32(0xdeadbeefn + BigInt(key.length));
  let [a, b, c] = [initial, initial, initial];
  for (let at = 0; at < key.length; at += 12) {
    const block = Buffer.alloc(12);
    block.set(key.subarray(at, at + 12));
    a = u32(a + BigInt(block.readUInt32LE(0)));
    b = u32(b + BigInt(block.readUInt32LE(4)));
    c = u32(c + BigInt(block.readUInt32LE(8)));
    if (key.length - at > 12) {
      for (const bits of [4n, 6n, 8n, 16n, 19n, 4n]) {
        a = u32(a - c) ^ rotate(c, bits);
        c = u32(c + b);
        [a, b, c] = [b, c, a];
      }
    } else {
      for (const bits of [14n, 11n, 25n, 16n, 4n, 14n, 24n]) {
        c = u32((c ^ b) - rotate(b, bits));
        [a, b, c] = [b, c, a];
      }
      // Seven turns are two rounds and one: turn the names back.
      [a, b, c] = [c, a, b];
    }
  }
  return [c, b].map((word) => word.toString(16).padStart(8, "0")).join("");
}
