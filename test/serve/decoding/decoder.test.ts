import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32, createGzip, createZstdCompress, zstdCompressSync } from "node:zlib";
import { AgentError } from "../../../src/errors.ts";
import { createDecoder, type Decoder } from "../../../src/serve/decoding/decoder.ts";
import {
  concat,
  type EncodedBody,
  encodedBodies,
  encodePieces,
  exportText,
  lz4Piece,
  noise,
  pipe,
  seededRandom,
} from "../../support/encoded-bodies.ts";

const PIECE_SIZE_MAX = 1024 * 1024;

const small = encodedBodies(1500);
const large = encodedBodies(2_000_000);

/** Bodies whose format notices every change of the data. */
const checked = small.filter(
  ({ name }) => /^(zstd|gzip|xz)/.test(name) && !/without|none|pieces|skippable|padding/.test(name),
);

function mustCreate(encoding: string, emit: (bytes: Uint8Array) => void): Decoder {
  const decoder = createDecoder(encoding, emit);
  if (decoder === undefined) throw new Error(`no decoder for ${encoding}`);
  return decoder;
}

/** Decodes chunks, each overwritten as soon as push returns; `emitted` gets what comes, in order. */
async function decode(
  encoding: string,
  chunks: Iterable<Uint8Array>,
  emitted: Uint8Array[] = [],
): Promise<Uint8Array> {
  const decoder = mustCreate(encoding, (bytes) => {
    expect(bytes.length).toBeWithin(1, PIECE_SIZE_MAX + 1);
    emitted.push(Uint8Array.from(bytes));
  });
  try {
    for (const chunk of chunks) {
      const borrowed = Buffer.from(chunk);
      const wait = decoder.push(borrowed);
      borrowed.fill(0xa5);
      await wait;
    }
    await decoder.end();
  } finally {
    decoder.abort();
    expect(decoder.heldBytes).toBe(0);
  }
  return concat(emitted);
}

function* split(body: Uint8Array, nextSize: () => number): Generator<Uint8Array> {
  for (let at = 0; at < body.length; ) {
    const size = Math.max(1, nextSize());
    yield body.subarray(at, at + size);
    at += size;
  }
}

/** What decoding rejects with; fails if it does not. */
async function failure(encoding: string, chunks: Iterable<Uint8Array>): Promise<AgentError> {
  const error = await decode(encoding, chunks).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof AgentError)) throw new Error(`not an AgentError: ${error}`);
  return error;
}

function hash(bytes: Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
}

describe("any split gives the same bytes", () => {
  test.each(small.map((body) => [body.name, body] as const))("%s", async (_, body) => {
    const expected = Buffer.from(body.raw).toString("latin1");
    const check = async (chunks: Iterable<Uint8Array>) =>
      expect(Buffer.from(await decode(body.encoding, chunks)).toString("latin1")).toBe(expected);

    await check([body.body]);
    await check([new Uint8Array(0), body.body, new Uint8Array(0)]);
    await check(split(body.body, () => 1));
    for (let at = 1; at < body.body.length; at++) {
      await check([body.body.subarray(0, at), body.body.subarray(at)]);
    }
  });

  test.each(large.map((body) => [body.name, body] as const))("megabytes of %s", async (_, body) => {
    const random = seededRandom(7);
    const expected = hash(body.raw);
    const sizes = [() => 65_536, () => random() ** 4 * 100_000, () => Number.POSITIVE_INFINITY];
    for (const nextSize of sizes) {
      expect(hash(await decode(body.encoding, split(body.body, nextSize)))).toBe(expected);
    }
  });

  test("an empty body of any encoding is empty", async () => {
    for (const encoding of ["zstd", "xz", "lz4", "gzip", "identity", ""]) {
      expect(await decode(encoding, [])).toHaveLength(0);
    }
  });
});

test("identity passes bytes through in bounded pieces", async () => {
  const raw = exportText(3_000_000);
  for (const encoding of ["", "identity"]) {
    expect(hash(await decode(encoding, [raw]))).toBe(hash(raw));
  }
});

test("unknown encodings have no decoder", () => {
  for (const encoding of ["br", "deflate", "zstd, gzip", "toString", "ZSTD"]) {
    expect(createDecoder(encoding, () => undefined)).toBeUndefined();
  }
});

