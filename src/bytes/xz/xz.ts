/**
 * xz: a concatenation of streams, each of blocks of LZMA2. systemd sends one stream without checksum for
 * each piece. https://tukaani.org/xz/xz-file-format.txt (section numbers below)
 */
import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import type { CompressedInput, Decoding } from "../compressed-input.ts";
import type { DecodedOutput } from "../decoded-output.ts";
import { Crc64 } from "./crc64.ts";
import { dictionarySizeOf, FOOTER_MAGIC, LZMA2_FILTER_ID, STREAM_MAGIC } from "./format.ts";
import { LzmaDecoder } from "./lzma.ts";
import { decodeLzma2 } from "./lzma2.ts";

/** Largest dictionary, as systemd's: that of `xz -9`. */
const DICTIONARY_SIZE_MAX = 64 * 1024 * 1024;

/** Of stream header and stream footer. */
const STREAM_EDGE_SIZE = 12;
/** Multibyte integers have 63 bits at most (1.2). */
const INTEGER_SIZE_MAX = 9;

/** Checksum of a block's data. */
interface Check {
  size: number;
  update(bytes: Uint8Array): void;
  digest(): Uint8Array;
}

/** The checksums with an algorithm (2.1.1.2). */
const MAKE_CHECK_BY_TYPE: Readonly<Record<number, () => Check>> = {
  0: makeNoCheck,
  1: makeCrc32Check,
  4: makeCrc64Check,
  10: makeSha256Check,
};

/** What the index has to repeat of the blocks. */
interface BlockTotals {
  count: number;
  unpaddedSize: number;
  decodedSize: number;
}

export function* decodeXz(input: CompressedInput, output: DecodedOutput): Decoding {
  if (yield* input.atEnd()) return;
  yield* decodeStream(input, output);
  while (!(yield* input.atEnd())) {
    // Stream padding (2.2) is zeros, four at a time.
    if (isZero((yield* input.peek(4)).subarray(0, 4))) input.skip(4);
    else yield* decodeStream(input, output);
  }
}

function* decodeStream(input: CompressedInput, output: DecodedOutput): Decoding {
  const header = (yield* input.take(STREAM_EDGE_SIZE)).slice();
  if (!startsWith(header, STREAM_MAGIC)) throw input.syntaxError("no xz stream here");
  const flags = header.subarray(6, 8);
  if (crc32(flags) !== readUint32(header, 8)) throw input.syntaxError("a corrupt stream header");
  const makeCheck = MAKE_CHECK_BY_TYPE[flags[1] ?? 0];
  if (flags[0] !== 0 || makeCheck === undefined) {
    throw input.syntaxError(`unknown stream flags ${flags.toHex()}`);
  }

  const blocks: BlockTotals = { count: 0, unpaddedSize: 0, decodedSize: 0 };
  while ((yield* input.peek(1))[0] !== 0) {
    yield* decodeBlock(input, output, makeCheck(), blocks);
  }
  const indexSize = yield* readIndex(input, blocks);

  const footer = yield* input.take(STREAM_EDGE_SIZE);
  const isIntact =
    readUint32(footer, 0) === crc32(footer.subarray(4, 10)) &&
    (readUint32(footer, 4) + 1) * 4 === indexSize &&
    footer[8] === flags[0] &&
    footer[9] === flags[1] &&
    startsWith(footer.subarray(10), FOOTER_MAGIC);
  if (!isIntact) throw input.syntaxError("a corrupt stream footer");
}

/** A block (3): header, data, padding, check. Adds to `totals`. */
function* decodeBlock(
  input: CompressedInput,
  output: DecodedOutput,
  check: Check,
  totals: BlockTotals,
): Decoding {
  const start = input.offset;
  const header = yield* readBlockHeader(input);
  const dataStart = input.offset;
  let decodedSize = 0;

  const lzma = new LzmaDecoder(header.dictionarySize);
  output.windowBytes = lzma.heldBytes;
  yield* decodeLzma2(input, lzma, function* write(bytes) {
    check.update(bytes);
    decodedSize += bytes.length;
    output.windowBytes = lzma.heldBytes;
    yield* output.write(bytes);
  });
  output.windowBytes = 0;

  const compressedSize = input.offset - dataStart;
  const isAsDeclared =
    (header.compressedSize ?? compressedSize) === compressedSize &&
    (header.decodedSize ?? decodedSize) === decodedSize;
  if (!isAsDeclared) throw input.syntaxError("a block of another size than declared");
  yield* readPadding(input, compressedSize);
  const digest = yield* input.take(check.size);
  if (!isEqual(digest, check.digest())) throw input.syntaxError("a block with a wrong checksum");

  totals.count += 1;
  totals.unpaddedSize += dataStart - start + compressedSize + check.size;
  totals.decodedSize += decodedSize;
}

interface BlockHeader {
  dictionarySize: number;
  compressedSize: number | undefined;
  decodedSize: number | undefined;
}

