/**
 * lz4 as systemd sends it, which is not the LZ4 frame format: a repetition of the raw size (8 bytes,
 * little-endian) and one LZ4 block. The length of the block is not sent; it ends where that many
 * bytes are decoded.
 */

import type { CompressedInput, Decoding } from "../../bytes/compressed-input.ts";
import type { DecodedOutput } from "../../bytes/decoded-output.ts";
import { LZ4_OFFSET_MAX, LZ4_RAW_SIZE_MAX, Lz4Block } from "../../bytes/lz4-block.ts";

const SIZE_FIELD_SIZE = 8;
/** What matches may reach back to, and as much again to decode into. */
const WINDOW_SIZE = 2 * (LZ4_OFFSET_MAX + 1);

export function* decodeLz4(input: CompressedInput, output: DecodedOutput): Decoding {
  if (yield* input.atEnd()) return;
  const window = new Uint8Array(WINDOW_SIZE);
  output.windowBytes = WINDOW_SIZE;
  while (!(yield* input.atEnd())) {
    const rawSize = yield* takeRawSize(input);
    yield* decodeBlock(input, output, new Lz4Block(rawSize, window), window);
  }
}

function* takeRawSize(input: CompressedInput): Decoding<number> {
  const bytes = yield* input.peek(SIZE_FIELD_SIZE);
  const view = new DataView(bytes.buffer, bytes.byteOffset, SIZE_FIELD_SIZE);
  const rawSize = view.getUint32(0, true);
  if (view.getUint32(4, true) !== 0 || rawSize > LZ4_RAW_SIZE_MAX) {
    throw input.syntaxError(
      `a block of more than ${LZ4_RAW_SIZE_MAX} bytes; needed are size and block, not LZ4 frames`,
    );
  }
  input.skip(SIZE_FIELD_SIZE);
  return rawSize;
}

function* decodeBlock(
  input: CompressedInput,
  output: DecodedOutput,
  block: Lz4Block,
  window: Uint8Array,
): Decoding {
  while (block.status === "open") {
    const start = block.position;
    input.skip(block.decode(yield* input.peek(1)));
    yield* output.write(window.subarray(start, block.position));
    if (block.isFull) block.slide();
  }
  if (block.status === "corrupt") throw input.syntaxError("a corrupt block");
}