describe("what is flushed comes out at once", () => {
  const compressors = {
    zstd: () => createZstdCompress(),
    gzip: () => createGzip(),
  };
  for (const [encoding, create] of Object.entries(compressors)) {
    test(encoding, async () => {
      let text = "";
      const decoder = mustCreate(encoding, (bytes) => {
        text += Buffer.from(bytes).toString();
      });
      const compressor = create();
      const flushed: Uint8Array[] = [];
      compressor.on("data", (bytes: Uint8Array) => flushed.push(bytes));
      for (const line of ["first entry\n", "second entry\n"]) {
        compressor.write(line);
        await new Promise<void>((resolve) => compressor.flush(resolve));
        while (flushed.length === 0) await Bun.sleep(1);
        await decoder.push(concat(flushed.splice(0)));
        expect(text).toEndWith(line);
      }
      decoder.abort();
      compressor.destroy();
    });
  }
});

describe("a body that stops in mid-frame fails", () => {
  test.each(small.map((body) => [body.name, body] as const))(
    "%s",
    async (_, { encoding, body, raw, endings }) => {
      const whole = Buffer.from(raw).toString("latin1");
      let accepted = 0;
      for (let size = 1; size < body.length; size++) {
        const emitted: Uint8Array[] = [];
        await decode(encoding, [body.subarray(0, size)], emitted).then(
          () => accepted++,
          (error: AgentError) => {
            expect(error.code).toBe("E_EXPORT_SYNTAX");
            expect(error.message).toStartWith(`Cannot decode ${encoding} body: `);
          },
        );
        expect(whole).toStartWith(Buffer.concat(emitted).toString("latin1"));
      }
      expect(accepted).toBe(endings);
    },
  );
});

describe("stray bytes after a frame fail", () => {
  const raw = exportText(500);
  const bodies = {
    zstd: new Uint8Array(zstdCompressSync(raw)),
    xz: pipe(["xz", "-c"], raw),
    gzip: pipe(["gzip", "-c"], raw),
    lz4: lz4Piece(raw),
  };
  const strays = [[0], [0, 0, 0], [0x1f], [0x28, 0xb5], [1, 2, 3], new Array(9).fill(9)];
  for (const [encoding, body] of Object.entries(bodies)) {
    test(encoding, async () => {
      for (const stray of strays) {
        const bytes = Uint8Array.from(stray);
        for (const chunks of [[body, bytes], [concat([body, bytes])]]) {
          expect((await failure(encoding, chunks)).code).toBe("E_EXPORT_SYNTAX");
        }
      }
    });
  }

  test("zeros between gzip members do not hide the second one", async () => {
    const zeros = new Uint8Array(7);
    for (const chunks of [
      [concat([bodies.gzip, zeros, bodies.gzip])],
      [bodies.gzip, zeros, bodies.gzip],
    ]) {
      expect((await failure("gzip", chunks)).message).toContain("stray bytes after a frame");
    }
  });
});

describe("damaged bodies fail with an AgentError or decode", () => {
  const random = seededRandom(42);
  function mutate({ body }: EncodedBody): Uint8Array {
    const mutated = Uint8Array.from(body);
    const count = 1 + Math.floor(random() * 3);
    for (let i = 0; i < count; i++) mutated[Math.floor(random() * body.length)] = random() * 256;
    return mutated;
  }

  test.each(small.map((body) => [body.name, body] as const))("%s", async (_, body) => {
    for (let i = 0; i < 150; i++) {
      const chunks = split(mutate(body), () => (i % 2 === 0 ? Number.POSITIVE_INFINITY : 100));
      await decode(body.encoding, chunks).catch((error: unknown) => {
        expect(error).toBeInstanceOf(AgentError);
      });
    }
  });

  test.each(checked.map((body) => [body.name, body] as const))(
    "checksums of %s",
    async (_, body) => {
      let failures = 0;
      for (let i = 0; i < 150; i++) {
        const mutated = mutate(body);
        await decode(body.encoding, [mutated]).then(
          (decoded) => expect(hash(decoded)).toBe(hash(body.raw)),
          () => failures++,
        );
      }
      expect(failures).toBeGreaterThan(50);
    },
  );
});

