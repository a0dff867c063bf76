/** Files that are whole and on disk, or not there: written aside, synced, renamed. */
import fs from "node:fs";
import { dirname } from "node:path";

export interface FileOwner {
  uid: number;
  gid: number;
}

export interface FileAccess {
  mode: number;
  /** Undefined: whoever runs this. */
  owner?: FileOwner | undefined;
}

/**
 * Makes a file that was not there, and syncs it. Until its content is complete nobody else can read it.
 * @throws Error of the file system, EEXIST if there is anything of this name: a link is not followed
 */
export function createSynced(path: string, data: string | Uint8Array, access: FileAccess): void {
  const { O_CREAT, O_EXCL, O_WRONLY, O_NOFOLLOW } = fs.constants;
  const fd = fs.openSync(path, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW, 0o600);
  try {
    fs.writeFileSync(fd, data);
    if (access.owner !== undefined) fs.fchownSync(fd, access.owner.uid, access.owner.gid);
    // After the change of owner, which clears bits; not subject to the umask.
    fs.fchmodSync(fd, access.mode);
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

/**
 * Puts a file there, or in place of the one that is: at any moment there is the old one or the new one, whole.
 * @throws Error of the file system; the old file is then still there
 */
export function replaceSynced(path: string, data: string | Uint8Array, access: FileAccess): void {
  const temporary = `${path}.${process.pid}.tmp`;
  // Of an earlier process that had this number and was killed.
  fs.rmSync(temporary, { force: true });
  try {
    createSynced(temporary, data, access);
    fs.renameSync(temporary, path);
  } catch (error) {
    fs.rmSync(temporary, { force: true });
    throw error;
  }
  syncDirectory(dirname(path));
}

/** Makes what was created, renamed or removed in the directory last. */
export function syncDirectory(path: string): void {
  const fd = fs.openSync(path, fs.constants.O_RDONLY);
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}
