/**
 * Compressed request bodies.
 *
 * Receivers of ours, and most others, take a body for a stream of bytes. systemd-journal-remote 258 to 262
 * announces encodings as well, and then decompresses whatever one read of the socket gave its HTTP server as if
 * it were a frame: everything else ends the connection (systemd issue 43614). Over TCP nothing decides where a
 * read ends: of bodies that are one frame of at most 32 KiB, 97 of 200 were cut at an MTU of 1500, and all that
 * are more than one frame. Over TLS a record is read as a whole or not at all, so a frame for each record
 * arrives: 200 of 200 bodies of 6 frames, 30 of 30 of 60, also with a receiver that is stopped now and then
 * (measured with 262).
 *
 * Which of this holds for a receiver is to be found out; the probes store nothing whoever takes them.
 */
import { gzipSync, constants as zlibConstants } from "node:zlib";
import { encodeLz4Block } from "../../bytes/lz4-encoder.ts";
import { encodeXz } from "../../bytes/xz/xz-encoder.ts";
import type { EncodingSetting, UploadEncoding } from "../settings.ts";

export interface EncodedBody {
  pieces: readonly Uint8Array[];
  isChunked: boolean;
}

/** As systemd's own uploader, which compresses what fits into curl's buffer. */
const PIECE_SIZE_MAX = 64 * 1024;
/** What a TLS record holds, less the framing of a chunk. */
const FRAME_SIZE_MAX = 16 * 1024 - 16;
/** What does not compress becomes larger, with gzip at level 1 by five percent: so much of it always fits. */
const PIECE_SIZE_MIN = 14 * 1024;
/** Aimed at, so that a piece that compresses a little less than those before still fits. */
const FRAME_SIZE_WANTED = 14 * 1024;

/** Noise, which in base64 fills a frame even if nothing of that is compressed. */
const PROBE_NOISE_SIZE = 11.5 * 1024;
const PROBE_FRAMES = 3;

type Encode = (bytes: Uint8Array, level: number | undefined) => Uint8Array;

const ENCODERS: Readonly<Record<UploadEncoding, Encode>> = {
  zstd: encodeZstd,
  xz: encodeXz,
  lz4: encodeLz4,
  gzip: encodeGzip,
};

/**
 * A frame of an empty line, cut in two chunks: who answers it with success takes a frame for a stream of bytes,
 * however it is cut. One, since systemd warns of each.
 */
export function encodeProbe(setting: EncodingSetting): EncodedBody {
  const frame = ENCODERS[setting.encoding](Buffer.from("\n"), setting.level);
  const middle = Math.floor(frame.length / 2);
  return { pieces: [frame.subarray(0, middle), frame.subarray(middle)], isChunked: true };
}

/**
 * Frames nearly as large as those of `encodeFrames()`: who answers them with success gets each of them as it was sent.
 * Together they are an entry without fields, which nobody stores.
 */
export function encodeFramesProbe(setting: EncodingSetting): EncodedBody {
  const noise = (): string =>
    crypto.getRandomValues(Buffer.alloc(PROBE_NOISE_SIZE)).toString("base64");
  const lines = Array.from({ length: PROBE_FRAMES }, () => `__CURSOR=${noise()}\n`);
  lines.push("\n");
  const encode = ENCODERS[setting.encoding];
  return { pieces: lines.map((line) => encode(Buffer.from(line), setting.level)), isChunked: true };
}

/**
 * Frames of which each is to be one HTTP chunk in one TLS record; they are cut without regard to entries.
 * @returns undefined = it does not get smaller: send it plain.
 */
export function encodeFrames(body: Uint8Array, setting: EncodingSetting): EncodedBody | undefined {
  const encode = ENCODERS[setting.encoding];
  const pieces: Uint8Array[] = [];
  let encodedSize = 0;
  let pieceSize = PIECE_SIZE_MAX;
  for (let start = 0; start < body.length; ) {
    const piece = body.subarray(start, start + pieceSize);
    const frame = encode(piece, setting.level);
    const fitting = Math.floor((FRAME_SIZE_WANTED * piece.length) / frame.length);
    pieceSize = Math.max(PIECE_SIZE_MIN, Math.min(PIECE_SIZE_MAX, fitting));
    if (frame.length > FRAME_SIZE_MAX && piece.length > pieceSize) continue;
    pieces.push(frame);
    encodedSize += frame.length;
    start += piece.length;
  }
  return encodedSize < body.length ? { pieces, isChunked: true } : undefined;
}

/**
 * All of it as one frame, with a Content-Length.
 * @returns undefined = it does not get smaller: send it plain.
 */
export function encodeWhole(body: Uint8Array, setting: EncodingSetting): EncodedBody | undefined {
  const frame = ENCODERS[setting.encoding](body, setting.level);
  return frame.length < body.length ? { pieces: [frame], isChunked: false } : undefined;
}

/** The frame holds the size of its content, without which systemd refuses it. */
function encodeZstd(bytes: Uint8Array, level: number | undefined): Uint8Array {
  return Bun.zstdCompressSync(bytes, level === undefined ? {} : { level: clamp(level, 1, 22) });
}

function encodeGzip(
  bytes: Uint8Array,
  level: number = zlibConstants.Z_DEFAULT_COMPRESSION,
): Uint8Array {
  return gzipSync(bytes, { level: clamp(level, -1, 9) });
}

/** systemd's own frame: the raw size, 8 bytes little-endian, and one block. There is one level. */
function encodeLz4(bytes: Uint8Array): Uint8Array {
  const block = encodeLz4Block(bytes);
  const frame = new Uint8Array(8 + block.length);
  new DataView(frame.buffer).setUint32(0, bytes.length, true);
  frame.set(block, 8);
  return frame;
}

function clamp(value: number, min: number, max: number): number {
  return Math.max(min, Math.min(max, Math.round(value)));
}
