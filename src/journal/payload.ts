/**
 * The stored payload of a DATA object → `NAME=value`. journal-def.h, compress.c: ZSTD is one frame that declares
 * its size, LZ4 a le64 size and a raw block, XZ a stream.
 */
import { decodeLz4Block, LZ4_RAW_SIZE_MAX } from "../bytes/lz4-block.ts";
import { readUint64 } from "../bytes/uint64.ts";
import { viewOf } from "../bytes/view.ts";
import { unpackXz } from "../bytes/xz/unpack.ts";
import { ObjectFlag } from "./format.ts";

const ZSTD_MAGIC = 0xfd2fb528;
const LZ4_SIZE_BYTES = 8;

/**
 * @param flag one of ObjectFlag
 * @throws Error when the payload is damaged or has more than `sizeMax` bytes unpacked
 */
export function unpackPayload(flag: number, stored: Uint8Array, sizeMax: number): Uint8Array {
  if (flag === ObjectFlag.zstd) return unpackZstd(stored, sizeMax);
  if (flag === ObjectFlag.lz4) return unpackLz4(stored, sizeMax);
  return unpackXz(stored, sizeMax);
}

function unpackLz4(stored: Uint8Array, sizeMax: number): Uint8Array {
  if (stored.length <= LZ4_SIZE_BYTES) throw new Error(`${stored.length} bytes are no block`);
  const size = readUint64(viewOf(stored), 0);
  requireSize(size, Math.min(sizeMax, LZ4_RAW_SIZE_MAX));
  const bytes = decodeLz4Block(stored.subarray(LZ4_SIZE_BYTES), size);
  if (bytes === undefined) throw new Error(`it is not a block of ${size} bytes`);
  return bytes;
}

/** The runtime would unpack frame after frame, of any size: so look before. */
function unpackZstd(stored: Uint8Array, sizeMax: number): Uint8Array {
  const size = zstdContentSize(stored);
  requireSize(size, sizeMax);
  const bytes = Bun.zstdDecompressSync(stored);
  if (bytes.length !== size) throw new Error(`${bytes.length} bytes, declared ${size}`);
  return bytes;
}

function requireSize(size: number, sizeMax: number): void {
  if (size > sizeMax) throw new Error(`it declares ${size} bytes`);
}

/** RFC 8878 3.1.1: the declared size of a payload that is exactly one frame. */
function zstdContentSize(frame: Uint8Array): number {
  const view = viewOf(frame);
  if (view.getUint32(0, true) !== ZSTD_MAGIC) throw new Error("it does not begin a frame");
  const descriptor = view.getUint8(4);
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const hasChecksum = (descriptor & 0x04) !== 0;
  const dictionaryIdSize = [0, 1, 2, 4][descriptor & 3] as number;
  const sizeFlag = descriptor >> 6;
  let position = 5 + (isSingleSegment ? 0 : 1) + dictionaryIdSize;
  let rawSize = 0;
  if (sizeFlag === 0) {
    if (!isSingleSegment) throw new Error("it does not declare its size");
    rawSize = view.getUint8(position);
    position += 1;
  } else if (sizeFlag === 1) {
    rawSize = view.getUint16(position, true) + 256;
    position += 2;
  } else if (sizeFlag === 2) {
    rawSize = view.getUint32(position, true);
    position += 4;
  } else {
    rawSize = view.getUint32(position + 4, true) * 2 ** 32 + view.getUint32(position, true);
    position += 8;
  }
  const end = zstdBlocksEnd(view, position) + (hasChecksum ? 4 : 0);
  if (end !== frame.length) throw new Error(`the frame has ${end} of ${frame.length} bytes`);
  return rawSize;
}

function zstdBlocksEnd(view: DataView, firstBlock: number): number {
  let position = firstBlock;
  for (;;) {
    const head = view.getUint16(position, true) | (view.getUint8(position + 2) << 16);
    const isRunLength = ((head >> 1) & 3) === 1;
    position += 3 + (isRunLength ? 1 : head >> 3);
    if ((head & 1) !== 0) return position;
  }
}
