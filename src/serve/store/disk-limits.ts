/**
 * How much disk the received journals may take: the settings, completed from the file system's size.
 * The rules and defaults are systemd's, journal-file.c: journal_default_metrics(), the same from 252
 * to 262, with one difference. With MaxUse=0 (no limit) stock derives from that 0 a file size without
 * limit, for which it then makes the smallest hash table, and no floor under KeepFree=. Here
 * "no limit" counts as a very large one: files of 128 MiB, and the usual floor.
 */
import { statfsSync } from "node:fs";
import { COMPACT_FILE_SIZE_MAX } from "../../journal/format.ts";
import type { RetentionSettings } from "../settings.ts";

/** Sizes in bytes, whole pages unless they are KeepFree's; 0 = no limit. */
export interface DiskLimits {
  /** All files of the directory together. */
  maxUseBytes: number;
  /** KeepFree= never makes the files of the directory shrink below this. */
  minUseBytes: number;
  maxFileSizeBytes: number;
  /** What is to stay free for others on the file system. */
  keepFreeBytes: number;
  maxFiles: number;
}

export interface FileSystemSpace {
  sizeBytes: number;
  /** What a process without privileges may still use. */
  freeBytes: number;
}

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

/** Stock rounds to the machine's page; where that is larger than this, the difference is too. */
const PAGE_SIZE = 4 * KIB;

/** No journal file is limited to less. */
const FILE_SIZE_MIN = 512 * KIB;
const AUTO_FILE_SIZE_MAX = 128 * MIB;

const AUTO_USE_MIN = 1 * MIB;
const AUTO_USE_MAX = 4 * GIB;
const AUTO_MIN_USE_MIN = 1 * MIB;
const AUTO_MIN_USE_MAX = 16 * MIB;
const AUTO_KEEP_FREE_MAX = 4 * GIB;
const AUTO_KEEP_FREE_UNKNOWN = 1 * MIB;
const AUTO_FILES_MAX = 100;

/**
 * @param fileSystemSizeBytes undefined (or 0) when it cannot be told; then small limits apply
 * @param compact whether files are written in the compact format, which ends at 4 GiB
 */
export function diskLimits(
  settings: RetentionSettings,
  fileSystemSizeBytes: number | undefined,
  compact: boolean,
): DiskLimits {
  const size = fileSystemSizeBytes ?? 0; // the lower bounds below are what stock takes then
  const useBytes = useLimit(settings.maxUseBytes, size);
  const maxFileSizeBytes = fileSizeLimit(settings.maxFileSizeBytes, useBytes, compact);
  const minUseBytes = clamp(pageAlign(size / 50), AUTO_MIN_USE_MIN, AUTO_MIN_USE_MAX); // 2 %
  const isUseLimited = useBytes !== 0;
  return {
    // There must be room for a file and the one that follows it.
    maxUseBytes: isUseLimited ? Math.max(useBytes, 2 * maxFileSizeBytes) : 0,
    minUseBytes: isUseLimited ? Math.min(minUseBytes, useBytes) : minUseBytes,
    maxFileSizeBytes,
    keepFreeBytes: settings.keepFreeBytes ?? automaticKeepFree(size),
    maxFiles: settings.maxFiles ?? AUTO_FILES_MAX,
  };
}

/** Size and free space of the file system that holds `path`; undefined when it cannot be told. */
export function readFileSystemSpace(path: string): FileSystemSpace | undefined {
  try {
    const { frsize, blocks, bavail } = statfsSync(path);
    return { sizeBytes: blocks * frsize, freeBytes: bavail * frsize };
  } catch {
    return undefined;
  }
}

function useLimit(setting: number | undefined, fileSystemSize: number): number {
  if (setting === undefined) {
    return clamp(pageAlign(fileSystemSize / 10), AUTO_USE_MIN, AUTO_USE_MAX); // 10 %
  }
  return setting === 0 ? 0 : Math.max(pageAlign(setting), 2 * FILE_SIZE_MIN);
}

function fileSizeLimit(setting: number | undefined, maxUse: number, compact: boolean): number {
  const ceiling = compact ? COMPACT_FILE_SIZE_MAX : Number.MAX_SAFE_INTEGER;
  if (setting === 0) return 0;
  if (setting !== undefined) return clamp(pageAlign(setting), FILE_SIZE_MIN, ceiling);
  if (maxUse === 0) return AUTO_FILE_SIZE_MAX;
  return clamp(pageAlign(maxUse / 8), FILE_SIZE_MIN, AUTO_FILE_SIZE_MAX); // 8 files
}

function automaticKeepFree(fileSystemSize: number): number {
  if (fileSystemSize === 0) return AUTO_KEEP_FREE_UNKNOWN;
  return Math.min(pageAlign(fileSystemSize / 20), AUTO_KEEP_FREE_MAX); // 5 %
}

function pageAlign(bytes: number): number {
  return Math.ceil(Math.floor(bytes) / PAGE_SIZE) * PAGE_SIZE;
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), high);
}
