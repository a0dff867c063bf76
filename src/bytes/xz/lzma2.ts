/**
 * LZMA2: chunks of at most 64 KiB compressed and 2 MiB decoded, which is what lets us wait for a whole
 * chunk and then decode it without stopping. https://tukaani.org/xz/xz-file-format.txt 5.3.1
 */
import type { CompressedInput, Decoding } from "../compressed-input.ts";
import {
  CONTROL_END,
  CONTROL_LZMA,
  CONTROL_PLAIN,
  CONTROL_PLAIN_RESET_DICTIONARY,
  RESET_DICTIONARY,
  RESET_NOTHING,
  RESET_PROPERTIES,
  RESET_SHIFT,
  RESET_STATE,
} from "./format.ts";
import type { LzmaDecoder } from "./lzma.ts";

/**
 * Decodes up to and with the end marker.
 * @param write takes decoded bytes, valid until the next piece.
 */
export function* decodeLzma2(
  input: CompressedInput,
  lzma: LzmaDecoder,
  write: (bytes: Uint8Array) => Decoding,
): Decoding {
  /** What the next compressed chunk has to reset at least. */
  let needs: number = RESET_DICTIONARY;
  for (;;) {
    const control = (yield* input.peek(1))[0] ?? 0;
    const reset = control >= CONTROL_LZMA ? (control >> RESET_SHIFT) & 3 : RESET_NOTHING;
    if (control === CONTROL_END) {
      input.skip(1);
      return;
    }
    if (control >= CONTROL_LZMA && reset >= needs) {
      needs = RESET_NOTHING;
      yield* decodeChunk(input, lzma, reset, write);
    } else if (control === CONTROL_PLAIN_RESET_DICTIONARY) {
      needs = RESET_PROPERTIES;
      lzma.resetDictionary();
      yield* copyChunk(input, lzma, write);
    } else if (control === CONTROL_PLAIN && needs < RESET_DICTIONARY) {
      yield* copyChunk(input, lzma, write);
    } else {
      throw input.syntaxError(`an LZMA2 chunk may not begin with ${control} here`);
    }
  }
}

/** A compressed chunk: control, decoded size, compressed size, perhaps properties, bytes. */
function* decodeChunk(
  input: CompressedInput,
  lzma: LzmaDecoder,
  reset: number,
  write: (bytes: Uint8Array) => Decoding,
): Decoding {
  const headerSize = reset >= RESET_PROPERTIES ? 6 : 5;
  const header = yield* input.peek(headerSize);
  const [control = 0, , , , , properties = 0] = header;
  let left = ((control & 0x1f) << 16) + readUint16(header, 1) + 1;
  const chunkSize = headerSize + readUint16(header, 3) + 1;

  if (reset === RESET_DICTIONARY) lzma.resetDictionary();
  const isValid = reset < RESET_PROPERTIES || lzma.setProperties(properties);
  if (reset >= RESET_STATE) lzma.resetState();

  const chunk = (yield* input.peek(chunkSize)).slice(headerSize, chunkSize);
  if (!isValid || !lzma.startChunk(chunk)) throw input.syntaxError("a corrupt LZMA2 chunk");
  while (left > 0) {
    const decoded = lzma.decode(left);
    if (decoded === undefined) throw input.syntaxError("a corrupt LZMA2 chunk");
    left -= decoded.length;
    yield* write(decoded);
  }
  if (!lzma.endChunk()) throw input.syntaxError("a corrupt LZMA2 chunk");
  input.skip(chunkSize);
}

/** A plain chunk: control, size, bytes. */
function* copyChunk(
  input: CompressedInput,
  lzma: LzmaDecoder,
  write: (bytes: Uint8Array) => Decoding,
): Decoding {
  const header = yield* input.take(3);
  for (let left = readUint16(header, 1) + 1; left > 0; ) {
    const decoded = lzma.copy((yield* input.peek(1)).subarray(0, left));
    input.skip(decoded.length);
    left -= decoded.length;
    yield* write(decoded);
  }
}

function readUint16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}
