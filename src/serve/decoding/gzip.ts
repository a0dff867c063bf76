/** gzip: a concatenation of members (RFC 1952). */
import { createGunzip } from "node:zlib";
import type { CompressedInput, Decoding } from "../../bytes/compressed-input.ts";
import type { DecodedOutput } from "../../bytes/decoded-output.ts";
import { ZLIB_CHUNK_SIZE, ZlibStream } from "./zlib-stream.ts";

/** zlib's inflate state and its 32 KiB window, rounded up. */
const INFLATE_BYTES = 48 * 1024;

export function* decodeGzip(input: CompressedInput, output: DecodedOutput): Decoding {
  if (yield* input.atEnd()) return;
  const stream = new ZlibStream(createGunzip({ chunkSize: ZLIB_CHUNK_SIZE }), input, output);
  output.windowBytes = INFLATE_BYTES + ZLIB_CHUNK_SIZE;
  try {
    while (!(yield* input.atEnd())) {
      const bytes = yield* input.peek(1);
      const written = stream.write(bytes);
      input.skip(bytes.length);
      yield written;
    }
    yield stream.end();
  } finally {
    stream.destroy();
  }
}
