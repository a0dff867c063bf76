/** Request bodies compressed by the real encoders, which the tests take as oracles. */

export interface EncodedBody {
  name: string;
  encoding: string;
  body: Uint8Array;
  raw: Uint8Array;
  /** Number of proper, non-empty prefixes of the body at which it might have ended. */
  endings: number;
}

/** Random numbers in [0, 1) that are the same in every run. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 1) >>> 0;
    return (Bun.hash.xxHash32(String(state)) >>> 0) / 2 ** 32;
  };
}

/** Text that looks like `journalctl -o export`, of at least `size` bytes. */
export function exportText(size: number, seed = 1): Uint8Array {
  const random = seededRandom(seed);
  const units = ["sshd.service", "cron.service", "nginx.service", "postgresql@15-main.service"];
  const entries: string[] = [];
  for (let length = 0, i = 0; length < size; i++) {
    const unit = units[Math.floor(random() * units.length)] ?? "";
    const entry = [
      `__REALTIME_TIMESTAMP=${1_700_000_000_000_000 + i * 137}`,
      `__MONOTONIC_TIMESTAMP=${1_000_000 + i * 137}`,
      "_BOOT_ID=0123456789abcdef0123456789abcdef",
      `PRIORITY=${Math.floor(random() * 8)}`,
      `_PID=${Math.floor(random() * 30_000)}`,
      `_SYSTEMD_UNIT=${unit}`,
      `MESSAGE=${unit} took ${Math.floor(random() * 1e9).toString(36)} steps for €${i}`,
      "",
      "",
    ].join("\n");
    entries.push(entry);
    length += entry.length;
  }
  return new TextEncoder().encode(entries.join(""));
}

/** Bytes that do not compress. */
export function noise(size: number, seed = 1): Uint8Array {
  const random = seededRandom(seed);
  return Uint8Array.from({ length: size }, () => random() * 256);
}

