import { describe, expect, test } from "bun:test";
import { createDecoder } from "../../../src/serve/decoding/decoder.ts";
import {
  encodeFrames,
  encodeFramesProbe,
  encodeProbe,
  encodeWhole,
} from "../../../src/upload/http/encode-body.ts";
import { UPLOAD_ENCODINGS, type UploadEncoding } from "../../../src/upload/settings.ts";
import { concat, exportText, noise } from "../../support/encoded-bodies.ts";

/** What fits into a TLS record. */
const FRAME_SIZE_MAX = 16 * 1024 - "3fff\r\n\r\n".length;
const TEXT = exportText(700_000);
/** Compresses somewhat, and in parts not at all. */
const MIXED = concat([exportText(50_000), noise(90_000), exportText(150_000, 2), noise(31_000, 2)]);

/** What our receiver makes of a body. */
async function decode(encoding: string, pieces: readonly Uint8Array[]): Promise<Uint8Array> {
  const decoded: Uint8Array[] = [];
  const decoder = createDecoder(encoding, (bytes) => void decoded.push(bytes.slice()));
  for (const piece of pieces) await decoder?.push(piece);
  await decoder?.end();
  return concat(decoded);
}

/** Twice the same, once fast and once small. */
const SETTINGS = UPLOAD_ENCODINGS.flatMap((encoding) =>
  [undefined, 1, 9, 99].map((level): [UploadEncoding, number | undefined] => [encoding, level]),
);

describe.each(SETTINGS)("%s at level %p:", (encoding, level) => {
  const setting = { encoding, level };

  test.each([
    ["text", TEXT],
    ["mixed", MIXED],
  ])("encodeFrames() makes small frames of %s", async (_, body) => {
    const encoded = encodeFrames(body, setting);
    expect(encoded?.isChunked).toBe(true);
    const pieces = encoded?.pieces ?? [];
    expect(Math.max(...pieces.map(({ length }) => length))).toBeLessThanOrEqual(FRAME_SIZE_MAX);
    // Each of them by itself.
    const parts = await Promise.all(pieces.map((piece) => decode(encoding, [piece])));
    expect(Buffer.compare(concat(parts), body)).toBe(0);
    expect(Math.max(...parts.map(({ length }) => length))).toBeLessThanOrEqual(64 * 1024);
  });

  test("encodeWhole() makes one frame, not larger than many", async () => {
    const encoded = encodeWhole(TEXT, setting);
    expect(encoded?.isChunked).toBe(false);
    const pieces = encoded?.pieces ?? [];
    expect(pieces.length).toBe(1);
    expect(Buffer.compare(await decode(encoding, pieces), TEXT)).toBe(0);
    const sizeOfMany = encodeFrames(TEXT, setting)?.pieces.reduce(
      (sum, { length }) => sum + length,
      0,
    );
    expect(pieces[0]?.length).toBeLessThan((sizeOfMany ?? 0) * 1.02);
  });

  test("what does not get smaller is to be sent plain", () => {
    for (const body of [noise(500), noise(200_000), new Uint8Array(0)]) {
      expect(encodeFrames(body, setting)).toBeUndefined();
      expect(encodeWhole(body, setting)).toBeUndefined();
    }
  });

  test("encodeProbe() makes a frame of an empty line in two chunks", async () => {
    const { pieces, isChunked } = encodeProbe(setting);
    expect(isChunked).toBe(true);
    expect(pieces.length).toBe(2);
    expect(pieces.every(({ length }) => length > 0)).toBe(true);
    expect(Buffer.from(await decode(encoding, pieces)).toString()).toBe("\n");
  });

  test("encodeFramesProbe() makes large frames of an entry without fields", async () => {
    const { pieces, isChunked } = encodeFramesProbe(setting);
    expect(isChunked).toBe(true);
    const lines = await Promise.all(pieces.map((piece) => decode(encoding, [piece])));
    expect(Buffer.from(concat(lines)).toString()).toMatch(/^(__CURSOR=\S+\n){3}\n$/);
    for (const piece of pieces.slice(0, 3)) {
      expect(piece.length).toBeGreaterThan(11 * 1024);
      expect(piece.length).toBeLessThanOrEqual(FRAME_SIZE_MAX);
    }
  });
});

test("encodeFrames() makes zstd frames that say how large their content is", () => {
  const [frame = new Uint8Array(0)] =
    encodeFrames(TEXT, { encoding: "zstd", level: 3 })?.pieces ?? [];
  // RFC 8878 3.1.1.1: magic, then a descriptor; a size is there unless flag and single-segment bit are 0.
  expect((frame[4] ?? 0) & 0b1110_0000).not.toBe(0);
});