describe("xz streams are checked for", () => {
  const raw = exportText(3000);
  const blockSize = Math.ceil(raw.length / 2);
  const intact = pipe(["xz", "-c", "--check=none", "-T2", `--block-size=${blockSize}`], raw);

  /** Changes a byte at `at` and makes the CRC of [start, crcAt), which is at `crcAt`, right again. */
  function forge(at: number, start: number, crcAt: number): Uint8Array {
    const body = Uint8Array.from(intact);
    body[at] = (body[at] ?? 0) ^ 1;
    const crc = crc32(body.subarray(start, crcAt));
    new DataView(body.buffer).setUint32(crcAt, crc, true);
    return body;
  }

  // Stream header 12; block header: size, flags, two sizes, …, CRC. At the end: index (indicator,
  // count, two sizes for each block, padding, CRC), footer (CRC, size of the index, flags, magic).
  const blockAt = 12;
  const blockCrcAt = blockAt + ((intact[blockAt] ?? 0) + 1) * 4 - 4;
  const footerAt = intact.length - 12;
  const indexSize = (new DataView(intact.buffer).getUint32(footerAt + 4, true) + 1) * 4;
  const indexAt = footerAt - indexSize;
  // The first chunk: control, decoded size less 1, compressed size less 1, properties, bytes.
  const chunkAt = blockCrcAt + 4;
  const chunkEnd = chunkAt + 6 + new DataView(intact.buffer).getUint16(chunkAt + 3) + 1;
  const forgeries = {
    "compressed size of the block": forge(blockAt + 2, blockAt, blockCrcAt),
    "decoded size of the block": forge(blockAt + 4, blockAt, blockCrcAt),
    "count of the index": forge(indexAt + 1, indexAt, footerAt - 4),
    "unpadded size in the index": forge(indexAt + 2, indexAt, footerAt - 4),
    "decoded size in the index": forge(indexAt + 4, indexAt, footerAt - 4),
  };
  for (const [name, body] of Object.entries(forgeries)) {
    test(name, async () => {
      expect((await failure("xz", [body])).code).toBe("E_EXPORT_SYNTAX");
    });
  }

  test("every byte of stream header, index and footer", async () => {
    for (const at of [
      ...Array(12).keys(),
      ...Array(indexSize + 12)
        .keys()
        .map((i) => indexAt + i),
    ]) {
      for (const bit of [1, 128]) {
        const body = Uint8Array.from(intact);
        body[at] = (body[at] ?? 0) ^ bit;
        expect((await failure("xz", [body])).code).toBe("E_EXPORT_SYNTAX");
      }
    }
  });

  test("the last byte of a chunk, which leaves nothing to decode", async () => {
    const body = Uint8Array.from(intact);
    body[chunkEnd - 1] = (body[chunkEnd - 1] ?? 0) ^ 1;
    expect((await failure("xz", [body])).message).toContain("a corrupt LZMA2 chunk");
  });

  test("a first chunk that resets the dictionary", async () => {
    const control = intact[chunkAt] ?? 0;
    expect(control).toBeGreaterThanOrEqual(0xe0);
    for (const wrong of [control & 0x9f, control & 0xbf, control & 0xdf, 2, 3, 0x7f]) {
      const body = Uint8Array.from(intact);
      body[chunkAt] = wrong;
      const { message } = await failure("xz", [body]);
      expect(message).toContain(`an LZMA2 chunk may not begin with ${wrong} here`);
    }
  });

  test("padding of a block", async () => {
    const bodies = ["a", "ab", "abc", "abcd"].map((text) =>
      pipe(["xz", "-c", "--check=none"], new TextEncoder().encode(text)),
    );
    let found = 0;
    for (const body of bodies) {
      // Plain chunk: control, size less 1, bytes, end marker.
      const end = 24 + 3 + new DataView(body.buffer).getUint16(25) + 1 + 1;
      if (end % 4 === 0) continue;
      found++;
      body[end] = 1;
      expect((await failure("xz", [body])).message).toContain("padding that is not zero");
    }
    expect(found).toBe(3);
  });

  test("nothing, when they are intact", async () => {
    expect(hash(await decode("xz", [intact]))).toBe(hash(raw));
  });
});