/** A block header (3.1): size, flags, sizes if known, filters, padding, CRC. */
function* readBlockHeader(input: CompressedInput): Decoding<BlockHeader> {
  const size = (((yield* input.peek(1))[0] ?? 0) + 1) * 4;
  const bytes = (yield* input.take(size)).slice();
  const crcAt = size - 4;
  if (crc32(bytes.subarray(0, crcAt)) !== readUint32(bytes, crcAt)) {
    throw input.syntaxError("a corrupt block header");
  }
  const fields = new FieldReader(bytes.subarray(2, crcAt));
  const flags = bytes[1] ?? 0;
  const compressedSize = (flags & 0x40) === 0 ? undefined : fields.readInteger();
  const decodedSize = (flags & 0x80) === 0 ? undefined : fields.readInteger();
  const isLzma2Only =
    (flags & 0x3f) === 0 && fields.readInteger() === LZMA2_FILTER_ID && fields.readInteger() === 1;
  if (!isLzma2Only) throw input.syntaxError("a block with other filters than LZMA2");
  const dictionarySize = dictionarySizeOf(fields.readByte());
  if (dictionarySize === undefined || fields.failed || !isZero(fields.rest())) {
    throw input.syntaxError("a corrupt block header");
  }
  if (dictionarySize > DICTIONARY_SIZE_MAX) {
    throw input.limitError(
      `a block needs a dictionary of ${dictionarySize} bytes, at most ${DICTIONARY_SIZE_MAX} are allowed`,
    );
  }
  return { dictionarySize, compressedSize, decodedSize };
}

/** An index (4): indicator, count, two sizes for each block, padding, CRC. Returns its size. */
function* readIndex(input: CompressedInput, blocks: BlockTotals): Decoding<number> {
  const start = input.offset;
  let crc = 0;
  function* readInteger(): Decoding<number> {
    for (let size = 1; size <= INTEGER_SIZE_MAX; size++) {
      const bytes = (yield* input.peek(size)).subarray(0, size);
      if (((bytes[size - 1] ?? 0) & 0x80) !== 0) continue;
      crc = crc32(bytes, crc);
      input.skip(size);
      return new FieldReader(bytes).readInteger();
    }
    throw input.syntaxError("a corrupt index");
  }

  yield* readInteger(); // The indicator, 0.
  const count = yield* readInteger();
  if (count !== blocks.count) throw input.syntaxError("a corrupt index");
  let unpaddedSize = 0;
  let decodedSize = 0;
  for (let i = 0; i < count; i++) {
    unpaddedSize += yield* readInteger();
    decodedSize += yield* readInteger();
  }
  const padding = (4 - ((input.offset - start) % 4)) % 4;
  crc = crc32(new Uint8Array(padding), crc);
  yield* readPadding(input, input.offset - start);
  const isIntact =
    unpaddedSize === blocks.unpaddedSize &&
    decodedSize === blocks.decodedSize &&
    readUint32(yield* input.take(4), 0) === crc;
  if (!isIntact) throw input.syntaxError("a corrupt index");
  return input.offset - start;
}

/** Zeros that fill up `size` to a multiple of 4. */
function* readPadding(input: CompressedInput, size: number): Decoding {
  const padding = yield* input.take((4 - (size % 4)) % 4);
  if (!isZero(padding)) throw input.syntaxError("padding that is not zero");
}

/** Reads the fields of a block header; past the end, and for bad integers, `failed` is set. */
class FieldReader {
  failed = false;
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  readByte(): number {
    const byte = this.#bytes[this.#at++];
    if (byte === undefined) this.failed = true;
    return byte ?? 0;
  }

  /** A multibyte integer (1.2): seven bits a byte, lowest first. */
  readInteger(): number {
    let value = 0;
    for (let i = 0; i < INTEGER_SIZE_MAX; i++) {
      const byte = this.readByte();
      value += (byte & 0x7f) * 2 ** (7 * i);
      if ((byte & 0x80) === 0) return value;
    }
    this.failed = true;
    return value;
  }

  rest(): Uint8Array {
    return this.#bytes.subarray(this.#at);
  }
}

function makeNoCheck(): Check {
  return { size: 0, update: () => undefined, digest: () => new Uint8Array(0) };
}

function makeCrc32Check(): Check {
  let crc = 0;
  return {
    size: 4,
    update(bytes): void {
      crc = crc32(bytes, crc);
    },
    digest: () => encodeUint32(crc),
  };
}

function makeCrc64Check(): Check {
  const crc = new Crc64();
  return { size: 8, update: (bytes) => crc.update(bytes), digest: () => crc.digest() };
}

function makeSha256Check(): Check {
  const hash = createHash("sha256");
  return { size: 32, update: (bytes) => hash.update(bytes), digest: () => hash.digest() };
}

function readUint32(bytes: Uint8Array, at: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(at, true);
}

function encodeUint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

function startsWith(bytes: Uint8Array, magic: readonly number[]): boolean {
  return magic.every((byte, i) => bytes[i] === byte);
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
