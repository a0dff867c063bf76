/** Request bodies compressed by the real encoders, which the tests take as oracles. */

export interface EncodedBody {
  name: string;
  encoding: string;
  body: Uint8Array;
  raw: Uint8Array;
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
  return stdout;
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

const XZ_PIECE = ["xz", "-c", "--check=none"];

/** One body for each way of using a format, of a text of about `size` bytes. */
export function encodedBodies(size: number): EncodedBody[] {
  const raw = exportText(size);
  const third = Math.ceil(raw.length / 3);
  const random = noise(Math.min(size, 200_000));
  const empty = new Uint8Array(0);
  const zeros = new Uint8Array(size);
  const zstd = (...options: string[]) => pipe(["zstd", "-c", ...options], raw);
  const xz = (...options: string[]) => pipe(["xz", "-c", ...options], raw);
  const gzip = (...options: string[]) => pipe(["gzip", "-c", ...options], raw);
  const skippable = Uint8Array.of(0x5a, 0x2a, 0x4d, 0x18, 5, 0, 0, 0, 1, 2, 3, 4, 5);
  const sizedZstd = (piece: Uint8Array) =>
    pipe(["zstd", "-c", `--stream-size=${piece.length}`], piece);
  const make = (encoding: string, name: string, body: Uint8Array, of = raw) => ({
    encoding,
    name: `${encoding}, ${name}`,
    body,
    raw: of,
  });
  return [
    make("zstd", "of unknown size", zstd()),
    make("zstd", "of known size", sizedZstd(raw)),
    make("zstd", "without checksum", zstd("--no-check")),
    make("zstd", "long window, best", zstd("--long=26", "-19")),
    make("zstd", "noise", pipe(["zstd", "-c"], random), random),
    make("zstd", "zeros", sizedZstd(zeros), zeros),
    make("zstd", "an empty frame", sizedZstd(empty), empty),
    make("zstd", "pieces of known size", encodePieces(raw, third, sizedZstd)),
    make(
      "zstd",
      "skippable frames around others",
      concat([skippable, zstd(), skippable, sizedZstd(raw), skippable]),
      concat([raw, raw]),
    ),
    ...["none", "crc32", "crc64", "sha256"].map((check) =>
      make("xz", `check ${check}`, xz(`--check=${check}`)),
    ),
    make("xz", "best", xz("-9e")),
    make("xz", "several blocks", xz(`--block-size=${third}`)),
    make("xz", "block sizes in headers", xz("-T2", `--block-size=${third}`)),
    make("xz", "small ring, odd properties", xz("--lzma2=dict=4KiB,lc=1,lp=3,pb=4")),
    make("xz", "no literal contexts", xz("--lzma2=dict=6KiB,lc=0,lp=0,pb=0")),
    make("xz", "noise", pipe(["xz", "-c"], random), random),
    make("xz", "zeros", pipe(["xz", "-c"], zeros), zeros),
    make("xz", "an empty stream", pipe(["xz", "-c"], empty), empty),
    make(
      "xz",
      "pieces",
      encodePieces(raw, third, (piece) => pipe(XZ_PIECE, piece)),
    ),
    make(
      "xz",
      "padding between and after streams",
      concat([xz(), new Uint8Array(8), xz("--check=none"), new Uint8Array(4)]),
      concat([raw, raw]),
    ),
    make("gzip", "one member", gzip()),
    make("gzip", "best", gzip("-9")),
    make("gzip", "noise", pipe(["gzip", "-c"], random), random),
    make("gzip", "an empty member", pipe(["gzip", "-c"], empty), empty),
    make(
      "gzip",
      "members",
      encodePieces(raw, third, (piece) => pipe(["gzip", "-c"], piece)),
    ),
    make("lz4", "pieces", encodePieces(raw, Math.min(third, 65_524), lz4Piece)),
    make(
      "lz4",
      "best",
      encodePieces(raw, 4 * 1024 * 1024, (piece) => lz4Piece(piece, "-12")),
    ),
    make("lz4", "noise", lz4Piece(random), random),
    make("lz4", "zeros", encodePieces(zeros, 4 * 1024 * 1024, lz4Piece), zeros),
    make("lz4", "empty pieces", concat([lz4Piece(empty), lz4Piece(raw), lz4Piece(empty)])),
    make("identity", "text", raw),
  ];
}