describe("limits", () => {
  test("zstd windows above 64 MiB are refused", async () => {
    const body = pipe(["zstd", "-c", "--long=27"], exportText(5000));
    const error = await failure("zstd", [body]);
    expect(error.code).toBe("E_LIMIT");
    expect(error.message).toBe(
      "Cannot decode zstd body: a frame needs a window of 134217728 bytes, at most 67108864 are allowed",
    );
  });

  test("a zstd frame in one segment of above 64 MiB is refused", async () => {
    const header = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0xa0, 1, 0, 0, 4);
    expect((await failure("zstd", [header])).code).toBe("E_LIMIT");
  });

  test("xz dictionaries above 64 MiB are refused", async () => {
    const body = pipe(["xz", "-c"], exportText(5000));
    // Block header at 12: size, flags, filter id, size of properties, dictionary size; CRC at 20.
    body[16] = 29;
    new DataView(body.buffer).setUint32(20, crc32(body.subarray(12, 20)), true);
    const error = await failure("xz", [body]);
    expect(error.code).toBe("E_LIMIT");
    expect(error.message).toContain(
      "a dictionary of 100663296 bytes, at most 67108864 are allowed",
    );
  });

  test("xz filters other than LZMA2 are refused", async () => {
    const body = pipe(["xz", "-c", "--x86", "--lzma2"], exportText(5000));
    expect((await failure("xz", [body])).message).toContain("other filters than LZMA2");
  });

  test("the LZ4 frame format is refused", async () => {
    const body = pipe(["lz4", "-c"], exportText(5000));
    expect((await failure("lz4", [body])).message).toContain("not LZ4 frames");
  });

  test("memory grows with the bytes received, not with the sizes declared", () => {
    const zstdOfOneMebibyte = zstdCompressSync(noise(1024 * 1024)).subarray(0, 100);
    const xzOf64MebibyteDictionary = pipe(["xz", "-9", "-c"], exportText(5000)).subarray(0, 300);
    const bodies = { zstd: zstdOfOneMebibyte, xz: xzOf64MebibyteDictionary };
    for (const [encoding, body] of Object.entries(bodies)) {
      const decoder = mustCreate(encoding, () => undefined);
      expect(decoder.push(body)).toBeUndefined();
      expect(decoder.heldBytes).toBeWithin(100, 130_000);
      decoder.abort();
    }
  });

  test("what a long frame took is given back", async () => {
    const body = zstdCompressSync(noise(300_000));
    const decoder = mustCreate("zstd", () => undefined);
    await decoder.push(body.subarray(0, 200_000));
    expect(decoder.heldBytes).toBeGreaterThanOrEqual(200_000);
    await decoder.push(body.subarray(200_000));
    expect(decoder.heldBytes).toBe(0);
    decoder.abort();
  });

  test("between frames of zstd and xz nothing is held", async () => {
    const raw = exportText(100_000);
    for (const [encoding, body] of [
      ["zstd", zstdCompressSync(raw)],
      ["zstd", pipe(["zstd", "-c"], raw)],
      ["xz", pipe(["xz", "-c"], raw)],
    ] as const) {
      const decoder = mustCreate(encoding, () => undefined);
      await decoder.push(body);
      expect(decoder.heldBytes).toBe(0);
      decoder.abort();
    }
  });
});

describe("emit may throw", () => {
  const raw = exportText(400_000);
  const bodies = {
    "zstd, whole frames": ["zstd", encodePieces(raw, 65_524, (piece) => zstdCompressSync(piece))],
    "zstd, stream": ["zstd", pipe(["zstd", "-c"], raw)],
    gzip: ["gzip", pipe(["gzip", "-c"], raw)],
    xz: ["xz", pipe(["xz", "-c", "--lzma2=dict=64KiB"], raw)],
    lz4: ["lz4", encodePieces(raw, 65_524, lz4Piece)],
    identity: ["identity", raw],
  } as const;
  for (const [name, [encoding, body]] of Object.entries(bodies)) {
    test(name, async () => {
      const diskFull = new AgentError("E_NO_SPACE", "Cannot write: disk full");
      let calls = 0;
      const decoder = mustCreate(encoding, () => {
        calls++;
        if (calls === 2) throw diskFull;
      });
      const pushAll = async () => {
        for (const chunk of split(body, () => 20_000)) await decoder.push(chunk);
        await decoder.end();
      };
      expect(await pushAll().catch((error: unknown) => error)).toBe(diskFull);
      if (encoding !== "identity") {
        expect(await pushAll().catch((error: unknown) => error)).toBe(diskFull);
        expect(calls).toBe(2);
      }
      decoder.abort();
      expect(decoder.heldBytes).toBe(0);
    });
  }
});

