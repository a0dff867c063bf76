/**
 * Checks the whole structure of a journal file: all that `journalctl --verify` checks
 * (journal-verify.c, systemd 252 .. 256), at a cost linear in the number of objects.
 *
 * Stricter than systemd, since readers or other versions of it need it:
 * - header: what 254+ requires to open a file, tail entry array and tail entry as the chain has
 *   them, the hash tables it declares exist, tail_entry_monotonic as 252 requires it
 * - objects are of the seven types and end inside the arena; payloads of at most 768 MiB, one zstd
 *   frame that declares its size; field names of at most 256 bytes; links below 32 GiB; entries
 *   with a boot id; numbers of the header and seqnums below 2^53
 * - a DATA lists exactly the entries that name it (systemd: some entry at or behind each of them);
 *   the hash beside an entry item is that of the DATA; no entry array is part of two lists; tail
 *   array fields of compact DATA
 * - every used DATA is in its hash bucket and in the list of its field; FIELD hash chains
 * Not checked, by neither: xor_hash, order of items, hash chain depths. Laxer: seals are not
 * checked, compatible flags that only newer systemd than the local one knows are fine.
 */
import fs from "node:fs";
import { AgentError, reasonOf } from "../errors.ts";
import { COMPATIBLE_KNOWN, Compatible, FileState, HEADER, HEADER_SIZE } from "./format.ts";
import { decodeHeader, type JournalHeader, tailPointerFault } from "./header.ts";
import { checkFieldLists, checkHashTables } from "./verify/chains.ts";
import { FileWindow } from "./verify/file-window.ts";
import { Findings, type Problem } from "./verify/findings.ts";
import { checkEntryLists } from "./verify/lists.ts";
import { scanObjects } from "./verify/objects.ts";
import { Unpacker } from "./verify/payload.ts";
import { newScan, type Scan } from "./verify/scan.ts";

export interface VerifyResult {
  /** Counted, not taken from the header. */
  objects: number;
  entries: number;
  data: number;
  fields: number;
  /** Empty if the file is sound; at most 100 are listed. */
  problems: Problem[];
  /** Problems found, listed or not. */
  problemCount: number;
  /** What was not checked, and oddities that are allowed. */
  notes: string[];
}

/** Offsets are handled divided by 8, in 32 bits. */
const FILE_SIZE_MAX = 2 ** 35;

/**
 * Verifies a file that nobody writes to: the links of a live one change while they are followed.
 * Memory: up to about half the used part of the file, for a file of nothing but small objects.
 *
 * @throws AgentError E_IO (cannot open or read), E_JOURNAL_CORRUPT (not a journal file),
 *   E_JOURNAL_UNSUPPORTED (flags not known), E_LIMIT (over 32 GiB); damage is a result
 */
export function verifyJournalFile(path: string): VerifyResult {
  let fd: number | undefined;
  try {
    // A pipe in the place of a file must not block the open.
    fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    const stat = fs.fstatSync(fd);
    if (!stat.isFile()) throw new Error("it is not a regular file");
    return verifyFile(fd, stat.size);
  } catch (error) {
    throw wrap(path, error);
  } finally {
    if (fd !== undefined) fs.closeSync(fd);
  }
}

function verifyFile(fd: number, size: number): VerifyResult {
  if (size > FILE_SIZE_MAX) {
    throw new AgentError("E_LIMIT", `it has ${size} bytes, at most ${FILE_SIZE_MAX} can be`);
  }
  const findings = new Findings();
  const window = new FileWindow(fd);
  window.load(0, HEADER_SIZE);
  const headerBytes = new Uint8Array(window.bytes.subarray(0, Math.min(size, HEADER_SIZE)));
  const header = readHeader(headerBytes, size, findings);
  if (header === undefined) return resultOf(undefined, findings);
  const scan = newScan(header, window, new Unpacker(size), findings);
  checkHeader(header, headerBytes, findings);
  if (scanObjects(scan)) {
    checkCounters(scan);
    checkTail(scan);
    checkEntryLists(scan);
    checkHashTables(scan);
    checkFieldLists(scan);
  } else {
    findings.note("objects behind the first unreadable one and all links were not checked");
  }
  addNotes(scan);
  return resultOf(scan, findings);
}

/** Undefined if it is that of a journal file, but damaged. */
function readHeader(
  bytes: Uint8Array,
  size: number,
  findings: Findings,
): JournalHeader | undefined {
  try {
    return decodeHeader(bytes, size);
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    if (error.code === "E_JOURNAL_UNSUPPORTED" || error.offset === HEADER.signature) throw error;
    findings.problem(error.offset ?? 0, error.message);
    findings.note("nothing behind the header was checked");
    return undefined;
  }
}

