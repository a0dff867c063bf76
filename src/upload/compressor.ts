/** Compression of bodies without keeping sockets and signals waiting. */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { UploadRequest } from "./delivery-types.ts";
import { chooseEncoding } from "./http/choose-encoding.ts";
import { encodeFrames, encodeWhole } from "./http/encode-body.ts";
import type { EncodingSetting, UploadEncoding } from "./settings.ts";

/** What is compressed at once; takes a few milliseconds, with xz some tens. */
const SLICE_SIZE: Readonly<Record<UploadEncoding, number>> = {
  zstd: 1024 * 1024,
  lz4: 1024 * 1024,
  gzip: 256 * 1024,
  xz: 64 * 1024,
};

/** How a compressed body is to be made up. */
export type EncodedForm =
  /** A stream of frames. */
  | "stream"
  /** One frame: what follows the first one, some receivers drop without a word. */
  | "frame"
  /** A small frame in each chunk, each chunk in a TLS record of its own. */
  | "records";

/** What may be one frame, since it is compressed at once: takes at most some hundred milliseconds. */
export const WHOLE_SIZE_MAX: Readonly<Record<UploadEncoding, number>> = {
  zstd: 8 * 1024 * 1024,
  lz4: 4 * 1024 * 1024,
  gzip: 2 * 1024 * 1024,
  xz: 256 * 1024,
};

export class Compressor {
  readonly #configured: readonly EncodingSetting[];

  /** @param configured in the order of preference; empty = bodies are never compressed */
  constructor(configured: readonly EncodingSetting[]) {
    this.#configured = configured;
  }

  /** What to use for a receiver that announced `acceptEncoding` (undefined = nothing). */
  choose(acceptEncoding: string | undefined): EncodingSetting | undefined {
    return chooseEncoding(acceptEncoding, this.#configured);
  }

  /** @returns undefined = the body does not get smaller: send it plain */
  async encode(
    body: readonly Uint8Array[],
    setting: EncodingSetting,
    form: EncodedForm,
  ): Promise<Pick<UploadRequest, "pieces" | "isChunked"> | undefined> {
    if (form === "frame") return encodeWhole(Buffer.concat(body), setting);
    const encode = form === "stream" ? encodeWhole : encodeFrames;
    const pieces: Uint8Array[] = [];
    let isChunked = false;
    for (const piece of body) {
      for (let start = 0; start < piece.length; start += SLICE_SIZE[setting.encoding]) {
        const encoded = encode(
          piece.subarray(start, start + SLICE_SIZE[setting.encoding]),
          setting,
        );
        if (encoded === undefined) return undefined;
        pieces.push(...encoded.pieces);
        isChunked = encoded.isChunked;
        await nextTurn();
      }
    }
    return { pieces, isChunked };
  }
}
