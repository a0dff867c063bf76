/**
 * Enforces the limits on received journals: looks at the directory, has `retention-plan.ts` decide,
 * deletes. To be called at start, after a rotation and on a timer, one call at a time for a directory.
 *
 * Deleting is `unlink`, so a reader that has the file open (`journalctl -f`) keeps it until it closes
 * it, and the space comes free then. (Stock also punches a hole into it or truncates it; a reader that has
 * mapped it dies of that.)
 *
 * The file system is called synchronously, which costs a few microseconds a file, but no longer than
 * 10 ms at a stretch: other work of the process runs in between. Planning is in one piece.
 */
import { lstatSync, readdirSync, type Stats, unlinkSync } from "node:fs";
import { join } from "node:path";
import { AgentError, errnoOf, reasonOf } from "../../errors.ts";
import { HEADER_SIZE_MIN } from "../../journal/format.ts";
import { parseFileName } from "./names.ts";
import {
  type Deletion,
  type DiskFile,
  planRetention,
  type RetentionPlan,
  type RetentionRules,
} from "./retention-plan.ts";

/** What the rules need from a file's header. */
export interface HeaderFacts {
  entries: number;
  /** Time of the newest entry, 0 when there is none. */
  tailRealtimeUsec: number;
}

export interface ScanOptions {
  directory: string;
  /** Whether files of this base are ours to judge: `isSenderBase`, or the one of the output file. */
  isOurs(base: string): boolean;
  /** Whether the file is open for writing now, or about to be: true from the decision to open it. */
  isFileOpen(path: string): boolean;
  /**
   * Facts from the file's header, or from memory: closed files do not change. Undefined when it
   * cannot be read; must not throw.
   */
  readHeader(path: string): HeaderFacts | undefined;
}

export interface RetentionOptions extends ScanOptions, Omit<RetentionRules, "freeBytes"> {
  /** Asked once, after the scan. Bytes; undefined when it cannot be told. */
  readFreeBytes(): number | undefined;
  /** Called right after each deletion, before the name can be used again. */
  onDeleted?(deletion: Deletion): void;
}

/** What was deleted, and how things stand after it. */
export interface RetentionResult extends RetentionPlan {
  /** What could not be looked at or deleted; such files stay, the others go. */
  failures: AgentError[];
}

export interface Scan {
  files: DiskFile[];
  failures: AgentError[];
}

const SLICE_MS = 10;

/** A file that cannot be deleted calls for another plan, in which others take its place. */
const PLANS_MAX = 3;

/**
 * Deletes what the rules ask for. Failures with single files are returned, not thrown.
 * @throws AgentError E_IO when the directory cannot be read
 */
export async function enforceRetention(options: RetentionOptions): Promise<RetentionResult> {
  const { files, failures } = await scanDirectory(options);
  const deletions: Deletion[] = [];
  const freeBytes = options.readFreeBytes();
  const { limits, maxRetentionSec, nowUsec } = options;
  const planFor = (left: DiskFile[]): RetentionPlan => {
    const freedBytes = deletions.reduce((sum, { file }) => sum + file.sizeBytes, 0);
    const freeNow = freeBytes === undefined ? undefined : freeBytes + freedBytes;
    return planRetention(left, { limits, maxRetentionSec, nowUsec, freeBytes: freeNow });
  };
  let left = files;
  for (let plans = 1; plans <= PLANS_MAX; plans++) {
    const plan = planFor(left);
    const stuck = await carryOut(plan.deletions, options, { deletions, failures });
    if (stuck.size === 0) return { ...plan, deletions, failures };
    const planned = new Set(plan.deletions.map(({ file }) => file));
    left = left.filter((file) => stuck.has(file) || !planned.has(file));
    left = left.map((file) => (stuck.has(file) ? { ...file, isOpen: true } : file));
  }
  const untouchable = left.map((file) => ({ ...file, isOpen: true }));
  return { ...planFor(untouchable), deletions, failures };
}

/**
 * The journal files of a directory; sub-directories, links and other names are left out.
 * @throws AgentError E_IO when the directory cannot be read
 */
export async function scanDirectory(options: ScanOptions): Promise<Scan> {
  const scan: Scan = { files: [], failures: [] };
  const pause = slicer();
  for (const fileName of listDirectory(options.directory)) {
    const name = parseFileName(fileName);
    if (name === undefined || !options.isOurs(name.base)) continue;
    const path = join(options.directory, fileName);
    try {
      const stats = lstatSync(path);
      if (!stats.isFile()) continue;
      scan.files.push({
        path,
        name,
        sizeBytes: stats.blocks * 512,
        ...readFacts(path, stats, options),
        isOpen: options.isFileOpen(path),
        inode: stats.ino,
        mtimeMs: stats.mtimeMs,
      });
    } catch (error) {
      if (errnoOf(error) !== "ENOENT") scan.failures.push(failure("read", path, error));
    }
    await pause();
  }
  return scan;
}

function listDirectory(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    throw failure("list", directory, error);
  }
}

function readFacts(
  path: string,
  stats: Stats,
  options: ScanOptions,
): Pick<DiskFile, "entries" | "newestUsec"> {
  const writtenUsec = Math.floor(stats.mtimeMs * 1000);
  if (stats.size < HEADER_SIZE_MIN) return { entries: 0, newestUsec: writtenUsec };
  const header = options.readHeader(path);
  if (header === undefined) return { entries: undefined, newestUsec: writtenUsec };
  const { entries, tailRealtimeUsec } = header;
  if (tailRealtimeUsec === 0) return { entries, newestUsec: writtenUsec };
  // An entry is not newer than the write that stored it: the files of a sender whose clock runs
  // ahead would never expire.
  return { entries, newestUsec: Math.min(tailRealtimeUsec, writtenUsec) };
}

/** Adds to `done` as it goes; returns the files that are still there. */
async function carryOut(
  planned: readonly Deletion[],
  options: RetentionOptions,
  done: Pick<RetentionResult, "deletions" | "failures">,
): Promise<Set<DiskFile>> {
  const stuck = new Set<DiskFile>();
  const pause = slicer();
  for (const deletion of planned) {
    const outcome = tryDelete(deletion.file, options);
    if (outcome === "deleted") {
      done.deletions.push(deletion);
      options.onDeleted?.(deletion);
    } else if (outcome !== "gone") {
      stuck.add(deletion.file);
      if (outcome !== "in use") done.failures.push(outcome);
    }
    await pause();
  }
  return stuck;
}

function tryDelete(
  file: DiskFile,
  options: RetentionOptions,
): "deleted" | "gone" | "in use" | AgentError {
  const { path } = file;
  try {
    if (options.isFileOpen(path)) return "in use";
    // Since the scan it may have grown, or been rotated away and followed by another of its name.
    const { ino, mtimeMs } = lstatSync(path);
    if (ino !== file.inode || mtimeMs !== file.mtimeMs) return "in use";
    unlinkSync(path);
    return "deleted";
  } catch (error) {
    return errnoOf(error) === "ENOENT" ? "gone" : failure("delete", path, error);
  }
}

/** Returns a function that lets other work run when its turn has lasted long enough. */
function slicer(): () => Promise<void> {
  let startMs = performance.now();
  return async () => {
    if (performance.now() - startMs < SLICE_MS) return;
    await new Promise((resolve) => setImmediate(resolve));
    startMs = performance.now();
  };
}

function failure(verb: string, path: string, error: unknown): AgentError {
  return new AgentError("E_IO", `Cannot ${verb} "${path}": ${reasonOf(error)}`, { cause: error });
}
