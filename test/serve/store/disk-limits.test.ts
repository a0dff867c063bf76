import { describe, expect, test } from "bun:test";
import type { RetentionSettings } from "../../../src/serve/settings.ts";
import {
  type DiskLimits,
  diskLimits,
  readFileSystemSpace,
} from "../../../src/serve/store/disk-limits.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

const AUTOMATIC: RetentionSettings = {
  maxUseBytes: undefined,
  keepFreeBytes: undefined,
  maxFileSizeBytes: undefined,
  maxFiles: undefined,
  maxRetentionSec: 0,
  maxFileSec: 0,
};

/** [maxUse, minUse, maxFileSize, keepFree, maxFiles] */
function limitsOf(settings: Partial<RetentionSettings>, size: number | undefined, compact = true) {
  const limits: DiskLimits = diskLimits({ ...AUTOMATIC, ...settings }, size, compact);
  const { maxUseBytes, minUseBytes, maxFileSizeBytes, keepFreeBytes, maxFiles } = limits;
  return [maxUseBytes, minUseBytes, maxFileSizeBytes, keepFreeBytes, maxFiles];
}

describe("diskLimits() without settings", () => {
  test.each([
    ["unknown", undefined, [1 * MIB, 1 * MIB, 512 * KIB, 1 * MIB, 100]],
    ["reported as 0", 0, [1 * MIB, 1 * MIB, 512 * KIB, 1 * MIB, 100]],
    ["4 MiB", 4 * MIB, [1 * MIB, 1 * MIB, 512 * KIB, 208 * KIB, 100]],
    ["100 MiB", 100 * MIB, [10 * MIB, 2 * MIB, 1280 * KIB, 5 * MIB, 100]],
    ["10 GiB", 10 * GIB, [1 * GIB, 16 * MIB, 128 * MIB, 512 * MIB, 100]],
    ["40 GiB", 40 * GIB, [4 * GIB, 16 * MIB, 128 * MIB, 2 * GIB, 100]],
    ["2 TiB", 2048 * GIB, [4 * GIB, 16 * MIB, 128 * MIB, 4 * GIB, 100]],
  ] as const)("is stock's for a file system of size %s", (_, size, expected) => {
    expect(limitsOf({}, size)).toEqual([...expected]);
  });

  test("rounds up to pages", () => {
    const size = 100 * MIB + 70 * KIB; // 10 % = 10 MiB + 7 KiB, 2 % = 2 MiB + 1.4 KiB, 5 % = 5 MiB + 3.5 KiB
    expect(limitsOf({}, size)).toEqual([
      10 * MIB + 8 * KIB,
      2 * MIB + 4 * KIB,
      1280 * KIB + 4 * KIB, // an eighth of the rounded 10 %
      5 * MIB + 4 * KIB,
      100,
    ]);
  });
});

describe("diskLimits() with settings", () => {
  const size = 10 * GIB;
  test.each([
    ["MaxUse= in whole pages", { maxUseBytes: 80 * MIB + 1 }, [80 * MIB + 4096, 10 * MIB + 4096]],
    ["MaxUse= of two small files", { maxUseBytes: 1 }, [1 * MIB, 512 * KIB]],
    ["MaxFileSize= in whole pages", { maxFileSizeBytes: 1 * MIB + 1 }, [1 * GIB, 1 * MIB + 4096]],
    ["MaxFileSize= at least 512 KiB", { maxFileSizeBytes: 1 }, [1 * GIB, 512 * KIB]],
    ["MaxFileSize= over the automatic", { maxFileSizeBytes: 300 * MIB }, [1 * GIB, 300 * MIB]],
    ["MaxUse= raised to two files", { maxFileSizeBytes: 600 * MIB }, [1200 * MIB, 600 * MIB]],
    [
      "a given MaxUse= raised to two files",
      { maxUseBytes: 10 * MIB, maxFileSizeBytes: 6 * MIB },
      [12 * MIB, 6 * MIB],
    ],
    ["MaxUse=0", { maxUseBytes: 0 }, [0, 128 * MIB]],
    ["MaxUse=0 beside MaxFileSize=", { maxUseBytes: 0, maxFileSizeBytes: GIB }, [0, GIB]],
    ["MaxFileSize=0", { maxFileSizeBytes: 0 }, [1 * GIB, 0]],
  ] as const)("takes %s", (_, settings, [maxUse, maxFileSize]) => {
    const [use, , fileSize] = limitsOf(settings, size);
    expect([use, fileSize]).toEqual([maxUse, maxFileSize]);
  });

  test("takes KeepFree= and MaxFiles= as they are", () => {
    expect(limitsOf({ keepFreeBytes: 12345, maxFiles: 7 }, size).slice(3)).toEqual([12345, 7]);
    expect(limitsOf({ keepFreeBytes: 0, maxFiles: 0 }, size).slice(3)).toEqual([0, 0]);
  });

  test("ends compact files at 4 GiB, regular ones not", () => {
    const settings = { maxFileSizeBytes: 5 * GIB };
    expect(limitsOf(settings, size, true)[2]).toBe(4 * GIB - 1);
    expect(limitsOf(settings, size, false)[2]).toBe(5 * GIB);
  });

  test("keeps the floor under KeepFree= below MaxUse=, but not at 0 without MaxUse=", () => {
    expect(limitsOf({ maxUseBytes: 4 * MIB }, size)[1]).toBe(4 * MIB);
    expect(limitsOf({ maxUseBytes: 0 }, size)[1]).toBe(16 * MIB);
    // The floor comes from MaxUse= as it was before MaxFileSize= raised it.
    expect(limitsOf({ maxUseBytes: 4 * MIB, maxFileSizeBytes: 8 * MIB }, size)[1]).toBe(4 * MIB);
  });
});

describe("readFileSystemSpace()", () => {
  test("tells size and free space", () => {
    const space = readFileSystemSpace(import.meta.dir);
    expect(space?.sizeBytes).toBeGreaterThan(MIB);
    expect(space?.freeBytes).toBeLessThanOrEqual(space?.sizeBytes ?? 0);
  });

  test("is undefined for a path that is not there", () => {
    expect(readFileSystemSpace(`${import.meta.dir}/missing`)).toBeUndefined();
  });
});