/** What `command` writes when it reads `input`. */
export function pipe(command: readonly string[], input: Uint8Array): Uint8Array {
  const { stdout, stderr, exitCode } = Bun.spawnSync([...command], { stdin: input });
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: exit ${exitCode}: ${stderr}`);
  // A plain array: the slice() of a Buffer would not copy.
  return new Uint8Array(stdout);
}

/**
 * systemd's lz4 form (raw size, then the block) of `raw`, at most 4 MiB. The block is cut out of the
 * frame that lz4(1) writes: 7 bytes of header, 4 of block size, the block.
 */
export function lz4Piece(raw: Uint8Array, level = "-1"): Uint8Array {
  const size = new Uint8Array(8);
  new DataView(size.buffer).setUint32(0, raw.length, true);
  return concat([size, lz4BlockOf(raw, level)]);
}

export function lz4BlockOf(raw: Uint8Array, level = "-1"): Uint8Array {
  if (raw.length === 0) return Uint8Array.of(0);
  const frame = pipe(["lz4", "-c", "-B7", "--no-frame-crc", level], raw);
  const blockSize = new DataView(frame.buffer, frame.byteOffset).getUint32(7, true);
  const isPlain = blockSize >= 2 ** 31;
  return isPlain ? literalBlock(raw) : frame.subarray(11, 11 + blockSize);
}

/** A block of one run of literals, as LZ4_compress_default makes of noise. */
function literalBlock(raw: Uint8Array): Uint8Array {
  if (raw.length < 15) return concat([Uint8Array.of(raw.length << 4), raw]);
  const rest = raw.length - 15;
  const length = [...new Uint8Array(Math.floor(rest / 255)).fill(255), rest % 255];
  return concat([Uint8Array.of(0xf0), Uint8Array.from(length), raw]);
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/** `raw` in pieces of at most `size`, each encoded by itself, as stock uploaders send it. */
export function encodePieces(
  raw: Uint8Array,
  size: number,
  encode: (piece: Uint8Array) => Uint8Array,
): Uint8Array {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < raw.length; at += size) pieces.push(encode(raw.subarray(at, at + size)));
  return concat(pieces);
}

/** One body for each way of using a format, of a text of about `size` bytes. */
export function encodedBodies(size: number): EncodedBody[] {
  const raw = exportText(size);
  const random = noise(Math.min(size, 200_000));
  return [
    ...zstdBodies(raw, random),
    ...xzBodies(raw, random),
    ...gzipBodies(raw, random),
    ...lz4Bodies(raw, random),
  ];
}

function describeBody(name: string, body: Uint8Array, raw: Uint8Array, endings = 0): EncodedBody {
  return { name, encoding: name.slice(0, name.indexOf(",")), body, raw, endings };
}

const EMPTY = new Uint8Array(0);

function zstdBodies(raw: Uint8Array, random: Uint8Array): EncodedBody[] {
  const third = Math.ceil(raw.length / 3);
  const zeros = new Uint8Array(raw.length);
  const zstd = (of: Uint8Array, ...options: string[]) => pipe(["zstd", "-c", ...options], of);
  const sized = (of: Uint8Array) => zstd(of, `--stream-size=${of.length}`);
  const skippable = Uint8Array.of(0x5a, 0x2a, 0x4d, 0x18, 5, 0, 0, 0, 1, 2, 3, 4, 5);
  const mixed = concat([skippable, zstd(raw), skippable, sized(raw), skippable]);
  return [
    describeBody("zstd, of unknown size", zstd(raw), raw),
    describeBody("zstd, of known size", sized(raw), raw),
    describeBody("zstd, without checksum", zstd(raw, "--no-check"), raw),
    describeBody("zstd, long window, best", zstd(raw, "--long=26", "-9"), raw),
    describeBody("zstd, noise", zstd(random), random),
    describeBody("zstd, zeros", sized(zeros), zeros),
    describeBody("zstd, an empty frame", sized(EMPTY), EMPTY),
    describeBody("zstd, pieces", encodePieces(raw, third, sized), raw, 2),
    describeBody("zstd, skippable frames around others", mixed, concat([raw, raw]), 4),
  ];
}

function xzBodies(raw: Uint8Array, random: Uint8Array): EncodedBody[] {
  const third = Math.ceil(raw.length / 3);
  const zeros = new Uint8Array(raw.length);
  const xz = (of: Uint8Array, ...options: string[]) => pipe(["xz", "-c", "-1", ...options], of);
  const withoutCheck = (of: Uint8Array) => xz(of, "--check=none");
  const padded = concat([xz(raw), new Uint8Array(8), withoutCheck(raw), new Uint8Array(4)]);
  return [
    ...["none", "crc32", "crc64", "sha256"].map((check) =>
      describeBody(`xz, check ${check}`, xz(raw, `--check=${check}`), raw),
    ),
    describeBody("xz, best", xz(raw, "-9"), raw),
    describeBody("xz, several blocks", xz(raw, `--block-size=${third}`), raw),
    describeBody("xz, sizes in block headers", xz(raw, "-T2", `--block-size=${third}`), raw),
    describeBody("xz, small ring", xz(raw, "--lzma2=preset=1,dict=4KiB,lc=1,lp=3,pb=4"), raw),
    describeBody("xz, no contexts", xz(raw, "--lzma2=preset=1,dict=6KiB,lc=0,lp=0,pb=0"), raw),
    describeBody("xz, noise", xz(random), random),
    describeBody("xz, zeros", xz(zeros), zeros),
    describeBody("xz, an empty stream", xz(EMPTY), EMPTY),
    describeBody("xz, pieces", encodePieces(raw, third, withoutCheck), raw, 2),
    describeBody("xz, padding between and after streams", padded, concat([raw, raw]), 4),
  ];
}

function gzipBodies(raw: Uint8Array, random: Uint8Array): EncodedBody[] {
  const gzip = (of: Uint8Array, ...options: string[]) => pipe(["gzip", "-c", ...options], of);
  const pieces = encodePieces(raw, Math.ceil(raw.length / 3), (piece) => gzip(piece));
  return [
    describeBody("gzip, one member", gzip(raw), raw),
    describeBody("gzip, best", gzip(raw, "-9"), raw),
    describeBody("gzip, noise", gzip(random), random),
    describeBody("gzip, an empty member", gzip(EMPTY), EMPTY),
    describeBody("gzip, pieces", pieces, raw, 2),
  ];
}

function lz4Bodies(raw: Uint8Array, random: Uint8Array): EncodedBody[] {
  const zeros = new Uint8Array(raw.length);
  const third = Math.ceil(raw.length / 3);
  const withEmpty = concat([lz4Piece(EMPTY), lz4Piece(raw), lz4Piece(EMPTY)]);
  return [
    describeBody("lz4, fast", lz4Piece(raw), raw),
    describeBody("lz4, best", lz4Piece(raw, "-12"), raw),
    describeBody("lz4, noise", lz4Piece(random), random),
    describeBody("lz4, zeros", lz4Piece(zeros), zeros),
    describeBody("lz4, pieces", encodePieces(raw, third, lz4Piece), raw, 2),
    describeBody("lz4, empty pieces", withEmpty, raw, 2),
  ];
}
