import { describe, expect, test } from "bun:test";
import { unpackXz } from "../../../src/bytes/xz/unpack.ts";
import { AgentError } from "../../../src/errors.ts";
import { concat, exportText, noise, pipe, seededRandom } from "../../support/encoded-bodies.ts";

/** As systemd's writers pack fields: one stream without checksum. */
function pack(raw: Uint8Array): Uint8Array {
  return pipe(["xz", "-c", "--check=none", "--lzma2=preset=0,dict=1MiB"], raw);
}

function failure(payload: Uint8Array, sizeMax: number): AgentError {
  try {
    unpackXz(payload, sizeMax);
  } catch (error) {
    if (error instanceof AgentError) return error;
    throw error;
  }
  throw new Error("it was unpacked");
}

test.each([0, 1, 512, 70_000, 3_000_000])("%d bytes come back as they were", (size) => {
  for (const raw of [exportText(size).subarray(0, size), noise(size), new Uint8Array(size)]) {
    expect(Buffer.compare(unpackXz(pack(raw), size), raw)).toBe(0);
  }
});

test("the result is memory of its own, and the payload stays as it was", () => {
  const payload = pack(exportText(600));
  const before = payload.toHex();
  const first = unpackXz(payload, 10_000);
  const expected = first.toHex();
  unpackXz(pack(noise(600)), 10_000);
  expect(first.toHex()).toBe(expected);
  expect(first.buffer.byteLength).toBe(first.length);
  expect(payload.toHex()).toBe(before);
});

describe("refused are", () => {
  const raw = exportText(5000);
  const payload = pack(raw);

  test("payloads of more than the maximum, by one byte or by far", () => {
    expect(unpackXz(payload, raw.length)).toHaveLength(raw.length);
    expect(failure(payload, raw.length - 1).code).toBe("E_LIMIT");
    const bomb = failure(pack(new Uint8Array(64_000_000)), 1000);
    expect(bomb.code).toBe("E_LIMIT");
    expect(bomb.message).toBe("Cannot decode xz data: it has more than 1000 bytes");
  });

  test("payloads cut anywhere", () => {
    for (let size = 1; size < payload.length; size++) {
      const { code, message } = failure(payload.subarray(0, size), raw.length);
      expect(code).toBe("E_EXPORT_SYNTAX");
      expect(message).toStartWith("Cannot decode xz data: ");
    }
  });

  test("stray bytes behind", () => {
    expect(failure(concat([payload, Uint8Array.of(1)]), raw.length).code).toBe("E_EXPORT_SYNTAX");
  });

  test("damage, with nothing but an AgentError", () => {
    const random = seededRandom(3);
    for (let i = 0; i < 2000; i++) {
      const damaged = Uint8Array.from(payload);
      damaged[Math.floor(random() * damaged.length)] = random() * 256;
      try {
        expect(unpackXz(damaged, 2 * raw.length).length).toBeLessThanOrEqual(2 * raw.length);
      } catch (error) {
        expect(error).toBeInstanceOf(AgentError);
      }
    }
  });
});