describe("abort", () => {
  const raw = exportText(3_000_000);
  const bodies = [
    ["zstd", pipe(["zstd", "-c"], raw)],
    ["gzip", pipe(["gzip", "-c"], raw)],
    ["xz", pipe(["xz", "-c"], raw)],
  ] as const;
  for (const [encoding, body] of bodies) {
    test(`${encoding}: a pending push resolves and nothing comes after`, async () => {
      let bytesAfterAbort = 0;
      let isAborted = false;
      const decoder = mustCreate(encoding, (bytes) => {
        if (isAborted) bytesAfterAbort += bytes.length;
      });
      const wait = decoder.push(body);
      expect(wait).toBeInstanceOf(Promise);
      decoder.abort();
      isAborted = true;
      await wait;
      decoder.abort();
      expect(decoder.push(body)).toBeUndefined();
      expect(decoder.end()).toBeUndefined();
      expect(bytesAfterAbort).toBe(0);
      expect(decoder.heldBytes).toBe(0);
    });

    test(`${encoding}: from inside emit`, async () => {
      let calls = 0;
      const decoder = mustCreate(encoding, () => {
        calls++;
        decoder.abort();
      });
      await decoder.push(body);
      await decoder.end();
      expect(calls).toBe(1);
      expect(decoder.heldBytes).toBe(0);
    });
  }

  test("a call while another is pending is a mistake", async () => {
    const decoder = mustCreate("gzip", () => undefined);
    const wait = decoder.push(bodies[1][1]);
    expect(() => decoder.push(bodies[1][1])).toThrow("an earlier call is pending");
    decoder.abort();
    await wait;
  });
});

describe("bombs", () => {
  const MEBIBYTE = 1024 * 1024;
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), "decoder-test-"));
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  const zeros = (mebibytes: number) => new Uint8Array(mebibytes * MEBIBYTE);
  const gibibyte = () => pipe(["sh", "-c", "head -c 1G /dev/zero | zstd -c"], zeros(0));
  // Name, encoding, mebibytes of zeros in the body, how often it is repeated.
  const bombs = [
    ["one frame of 1 GiB", "zstd", 1024, 1, gibibyte],
    ["frames of 1 MiB", "zstd", 1, 1024, () => zstdCompressSync(zeros(1))],
    ["members of 64 MiB", "gzip", 64, 16, () => pipe(["gzip", "-c", "-1"], zeros(64))],
    ["streams of 64 MiB", "xz", 64, 4, () => pipe(["xz", "-c", "-0"], zeros(64))],
    ["pieces of 4 MiB", "lz4", 4, 64, () => lz4Piece(zeros(4))],
  ] as const;
  test.each(bombs)("%s: memory of %s stays bounded", async (name, encoding, size, repeat, make) => {
    const path = join(directory, `${encoding} ${name}`);
    await Bun.write(path, make());
    const script = join(import.meta.dir, "../../support/decode-file.ts");
    const output = pipe([process.execPath, script, encoding, path, String(repeat)], zeros(0));
    const result = JSON.parse(Buffer.from(output).toString());
    expect(result.decodedBytes).toBe(size * repeat * MEBIBYTE);
    expect(result.pieceMax).toBeLessThanOrEqual(PIECE_SIZE_MAX);
    expect(result.heldMax).toBeLessThan(4 * MEBIBYTE);
    expect(result.peakRssBytes).toBeLessThan(150 * MEBIBYTE);
    // The event loop turned meanwhile.
    expect(result.turns).toBeGreaterThan(20);
  });
});
