import { expect, test } from "bun:test";
import { Crc64 } from "../../../src/bytes/xz/crc64.ts";

test("the check value of CRC-64/XZ, over any split", () => {
  const bytes = new TextEncoder().encode("123456789");
  for (let at = 0; at <= bytes.length; at++) {
    const crc = new Crc64();
    crc.update(bytes.subarray(0, at));
    crc.update(bytes.subarray(at));
    // 0x995dc9bbdf1939fa, little-endian.
    expect(crc.digest().toHex()).toBe("fa3919dfbbc95d99");
  }
});
