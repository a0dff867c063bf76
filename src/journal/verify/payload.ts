/** The text of a DATA object whatever its compression, bounded; and its hash. */
import { hashJenkins, jenkins } from "../../bytes/lookup3.ts";
import { hashSiphash24, siphash } from "../../bytes/siphash24.ts";
import { viewOf } from "../../bytes/view.ts";
import { reasonOf } from "../../errors.ts";
import { DATA_SIZE_MAX, ObjectFlag } from "../format.ts";

export type CompressionAlgorithm = "xz" | "lz4" | "zstd";

/**
 * Decompresses the stored payload of a DATA object (LZ4: le64 size and a raw block; XZ: a stream).
 * Throws if the payload is damaged or larger than `rawSizeMax`; undefined = algorithm not known.
 */
export type Decompress = (
  algorithm: CompressionAlgorithm,
  payload: Uint8Array,
  rawSizeMax: number,
) => Uint8Array | undefined;

const ALGORITHM_BY_FLAG: Record<number, CompressionAlgorithm> = {
  [ObjectFlag.xz]: "xz",
  [ObjectFlag.lz4]: "lz4",
  [ObjectFlag.zstd]: "zstd",
};

/** One GiB whatever the file, and this much per byte of it, is decompressed: no bomb takes hours. */
const RAW_BYTES_PER_FILE_BYTE = 64;
const RAW_BYTES_MIN = 2 ** 30;

export type Unpacked =
  | { kind: "raw"; bytes: Uint8Array }
  | { kind: "damaged"; what: string }
  | { kind: "unchecked" };

/** Decompresses within a budget and counts what it could not. */
export class Unpacker {
  readonly #decompress: Decompress | undefined;
  #budget: number;
  /** Payloads left out, by reason. */
  readonly unchecked = new Map<string, number>();

  constructor(fileSize: number, decompress: Decompress | undefined) {
    this.#decompress = decompress;
    this.#budget = RAW_BYTES_MIN + RAW_BYTES_PER_FILE_BYTE * fileSize;
  }

  /** @param flag one of ObjectFlag */
  unpack(flag: number, payload: Uint8Array): Unpacked {
    const algorithm = ALGORITHM_BY_FLAG[flag] as CompressionAlgorithm;
    if (this.#budget <= 0)
      return this.#leaveOut(`${algorithm}, over the limit of what is unpacked`);
    try {
      const bytes =
        this.#decompress?.(algorithm, payload, DATA_SIZE_MAX) ??
        (algorithm === "zstd" ? unpackZstd(payload) : undefined);
      if (bytes === undefined) return this.#leaveOut(`${algorithm}, which cannot be unpacked here`);
      this.#budget -= bytes.length;
      return { kind: "raw", bytes };
    } catch (error) {
      return { kind: "damaged", what: `${algorithm} payload is damaged: ${reasonOf(error)}` };
    }
  }

  #leaveOut(reason: string): Unpacked {
    this.unchecked.set(reason, (this.unchecked.get(reason) ?? 0) + 1);
    return { kind: "unchecked" };
  }
}

/** Result of the last {@link hashPayload}: low and high 32 bits, unsigned. */
export const payloadHash = { low: 0, high: 0 };

/** @param key the file id where the file is keyed */
export function hashPayload(
  key: Uint8Array | undefined,
  view: DataView,
  start: number,
  end: number,
): void {
  if (key === undefined) {
    hashJenkins(view, start, end);
    payloadHash.low = jenkins.low >>> 0;
    payloadHash.high = jenkins.high >>> 0;
  } else {
    hashSiphash24(key, view, start, end);
    payloadHash.low = siphash.low >>> 0;
    payloadHash.high = siphash.high >>> 0;
  }
}

/** hash % count for a 64-bit hash; exact for any count below 2^37. */
export function bucketOf(low: number, high: number, count: number): number {
  const upper = ((high % count) * 65536 + (low >>> 16)) % count;
  return (upper * 65536 + (low & 0xffff)) % count;
}

/** The runtime would unpack frame after frame, of any size: so look before. */
function unpackZstd(payload: Uint8Array): Uint8Array {
  const rawSize = zstdContentSize(payload);
  if (rawSize > DATA_SIZE_MAX) throw new Error(`it declares ${rawSize} bytes`);
  const bytes = Bun.zstdDecompressSync(payload);
  if (bytes.length !== rawSize) throw new Error(`${bytes.length} bytes, declared ${rawSize}`);
  return bytes;
}

const ZSTD_MAGIC = 0xfd2fb528;

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
