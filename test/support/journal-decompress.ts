/** What the verifier is not given yet: the payloads of journals by writers that use XZ or LZ4. */
import { decodeLz4Block } from "../../src/bytes/lz4-block.ts";
import type { Decompress } from "../../src/journal/verify/payload.ts";
import { CompressedInput } from "../../src/serve/decoding/compressed-input.ts";
import { DecodedOutput } from "../../src/serve/decoding/decoded-output.ts";
import { decodeXz } from "../../src/serve/decoding/xz.ts";

export const decompress: Decompress = (algorithm, payload, rawSizeMax) => {
  if (algorithm === "xz") return unpackXz(payload, rawSizeMax);
  if (algorithm === "lz4") return unpackLz4(payload, rawSizeMax);
  return undefined;
};

function unpackLz4(payload: Uint8Array, rawSizeMax: number): Uint8Array {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const rawSize = Number(view.getBigUint64(0, true));
  if (rawSize > rawSizeMax) throw new Error(`it declares ${rawSize} bytes`);
  const raw = decodeLz4Block(payload.subarray(8), rawSize);
  if (raw === undefined) throw new Error(`it is not a block of ${rawSize} bytes`);
  return raw;
}

function unpackXz(payload: Uint8Array, rawSizeMax: number): Uint8Array {
  const pieces: Uint8Array[] = [];
  let rawSize = 0;
  const output = new DecodedOutput((piece) => {
    rawSize += piece.length;
    if (rawSize > rawSizeMax) throw new Error(`it has more than ${rawSizeMax} bytes`);
    pieces.push(piece.slice());
  });
  const input = new CompressedInput("xz");
  input.supply(payload);
  input.end();
  const decoding = decodeXz(input, output);
  // All input is there: what it stops for is only that others get their turn.
  while (decoding.next().done !== true);
  return new Uint8Array(Buffer.concat(pieces));
}