function checkHeader(header: JournalHeader, bytes: Uint8Array, findings: Findings): void {
  if (bytes.subarray(HEADER.reserved, HEADER.fileId).some((byte) => byte !== 0)) {
    findings.problem(HEADER.reserved, "reserved bytes of the header are not 0");
  }
  const unknownFlags = header.compatibleFlags & ~COMPATIBLE_KNOWN;
  if (unknownFlags !== 0) {
    findings.problem(
      HEADER.compatibleFlags,
      `compatible flags 0x${(unknownFlags >>> 0).toString(16)} are unknown`,
    );
  }
  if ((header.compatibleFlags & Compatible.sealed) !== 0 && header.entryArrays === undefined) {
    findings.problem(HEADER.headerSize, "the header of a sealed file must count its tags");
  }
  const fault = tailPointerFault(header);
  if (fault !== undefined) findings.problem(fault.offset, fault.what);
}

function checkCounters(scan: Scan): void {
  const { header, findings } = scan;
  const counted = {
    objects: scan.objects,
    entries: scan.entries.count,
    data: scan.data.index.count,
    fields: scan.fields.index.count,
    tags: scan.tags,
    entryArrays: scan.arrays.index.count,
  };
  for (const name of Object.keys(counted) as (keyof typeof counted)[]) {
    if (header[name] !== undefined && header[name] !== counted[name]) {
      findings.problem(
        HEADER[name],
        `header counts ${header[name]} ${name}, there are ${counted[name]}`,
      );
    }
  }
}

function checkTail(scan: Scan): void {
  const { header, findings, last, entries } = scan;
  if (header.tailEntryOffset !== undefined) {
    const offset = entries.count === 0 ? 0 : entries.offset(entries.count - 1);
    if (header.tailEntryOffset !== offset) {
      findings.problem(
        HEADER.tailEntryOffset,
        `tail entry offset ${header.tailEntryOffset}, the last entry is at ${offset}`,
      );
    }
  }
  if (entries.count === 0) return;
  if (header.tailEntrySeqnum !== last.seqnum) {
    findings.problem(
      HEADER.tailEntrySeqnum,
      `tail seqnum ${header.tailEntrySeqnum}, the last entry has ${last.seqnum}`,
    );
  }
  if (header.tailEntryRealtime !== last.realtime) {
    findings.problem(
      HEADER.tailEntryRealtime,
      `tail realtime ${header.tailEntryRealtime}, the last entry has ${last.realtime}`,
    );
  }
  const boot = new Uint8Array(last.bootId.buffer);
  const isTailBoot = header.tailEntryBootId.every((byte, i) => byte === boot[i]);
  if (isTailBoot && header.tailEntryMonotonic !== last.monotonic) {
    findings.problem(
      HEADER.tailEntryMonotonic,
      `tail monotonic ${header.tailEntryMonotonic}, the last entry has ${last.monotonic}`,
    );
  }
}

function addNotes(scan: Scan): void {
  const { header, findings } = scan;
  if (header.state === FileState.online) {
    findings.note("state is online: it is being written to, or its writer was cut off");
  }
  if ((header.compatibleFlags & Compatible.sealed) !== 0) {
    findings.note(`sealed, the seals of ${scan.tags} tags were not checked`);
  }
  const { unchecked } = scan.unpacker;
  if (unchecked > 0) {
    findings.note(`${unchecked} payloads were not checked: over the limit of what is unpacked`);
  }
  if (scan.unusedData > 0) findings.note(`${scan.unusedData} data objects are unused`);
  if (scan.realtimeReversals > 0) {
    findings.note(`realtime goes back ${scan.realtimeReversals} times`);
  }
}

function resultOf(scan: Scan | undefined, findings: Findings): VerifyResult {
  return {
    objects: scan?.objects ?? 0,
    entries: scan?.entries.count ?? 0,
    data: scan?.data.index.count ?? 0,
    fields: scan?.fields.index.count ?? 0,
    problems: findings.problems,
    problemCount: findings.problemCount,
    notes: findings.notes,
  };
}

/** Names the file once, whatever went wrong. */
function wrap(path: string, error: unknown): AgentError {
  const isOurs = error instanceof AgentError;
  return new AgentError(
    isOurs ? error.code : "E_IO",
    `Cannot verify "${path}": ${reasonOf(error)}`,
    {
      cause: error,
      ...(isOurs && error.hint !== undefined ? { hint: error.hint } : {}),
      ...(isOurs && error.offset !== undefined ? { offset: error.offset } : {}),
    },
  );
}
