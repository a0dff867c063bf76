/**
 * zstd: a concatenation of frames and skippable frames (RFC 8878 3.1). The runtime's decompressor takes
 * a body that stops in mid-frame for a complete one, so we follow frames and blocks ourselves.
 */
import { constants, createZstdDecompress, zstdDecompressSync } from "node:zlib";
import type { CompressedInput, Decoding } from "../../bytes/compressed-input.ts";
import type { DecodedOutput } from "../../bytes/decoded-output.ts";
import { reasonOf } from "../../errors.ts";
import { ZLIB_CHUNK_SIZE, ZlibStream } from "./zlib-stream.ts";

const FRAME_MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50;
const SKIPPABLE_MAGIC_MASK = 0xfffffff0;
const BLOCK_HEADER_SIZE = 3;
const CHECKSUM_SIZE = 4;
/** Block_Maximum_Size. */
const BLOCK_SIZE_MAX = 128 * 1024;

/** Largest window, as systemd's: `zstd --long=26` fits. */
const WINDOW_LOG_MAX = 26;

/** Frames that decode to at most this are decoded at once, several times faster than a stream. */
const WHOLE_FRAME_CONTENT_MAX = 1024 * 1024;
/** …if they are not padded with empty blocks. */
const WHOLE_FRAME_SIZE_MAX = WHOLE_FRAME_CONTENT_MAX + 64 * 1024;

interface FrameHeader {
  /** Bytes of the header, magic number included. */
  size: number;
  windowSize: number;
  /** Frame_Content_Size, undefined if the encoder did not know. */
  contentSize: number | undefined;
  hasChecksum: boolean;
}

export function* decodeZstd(input: CompressedInput, output: DecodedOutput): Decoding {
  while (!(yield* input.atEnd())) {
    const magic = readUint32(yield* input.peek(4), 0);
    if (magic === FRAME_MAGIC) {
      yield* decodeFrame(input, output);
    } else if ((magic & SKIPPABLE_MAGIC_MASK) === SKIPPABLE_MAGIC) {
      const size = readUint32(yield* input.peek(8), 4);
      yield* input.discard(8 + size);
    } else {
      throw input.syntaxError("no frame here");
    }
  }
}

function* decodeFrame(input: CompressedInput, output: DecodedOutput): Decoding {
  const header = yield* peekFrameHeader(input);
  if (header.windowSize > 2 ** WINDOW_LOG_MAX) {
    throw input.limitError(
      `a frame needs a window of ${header.windowSize} bytes, at most ${2 ** WINDOW_LOG_MAX} are allowed`,
    );
  }
  // An encoder that declares the size made the frame in one piece: its end is on the way. Without a
  // size it may be a live stream of which every block counts now.
  if (header.contentSize !== undefined && header.contentSize <= WHOLE_FRAME_CONTENT_MAX) {
    const size = yield* measureFrame(input, header);
    if (size !== undefined) {
      yield* decodeWholeFrame(input, output, size, header.contentSize);
      return;
    }
  }
  yield* streamFrame(input, output, header);
}

/** The header of the frame that begins here, which is not read yet. */
function* peekFrameHeader(input: CompressedInput): Decoding<FrameHeader> {
  const descriptor = (yield* input.peek(5))[4] ?? 0;
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const sizeFlag = descriptor >> 6;
  const windowAt = 5;
  const dictionaryIdAt = windowAt + (isSingleSegment ? 0 : 1);
  const contentSizeAt = dictionaryIdAt + ([0, 1, 2, 4][descriptor & 3] ?? 0);
  const contentSizeWidth = sizeFlag === 0 ? (isSingleSegment ? 1 : 0) : 1 << sizeFlag;
  const size = contentSizeAt + contentSizeWidth;

  const bytes = yield* input.peek(size);
  let contentSize: number | undefined;
  if (contentSizeWidth > 0) {
    contentSize = contentSizeWidth === 2 ? 256 : 0;
    for (let i = 0; i < contentSizeWidth; i++) {
      contentSize += (bytes[contentSizeAt + i] ?? 0) * 2 ** (8 * i);
    }
  }
  return {
    size,
    contentSize,
    windowSize: isSingleSegment ? (contentSize ?? 0) : decodeWindowSize(bytes[windowAt] ?? 0),
    hasChecksum: (descriptor & 4) !== 0,
  };
}

/** Window_Descriptor: five bits of exponent, three of mantissa. */
function decodeWindowSize(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >> 3));
  return base + (base / 8) * (descriptor & 7);
}

/** Size of the frame that begins here, waiting for its last block; undefined if it is too long. */
function* measureFrame(input: CompressedInput, header: FrameHeader): Decoding<number | undefined> {
  for (let size = header.size; ; ) {
    const block = readBlockHeader(yield* input.peek(size + BLOCK_HEADER_SIZE), size);
    size += block.size;
    if (size > WHOLE_FRAME_SIZE_MAX) return undefined;
    if (block.isLast) return size + (header.hasChecksum ? CHECKSUM_SIZE : 0);
  }
}

function* decodeWholeFrame(
  input: CompressedInput,
  output: DecodedOutput,
  size: number,
  contentSize: number,
): Decoding {
  const frame = (yield* input.peek(size)).subarray(0, size);
  let content: Uint8Array;
  try {
    // 0 stands for "no limit" here.
    content = zstdDecompressSync(frame, { maxOutputLength: Math.max(contentSize, 1) });
  } catch (error) {
    throw input.syntaxError(reasonOf(error), error);
  }
  if (content.length !== contentSize) {
    throw input.syntaxError(
      `a frame decodes to ${content.length} bytes, ${contentSize} are declared`,
    );
  }
  input.skip(size);
  yield* output.write(content);
}

/** Decodes a frame as its bytes arrive. */
function* streamFrame(
  input: CompressedInput,
  output: DecodedOutput,
  header: FrameHeader,
): Decoding {
  const decompressor = createZstdDecompress({
    chunkSize: ZLIB_CHUNK_SIZE,
    params: { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG_MAX },
  });
  const stream = new ZlibStream(decompressor, input, output);
  output.windowBytes = header.windowSize + BLOCK_SIZE_MAX + ZLIB_CHUNK_SIZE;
  try {
    let isLast = false;
    /** Bytes until the next block header, or until the end after the last block. */
    let left = header.size;
    while (left > 0 || !isLast) {
      const bytes = yield* input.peek(left > 0 ? 1 : BLOCK_HEADER_SIZE);
      while (!isLast && left + BLOCK_HEADER_SIZE <= bytes.length) {
        const block = readBlockHeader(bytes, left);
        isLast = block.isLast;
        left += block.size + (isLast && header.hasChecksum ? CHECKSUM_SIZE : 0);
      }
      const count = Math.min(left, bytes.length);
      const written = stream.write(bytes.subarray(0, count));
      input.skip(count);
      left -= count;
      yield written;
    }
    yield stream.end();
  } finally {
    stream.destroy();
    output.windowBytes = 0;
  }
}

/** `size` is that of the block, header included. Whether the block is valid is for zstd to say. */
function readBlockHeader(bytes: Uint8Array, at: number): { size: number; isLast: boolean } {
  const header = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16);
  const isRunLength = ((header >> 1) & 3) === 1;
  const size = isRunLength ? 1 : header >> 3;
  return { size: BLOCK_HEADER_SIZE + size, isLast: (header & 1) === 1 };
}

function readUint32(bytes: Uint8Array, at: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(at, true);
}
