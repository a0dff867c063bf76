/**
 * Several files of the authority's directory changed as one: killed at any moment, either nothing of it has happened or
 * the next command completes it. New files lie complete and synced in `.pending/` before `.pending/commit` appears,
 * by a rename: that is the moment from which the change holds. It says what is to be done, and doing it twice does no harm:
 *
 *   {"append": {"file": "index", "sizeBefore": 1234, "text": "V\t…\n"}, "replace": ["serial", "web1.key", "web1.pem"], "remove": []}
 */
import {
  closeSync,
  constants,
  fsyncSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { AgentError, errnoOf } from "../errors.ts";
import { createSynced, type FileAccess, syncDirectory } from "../platform/synced-file.ts";

export interface NewFile extends FileAccess {
  /** In the directory. */
  name: string;
  data: string | Uint8Array;
}

export interface Change {
  /** Files that are made or replaced, in this order. */
  replace: readonly NewFile[];
  /** To the end of a file, which is made if need be. */
  append?: { file: string; text: string };
  /** Files that are removed, after all else. */
  remove?: readonly string[];
}

interface Manifest {
  append: { file: string; sizeBefore: number; text: string } | undefined;
  replace: string[];
  remove: string[];
}

const PENDING = ".pending";
const COMMIT = "commit";

/** Whoever calls holds the lock. @throws Error of the file system; then nothing has changed, or `recoverChange()` completes it */
export function commitChange(directory: string, change: Change): void {
  const pending = join(directory, PENDING);
  mkdirSync(pending, { mode: 0o700 });
  try {
    for (const { name, data, ...access } of change.replace) {
      createSynced(join(pending, name), data, access);
    }
    const manifest = manifestOf(directory, change);
    createSynced(join(pending, `${COMMIT}.tmp`), JSON.stringify(manifest), { mode: 0o600 });
    syncDirectory(directory);
    renameSync(join(pending, `${COMMIT}.tmp`), join(pending, COMMIT));
    syncDirectory(pending);
  } catch (error) {
    rmSync(pending, { recursive: true, force: true });
    throw error;
  }
  completeChange(directory);
}

/** Whether a run was interrupted. */
export function isChangePending(directory: string): boolean {
  return lstatSync(join(directory, PENDING), { throwIfNoEntry: false }) !== undefined;
}

/**
 * What an interrupted run left: completed or taken back. Whoever calls holds the lock.
 * @returns undefined when there was nothing to do
 */
export function recoverChange(directory: string): "completed" | "undone" | undefined {
  const pending = join(directory, PENDING);
  const stat = lstatSync(pending, { throwIfNoEntry: false });
  if (stat === undefined) return undefined;
  if (!stat.isDirectory() || (process.geteuid?.() === 0 && stat.uid !== 0)) {
    const message = `Cannot use "${pending}": somebody else made it, need a directory of this program's`;
    throw new AgentError("E_CERT", message, { hint: `Remove it: rm -r "${pending}"` });
  }
  const waiting = readdirSync(pending);
  if (!waiting.includes(COMMIT)) {
    rmSync(pending, { recursive: true, force: true });
    // Empty it is before the first step of a change, and after the last.
    return waiting.length === 0 ? undefined : "undone";
  }
  completeChange(directory);
  return "completed";
}

function manifestOf(directory: string, { append, replace, remove = [] }: Change): Manifest {
  return {
    append: append && { ...append, sizeBefore: sizeOf(join(directory, append.file)) },
    replace: replace.map(({ name }) => name),
    remove: [...remove],
  };
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

function completeChange(directory: string): void {
  const pending = join(directory, PENDING);
  const manifest = JSON.parse(readFileSync(join(pending, COMMIT), "utf8")) as Manifest;
  if (manifest.append !== undefined) appendOnce(directory, manifest.append);
  const waiting = new Set(readdirSync(pending));
  for (const name of manifest.replace) {
    if (waiting.has(name)) renameSync(join(pending, name), join(directory, name));
  }
  for (const name of manifest.remove) rmSync(join(directory, name), { force: true });
  syncDirectory(directory);
  rmSync(join(pending, COMMIT));
  rmdirSync(pending);
}

/** A file that is longer already was appended to before the interruption, perhaps in part. */
function appendOnce(directory: string, append: NonNullable<Manifest["append"]>): void {
  const bytes = Buffer.from(append.text);
  const path = join(directory, append.file);
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o644);
  try {
    const found = Buffer.alloc(bytes.length);
    const length = readSync(fd, found, 0, found.length, append.sizeBefore);
    if (length === bytes.length && found.equals(bytes)) return;
    ftruncateSync(fd, append.sizeBefore);
    writeSync(fd, bytes, 0, bytes.length, append.sizeBefore);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Errors of the file system as errors for users; others as they are. */
export function asFileError(error: unknown): unknown {
  const errno = errnoOf(error);
  if (error instanceof AgentError || errno === undefined || !(error instanceof Error)) return error;
  const path: unknown = Reflect.get(error, "path");
  const syscall: unknown = Reflect.get(error, "syscall");
  if (typeof syscall !== "string") return error;
  const code = errno === "ENOSPC" || errno === "EDQUOT" ? "E_NO_SPACE" : "E_IO";
  const reason = error.message.replace(/^[A-Z0-9]+: /, "").replace(/, \w+( '.*')?$/, "");
  const thing = typeof path === "string" ? ` "${path}"` : " a file";
  const hint =
    errno === "EACCES" || errno === "EPERM" ? { hint: "The authority is root's: use sudo" } : {};
  return new AgentError(code, `Cannot ${syscall}${thing}: ${reason}`, { cause: error, ...hint });
}
