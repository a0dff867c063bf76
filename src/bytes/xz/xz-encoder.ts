/**
 * Encodes .xz streams of one block of LZMA2, without checksum, as systemd makes them.
 * https://tukaani.org/xz/xz-file-format.txt (section numbers below)
 *
 * Own code since the runtime has no encoder, and the npm packages with one are native modules for some platforms,
 * or under the LGPL, or write .lzma files, which are another format.
 */
import { crc32 } from "node:zlib";
import {
  CONTROL_END,
  CONTROL_LZMA,
  CONTROL_PLAIN,
  CONTROL_PLAIN_RESET_DICTIONARY,
  dictionarySizeOf,
  FOOTER_MAGIC,
  LZMA2_FILTER_ID,
  RESET_DICTIONARY,
  RESET_NOTHING,
  RESET_PROPERTIES,
  RESET_SHIFT,
  RESET_STATE,
  STREAM_MAGIC,
} from "./format.ts";
import { LZMA_PROPERTIES, LzmaEncoder } from "./lzma-encoder.ts";

/** Version and type of the check: none. */
const STREAM_FLAGS = [0, 0];
/** What a receiver has to keep in memory. */
const DICTIONARY_SIZE_MAX = 8 * 1024 * 1024;

/** Of an LZMA2 chunk before it is compressed; its compressed size then always fits into 16 bits. */
const CHUNK_SIZE_MAX = 64 * 1024;

const XZ_LEVEL_DEFAULT = 6;
/** Places looked at for each match, by level 0..9. */
const DEPTH_BY_LEVEL = [1, 2, 4, 8, 12, 16, 24, 48, 96, 256];

/** A complete stream. @param level 0..9 as of xz(1); others are cut to that. */
export function encodeXz(body: Uint8Array, level: number = XZ_LEVEL_DEFAULT): Uint8Array {
  const depth = DEPTH_BY_LEVEL[Math.max(0, Math.min(9, Math.round(level)))] ?? 1;
  const dictionary = dictionaryFor(body.length);
  const chunks = encodeLzma2(body, depth, dictionary.size);
  const header = withCrc32([2, 0, LZMA2_FILTER_ID, 1, dictionary.code, 0, 0, 0]);
  const unpaddedSize = header.length + chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  const index = withCrc32(padTo4([0, 1, ...multibyte(unpaddedSize), ...multibyte(body.length)]));
  const backwardSize = [...uint32(index.length / 4 - 1), ...STREAM_FLAGS];
  return Buffer.concat([
    Uint8Array.from([...STREAM_MAGIC, ...withCrc32(STREAM_FLAGS)]),
    header,
    ...chunks,
    new Uint8Array(-unpaddedSize & 3),
    index,
    Uint8Array.from([...uint32(crc32(Uint8Array.from(backwardSize))), ...backwardSize]),
    Uint8Array.from(FOOTER_MAGIC),
  ]);
}

/** The smallest dictionary that holds the body, and its code. */
function dictionaryFor(bodySize: number): { size: number; code: number } {
  const wanted = Math.min(bodySize, DICTIONARY_SIZE_MAX);
  for (let code = 0; ; code++) {
    const size = dictionarySizeOf(code) ?? DICTIONARY_SIZE_MAX;
    if (size >= wanted) return { size, code };
  }
}

/** Chunks with their headers, and the end marker. */
function encodeLzma2(body: Uint8Array, depth: number, dictionarySize: number): Uint8Array[] {
  const encoder = new LzmaEncoder(body, depth, dictionarySize, CHUNK_SIZE_MAX);
  const parts: Uint8Array[] = [];
  /** What the next compressed chunk has to reset. */
  let reset: number = RESET_DICTIONARY;
  for (let start = 0; start < body.length; start += CHUNK_SIZE_MAX) {
    const end = Math.min(body.length, start + CHUNK_SIZE_MAX);
    const size = end - start - 1;
    const compressed = encoder.encode(start, end);
    if (compressed !== undefined && compressed.length < end - start) {
      const compressedSize = compressed.length - 1;
      const head = [CONTROL_LZMA | (reset << RESET_SHIFT), size >> 8, size & 0xff];
      head.push(compressedSize >> 8, compressedSize & 0xff);
      if (reset >= RESET_PROPERTIES) head.push(LZMA_PROPERTIES);
      parts.push(Uint8Array.from(head), compressed.slice());
      reset = RESET_NOTHING;
    } else {
      const isFirst = reset === RESET_DICTIONARY;
      const control = isFirst ? CONTROL_PLAIN_RESET_DICTIONARY : CONTROL_PLAIN;
      parts.push(Uint8Array.from([control, size >> 8, size & 0xff]), body.subarray(start, end));
      encoder.resetState();
      // What a decoder was not told yet it has to be told with the next compressed chunk.
      reset = isFirst ? RESET_PROPERTIES : Math.max(reset, RESET_STATE);
    }
  }
  parts.push(Uint8Array.of(CONTROL_END));
  return parts;
}

function withCrc32(bytes: readonly number[]): Uint8Array {
  return Uint8Array.from([...bytes, ...uint32(crc32(Uint8Array.from(bytes)))]);
}

function padTo4(bytes: readonly number[]): number[] {
  return [...bytes, ...new Array<number>(-bytes.length & 3).fill(0)];
}

function uint32(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
}

/** Seven bits a byte, the lowest first (1.2). */
function multibyte(value: number): number[] {
  const bytes: number[] = [];
  let left = value;
  for (; left >= 0x80; left = Math.floor(left / 128)) bytes.push((left & 0x7f) | 0x80);
  bytes.push(left);
  return bytes;
}
