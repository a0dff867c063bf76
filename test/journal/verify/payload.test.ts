import { expect, test } from "bun:test";
import { ObjectFlag } from "../../../src/journal/format.ts";
import { Unpacker } from "../../../src/journal/verify/payload.ts";

test("Unpacker leaves out, and counts, what is over its budget of one GiB and 64 times the file", () => {
  const size = 2 ** 26;
  const bomb = Bun.zstdCompressSync(Buffer.alloc(size));
  const unpacker = new Unpacker(size / 64);
  for (let i = 0; i <= 2 ** 30 / size; i++) {
    expect(unpacker.unpack(ObjectFlag.zstd, bomb).kind).toBe("raw");
  }
  expect(unpacker.unchecked).toBe(0);
  expect(unpacker.unpack(ObjectFlag.zstd, bomb)).toEqual({ kind: "unchecked" });
  expect(unpacker.unpack(ObjectFlag.lz4, Buffer.alloc(16))).toEqual({ kind: "unchecked" });
  expect(unpacker.unchecked).toBe(2);
});
