/**
 * Journals that were received before, when their group was another one: those who may read journals get to read them, and
 * lose it again. They are in a directory of a daemon's, which renames its files and may put there what it likes: files are
 * known by the id in them, links are not followed, and nothing but group and permissions is changed.
 */
import fs from "node:fs";
import { join } from "node:path";
import { errnoOf } from "../errors.ts";
import { findGroup } from "../platform/accounts.ts";
import { readFileId } from "./journal-file-id.ts";
import type { JournalAccess } from "./manifest.ts";
import type { SharedJournals } from "./plan.ts";
import { resolveIn } from "./rooted-path.ts";

/** No file of a daemon's gets more from us: set-id bits are not among them. */
const PERMISSIONS = 0o777;
const GROUP_PERMISSIONS = 0o070;
const GROUP_READ = 0o040;

/** Rotation renames files while they are listed, but not that often. */
const LISTINGS_MAX = 4;

/** @returns what they have now, by file id: those that the group cannot read */
export function findUnshared(
  root: string,
  { directory, group }: SharedJournals,
): Record<string, JournalAccess> {
  const gid = findGroup(group, resolveIn(root, "/etc/group", true));
  const unshared: Record<string, JournalAccess> = {};
  if (gid === undefined) return unshared;
  visitJournals(resolveIn(root, directory, true), (_fd, fileId, stat) => {
    if (stat.gid === gid && (stat.mode & GROUP_READ) !== 0) return;
    unshared[fileId] = { gid: stat.gid, mode: stat.mode & PERMISSIONS };
  });
  return unshared;
}

/** @param before which: others that came meanwhile are left alone */
export function shareJournals(
  root: string,
  { directory, group }: SharedJournals,
  before: Readonly<Record<string, JournalAccess>>,
): void {
  const gid = findGroup(group, resolveIn(root, "/etc/group", true));
  if (gid === undefined) return;
  visitJournals(resolveIn(root, directory, true), (fd, fileId, stat) => {
    if (!Object.hasOwn(before, fileId)) return;
    const others = stat.mode & PERMISSIONS & ~GROUP_PERMISSIONS;
    setGroup(fd, stat, { gid, mode: others | GROUP_READ });
  });
}

/** It can be repeated. Those that are gone are no error. */
export function takeBackJournals(
  root: string,
  directory: string,
  before: Readonly<Record<string, JournalAccess>>,
): void {
  if (Object.keys(before).length === 0) return;
  visitJournals(resolveIn(root, directory, true), (fd, fileId, stat) => {
    const access = Object.hasOwn(before, fileId) ? before[fileId] : undefined;
    if (access !== undefined) setGroup(fd, stat, access);
  });
}

type Visit = (fd: number, fileId: string, stat: fs.Stats) => void;

/** May come to one twice. Those in directories below were never received. */
function visitJournals(directory: string, visit: Visit): void {
  for (let listing = 1; listing <= LISTINGS_MAX; listing++) {
    if (visitListed(directory, visit)) return;
  }
}

/** @returns false: something was renamed or removed meanwhile */
function visitListed(directory: string, visit: Visit): boolean {
  let isWhole = true;
  for (const entry of listDirectory(directory)) {
    if (!entry.isFile()) continue;
    const fd = openAsIs(join(directory, entry.name));
    if (fd === "gone") isWhole = false;
    if (typeof fd !== "number") continue;
    try {
      const stat = fs.fstatSync(fd);
      // With a second name it is perhaps somebody else's.
      const fileId = stat.isFile() && stat.nlink === 1 ? readFileId(fd) : undefined;
      if (fileId !== undefined) visit(fd, fileId, stat);
    } finally {
      fs.closeSync(fd);
    }
  }
  return isWhole;
}

function listDirectory(directory: string): fs.Dirent[] {
  try {
    return fs.readdirSync(directory, { withFileTypes: true });
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === "ENOENT" || errno === "ENOTDIR") return [];
    throw error;
  }
}

function openAsIs(path: string): number | "gone" | "a link" {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = fs.constants;
  try {
    return fs.openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === "ENOENT") return "gone";
    if (errno === "ELOOP") return "a link";
    throw error;
  }
}

function setGroup(fd: number, { uid }: fs.Stats, { gid, mode }: JournalAccess): void {
  // At no time does one group have the permissions of the other.
  fs.fchmodSync(fd, mode & ~GROUP_PERMISSIONS);
  fs.fchownSync(fd, uid, gid);
  fs.fchmodSync(fd, mode);
  fs.fsyncSync(fd);
}
