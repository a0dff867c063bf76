/** What the verifier is not given yet: the payloads of journals by writers that use XZ or LZ4. */
import { decodeLz4Block } from "../../src/bytes/lz4-block.ts";
import { unpackXz } from "../../src/bytes/xz/unpack.ts";
import type { Decompress } from "../../src/journal/verify/payload.ts";

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
