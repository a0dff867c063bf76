/** What the store knows of a journal file that is not open for writing: its name and its header. */
import fs from "node:fs";
import { formatId128 } from "../../bytes/id128.ts";
import { AgentError, errnoOf, reasonOf } from "../../errors.ts";
import { FileState, HEADER_SIZE } from "../../journal/format.ts";
import { decodeHeader, type JournalHeader } from "../../journal/header.ts";
import { type JournalFileFormat, requireAppendable } from "../../journal/new-header.ts";
import type { JournalWriter } from "../../journal/writer.ts";

export interface StoredFile {
  path: string;
  /** FileState: offline = may be continued. */
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

/**
 * Reads a file's header; undefined when it is not a readable journal file (any more).
 * @param format of the files this program continues: a closed one of another kind counts as archived
 * @throws AgentError E_IO when there is no descriptor left to look with: that says nothing about the file
 */
export function readStoredFile(path: string, format?: JournalFileFormat): StoredFile | undefined {
  const fd = openToRead(path);
  if (fd === undefined) return undefined;
  try {
    const stat = fs.fstatSync(fd);
    if (!stat.isFile()) return undefined;
    const head = new Uint8Array(HEADER_SIZE);
    const count = fs.readSync(fd, head, 0, HEADER_SIZE, 0);
    const header = decodeHeader(head.subarray(0, count), stat.size);
    return {
      path,
      state: stateOf(path, header, format),
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

function stateOf(path: string, header: JournalHeader, format?: JournalFileFormat): number {
  if (header.state !== FileState.offline || format === undefined) return header.state;
  try {
    requireAppendable(path, header, format);
    return FileState.offline;
  } catch {
    return FileState.archived;
  }
}

/** The same of a file just closed, from memory. */
export function closedFile(writer: JournalWriter, state: number): StoredFile {
  return {
    path: writer.path,
    state,
    seqnumIdHex: formatId128(writer.seqnumId),
    entries: writer.entries,
    headSeqnum: writer.headSeqnum,
    tailSeqnum: writer.tailSeqnum,
    headRealtimeUsec: writer.headRealtimeUsec,
    tailRealtimeUsec: writer.tailRealtimeUsec,
    data: writer.dataCount,
  };
}

/**
 * Whether what a writer has published is found at its path: nobody deleted, renamed, replaced or cut the file.
 */
export function isInPlace(writer: JournalWriter): boolean {
  try {
    if (!writer.isClosed && writer.isUnlinked()) return false;
    const file = readStoredFile(writer.path);
    return (
      file !== undefined &&
      file.seqnumIdHex === formatId128(writer.seqnumId) &&
      file.headSeqnum === writer.headSeqnum
    );
  } catch (error) {
    return isShortage(error); // nothing to look with
  }
}

/** Whether an error is the lack of a descriptor or of memory: another time the same would work. */
export function isShortage(error: unknown): boolean {
  const cause = error instanceof AgentError ? error.cause : error;
  return ["EMFILE", "ENFILE", "ENOMEM"].includes(errnoOf(cause) ?? "");
}

/**
 * Whether nobody ever wrote a header: its writer was killed while it made the file. There are no entries in
 * it, since the first one comes after the header.
 */
export function hasNoHeader(path: string): boolean {
  const fd = openToRead(path);
  if (fd === undefined) return false;
  try {
    if (!fs.fstatSync(fd).isFile()) return false;
    const head = new Uint8Array(HEADER_SIZE);
    fs.readSync(fd, head, 0, HEADER_SIZE, 0);
    return head.every((byte) => byte === 0);
  } catch {
    return false; // what cannot be read may be anything
  } finally {
    fs.closeSync(fd);
  }
}

function openToRead(path: string): number | undefined {
  try {
    return fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  } catch (error) {
    if (!isShortage(error)) return undefined;
    throw new AgentError("E_IO", `Cannot look at "${path}": ${reasonOf(error)}`, {
      cause: error,
      hint: "Allow the service more open files: LimitNOFILE= of its unit",
    });
  }
}
