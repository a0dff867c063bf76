/** What is at a path, as data that can be compared, remembered and made so again. */
import { createHash } from "node:crypto";
import {
  closeSync,
  constants,
  lstatSync,
  openSync,
  readlinkSync,
  readSync,
  statSync,
} from "node:fs";
import { AgentError } from "../errors.ts";
import { resolveIn } from "./rooted-path.ts";

export interface Access {
  mode: number;
  uid: number;
  gid: number;
}

export interface Nothing {
  kind: "nothing";
}
export interface FoundFile extends Access {
  kind: "file";
  sha256: string;
  mtimeMs: number;
}
export interface FoundDirectory extends Access {
  kind: "directory";
}
export interface FoundLink {
  kind: "link";
  target: string;
  uid: number;
  gid: number;
}
export type Found = Nothing | FoundFile | FoundDirectory | FoundLink;

/** A file whose content is kept as `backup/N`. */
export interface SavedFile extends FoundFile {
  backup: number;
}
/** Enough to put it back. */
export type Saved = Nothing | SavedFile | FoundDirectory | FoundLink;

/**
 * @param name for the messages
 * @throws AgentError E_CONFIG for anything but files, directories and links; Error of the file system
 */
export function look(root: string, path: string, name = path): Found {
  const real = resolveIn(root, path);
  const stat = lstatSync(real, { throwIfNoEntry: false });
  if (stat === undefined) return { kind: "nothing" };
  const { uid, gid } = stat;
  const access = { mode: stat.mode & 0o7777, uid, gid };
  if (stat.isSymbolicLink()) return { kind: "link", target: readlinkSync(real), uid, gid };
  if (stat.isDirectory()) return { kind: "directory", ...access };
  if (stat.isFile()) {
    return { kind: "file", sha256: hashFile(real, UNFOLLOWED), ...access, mtimeMs: stat.mtimeMs };
  }
  const message = `Cannot use "${name}": a socket, pipe or device, need a file or nothing`;
  throw new AgentError("E_CONFIG", message);
}

/** Also where a link leads to one. */
export function isDirectory(root: string, path: string): boolean {
  const real = resolveIn(root, path, true);
  return statSync(real, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** But for mode and owner. */
export function isSameContent(a: Found, b: Found): boolean {
  if (a.kind === "file") return b.kind === "file" && a.sha256 === b.sha256;
  if (a.kind === "link") return b.kind === "link" && a.target === b.target;
  return a.kind === b.kind;
}

export function isSameAccess(a: Access, b: Access): boolean {
  return a.mode === b.mode && a.uid === b.uid && a.gid === b.gid;
}

/** Whoever runs this: root, but for tests. */
export function ownAccess(mode: number): Access {
  return { mode, uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
}

export function hashBytes(data: string | Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}

const CHUNK_BYTES = 1 << 20;
/** It was a file a moment ago: it is not to be a link or a pipe that somebody has put there since. */
const UNFOLLOWED = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** Hexadecimal SHA-256, without holding the file: a program has a hundred megabytes. */
export function hashFile(real: string, flags: number = constants.O_RDONLY): string {
  const hash = createHash("sha256");
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  const fd = openSync(real, flags);
  try {
    for (;;) {
      const length = readSync(fd, chunk);
      if (length === 0) return hash.digest("hex");
      hash.update(chunk.subarray(0, length));
    }
  } finally {
    closeSync(fd);
  }
}
