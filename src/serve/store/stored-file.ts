/** What the store knows of a journal file that is not open for writing: its name and its header. */
import fs from "node:fs";
import { join } from "node:path";
import { formatId128 } from "../../bytes/id128.ts";
import { FileState, HEADER_SIZE } from "../../journal/format.ts";
import { decodeHeader } from "../../journal/header.ts";

export interface StoredFile {
  path: string;
  state: number;
  seqnumIdHex: string;
  entries: number;
  headSeqnum: number;
  tailSeqnum: number;
  headRealtimeUsec: number;
  tailRealtimeUsec: number;
  /** DATA objects, from which the size of the next file's hash table is chosen. */
  data: number;
}

/** Reads a file's header; undefined when it is not a readable journal file (any more). */
export function readStoredFile(path: string): StoredFile | undefined {
  let fd: number;
  try {
    fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  } catch {
    return undefined;
  }
  try {
    const stat = fs.fstatSync(fd);
    if (!stat.isFile()) return undefined;
    const head = new Uint8Array(HEADER_SIZE);
    const count = fs.readSync(fd, head, 0, HEADER_SIZE, 0);
    const header = decodeHeader(head.subarray(0, count), stat.size);
    return {
      path,
      state: header.state,
      seqnumIdHex: formatId128(header.seqnumId),
      entries: header.entries,
      headSeqnum: header.headEntrySeqnum,
      tailSeqnum: header.tailEntrySeqnum,
      headRealtimeUsec: header.headEntryRealtime,
      tailRealtimeUsec: header.tailEntryRealtime,
      data: header.data ?? 0,
    };
  } catch {
    // A header that cannot be read means no entry of the file can: nothing to recognise in it.
    return undefined;
  } finally {
    fs.closeSync(fd);
  }
}

/**
 * Whether nobody ever wrote a header: its writer was killed while it made the file. There are no entries in
 * it, since the first one comes after the header.
 */
export function hasNoHeader(path: string): boolean {
  let fd: number;
  try {
    fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  } catch {
    return false;
  }
  try {
    if (!fs.fstatSync(fd).isFile()) return false;
    const head = new Uint8Array(HEADER_SIZE);
    fs.readSync(fd, head, 0, HEADER_SIZE, 0);
    return head.every((byte) => byte === 0);
  } finally {
    fs.closeSync(fd);
  }
}

/** Whether the file was left by a crash, or is being written by somebody else. */
export function isUnclean(file: StoredFile): boolean {
  return file.state === FileState.online;
}

/** All regular entries of a directory, or none when it cannot be read. */
export function listDirectory(directory: string): string[] {
  return fs.readdirSync(directory).map((name) => join(directory, name));
}
