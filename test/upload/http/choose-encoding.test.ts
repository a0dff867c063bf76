import { expect, test } from "bun:test";
import { chooseEncoding } from "../../../src/upload/http/choose-encoding.ts";
import { type EncodingSetting, UPLOAD_ENCODINGS } from "../../../src/upload/settings.ts";

const STOCK = "zstd;q=1.0,xz;q=0.8,lz4;q=0.6,gzip;q=0.4,bzip2;q=0.2";

test.each<[header: string | undefined, configured: string, expected: string | undefined]>([
  [undefined, "zstd xz lz4 gzip", undefined],
  ["", "zstd xz lz4 gzip", undefined],
  [STOCK, "gzip lz4 xz zstd", "zstd"],
  [STOCK, "gzip lz4", "lz4"],
  [STOCK, "", undefined],
  ["bzip2, br, identity", "zstd gzip", undefined],
  ["gzip, zstd", "zstd gzip", "zstd"],
  ["gzip, zstd", "gzip zstd", "gzip"],
  ["  gzip ; q=0.5 ,\tZSTD;q=0.6", "gzip zstd", "zstd"],
  ["gzip;q=1,zstd;q=0", "zstd gzip", "gzip"],
  ["zstd;q=0.000", "zstd", undefined],
  ["*", "lz4 gzip", "lz4"],
  ["gzip;q=0.1,*;q=0.5", "gzip lz4", "lz4"],
  ["*;q=0,gzip", "lz4 gzip", "gzip"],
  ["*,lz4;q=0", "lz4 gzip", "gzip"],
  ["zstd;x=y;Q=0.3,gzip;q=0.4", "zstd gzip", "gzip"],
  ["zstd;q=high", "zstd", "zstd"],
  [",,zstd,", "zstd", "zstd"],
])("chooseEncoding(%p) of %p is %p", (header, configured, expected) => {
  const settings = configured
    .split(" ")
    .map((name) => UPLOAD_ENCODINGS.find((encoding) => encoding === name))
    .filter((encoding) => encoding !== undefined)
    .map((encoding): EncodingSetting => ({ encoding, level: 3 }));
  expect(chooseEncoding(header, settings)?.encoding).toBe(expected as EncodingSetting["encoding"]);
});
