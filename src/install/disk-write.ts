/**
 * Changes of the disk, each of which is there whole or not at all, and synced. A process that was killed leaves at most
 * `PATH.agent-new`, which the next change of the path removes.
 */
import fs from "node:fs";
import { dirname } from "node:path";
import { errnoOf } from "../errors.ts";
import { syncDirectory } from "../platform/synced-file.ts";
import { type Access, type FoundLink, isSameContent, look, type Saved } from "./disk-state.ts";
import { resolveIn } from "./rooted-path.ts";

/** What a file is made of: its bytes, or a file of this machine; one that others may write is not to become a link meanwhile. */
export type Content = string | Uint8Array | { copyOf: string; isLinkRefused?: boolean };

/** @param mtimeMs undefined = now */
export function putFile(
  root: string,
  path: string,
  content: Content,
  access: Access,
  mtimeMs?: number,
): void {
  const real = resolveIn(root, path);
  replaceWhole(real, (temporary) => writeNewFile(temporary, content, access, mtimeMs));
}

export function putLink(root: string, path: string, link: Omit<FoundLink, "kind">): void {
  replaceWhole(resolveIn(root, path), (temporary) => {
    fs.symlinkSync(link.target, temporary);
    fs.lchownSync(temporary, link.uid, link.gid);
  });
}

/** Its parent is there. */
export function putDirectory(root: string, path: string, access: Access): void {
  const real = resolveIn(root, path);
  try {
    fs.mkdirSync(real, { mode: 0o700 });
  } catch (error) {
    if (errnoOf(error) !== "EEXIST") throw error;
  }
  setAccess(real, access);
  syncDirectory(dirname(real));
}

/** A directory is only removed if it is empty. Nothing there is no error, nor a directory above that is not there. */
export function removePath(root: string, path: string): void {
  const real = resolveIn(root, path);
  fs.rmSync(temporaryOf(real), { force: true });
  const { kind } = look(root, path);
  if (kind === "nothing") return;
  if (kind !== "directory") fs.unlinkSync(real);
  else if (!removeIfEmpty(real)) return;
  syncDirectory(dirname(real));
}

/** @param backupOf the real path of a backup by its number */
export function putBack(
  root: string,
  path: string,
  saved: Saved,
  backupOf: (backup: number) => string,
): void {
  const real = resolveIn(root, path);
  const found = look(root, path);
  if (saved.kind === "nothing") {
    removePath(root, path);
  } else if (saved.kind === "directory") {
    putDirectory(root, path, saved);
  } else if (saved.kind === "link") {
    putLink(root, path, saved);
  } else if (isSameContent(found, saved)) {
    fs.rmSync(temporaryOf(real), { force: true });
    setAccess(real, saved);
  } else {
    const copyOf = backupOf(saved.backup);
    putFile(root, path, { copyOf, isLinkRefused: true }, saved, saved.mtimeMs);
  }
}

/** Many as one: what is to go goes from the deepest path up, what is to come from the highest down. */
export function putAllBack(
  root: string,
  states: Readonly<Record<string, Saved>>,
  backupOf: (backup: number) => string,
): void {
  const paths = Object.keys(states).sort();
  const isToGo = (path: string): boolean => states[path]?.kind === "nothing";
  const goes = paths.filter(isToGo).reverse();
  const comes = paths.filter((path) => !isToGo(path));
  for (const path of [...goes, ...comes]) putBack(root, path, states[path] as Saved, backupOf);
}

/** Mode and owner of what is there; a link that somebody puts there meanwhile is not followed. */
export function setAccess(real: string, { mode, uid, gid }: Access): void {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = fs.constants;
  const fd = fs.openSync(real, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    fs.fchownSync(fd, uid, gid);
    // After the change of owner, which clears bits.
    fs.fchmodSync(fd, mode);
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

/** Creates, never replaces. */
export function writeNewFile(
  real: string,
  content: Content,
  { mode, uid, gid }: Access,
  mtimeMs?: number,
): void {
  const { O_CREAT, O_EXCL, O_WRONLY, O_NOFOLLOW } = fs.constants;
  const fd = fs.openSync(real, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW, 0o600);
  try {
    if (typeof content === "object" && "copyOf" in content) copyInto(fd, content);
    else fs.writeFileSync(fd, content);
    fs.fchownSync(fd, uid, gid);
    fs.fchmodSync(fd, mode);
    if (mtimeMs !== undefined) fs.futimesSync(fd, mtimeMs / 1000, mtimeMs / 1000);
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

/** @returns false: there is something in it */
export function removeIfEmpty(real: string): boolean {
  try {
    fs.rmdirSync(real);
    return true;
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === "ENOTEMPTY" || errno === "EEXIST" || errno === "EBUSY") return false;
    throw error;
  }
}

function replaceWhole(real: string, make: (temporary: string) => void): void {
  const temporary = temporaryOf(real);
  fs.rmSync(temporary, { force: true });
  try {
    make(temporary);
    fs.renameSync(temporary, real);
  } catch (error) {
    fs.rmSync(temporary, { force: true });
    throw error;
  }
  syncDirectory(dirname(real));
}

/** What a process that was killed at this path has left. */
export function removeTemporary(root: string, path: string): void {
  fs.rmSync(temporaryOf(resolveIn(root, path)), { force: true });
}

function temporaryOf(real: string): string {
  return `${real}.agent-new`;
}

const CHUNK_BYTES = 1 << 20;

function copyInto(
  fd: number,
  { copyOf, isLinkRefused }: Exclude<Content, string | Uint8Array>,
): void {
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = fs.constants;
  const careful = isLinkRefused === true ? O_NOFOLLOW | O_NONBLOCK : 0;
  const from = fs.openSync(copyOf, O_RDONLY | careful);
  try {
    for (;;) {
      const length = fs.readSync(from, chunk);
      if (length === 0) return;
      for (let done = 0; done < length; ) done += fs.writeSync(fd, chunk, done, length - done);
    }
  } finally {
    fs.closeSync(from);
  }
}
