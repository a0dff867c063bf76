/** Headers of files this program makes, and which files it may go on writing. */
import { ID128_SIZE } from "../bytes/id128.ts";
import { AgentError } from "../errors.ts";
import { FileState, HASH_ITEM_SIZE, HEADER_SIZE, Incompatible } from "./format.ts";
import { type JournalHeader, tailPointerFault } from "./header.ts";

/** FIELD buckets, as systemd 258 and later have (333 before). */
const FIELD_BUCKETS = 1023;

export interface JournalFileFormat {
  compact: boolean;
  keyedHash: boolean;
  /** zstd for payloads from this size on; undefined = never. */
  compressThresholdBytes: number | undefined;
}

export interface CreateJournalOptions extends JournalFileFormat {
  /** Random; also the key of the hash. */
  fileId: Uint8Array;
  /** Of the machine the entries come from. */
  machineId: Uint8Array;
  seqnumId: Uint8Array;
  /** Buckets of the DATA hash table; the file should rotate at 3/4 as many DATA objects. */
  dataBuckets: number;
  /** Size past which the file is full. */
  sizeMaxBytes: number;
}

/** The header of an empty file; its hash tables are not placed yet. */
export function newHeader(options: CreateJournalOptions): JournalHeader {
  return {
    // TAIL_ENTRY_BOOT_ID would make `journalctl --verify` of systemd 252 fail.
    compatibleFlags: 0,
    incompatibleFlags: incompatibleFlagsOf(options),
    state: FileState.online,
    fileId: options.fileId.slice(),
    machineId: options.machineId.slice(),
    tailEntryBootId: new Uint8Array(ID128_SIZE),
    seqnumId: options.seqnumId.slice(),
    headerSize: HEADER_SIZE,
    arenaSize: 0,
    dataHashTableOffset: 0,
    dataHashTableSize: options.dataBuckets * HASH_ITEM_SIZE,
    fieldHashTableOffset: 0,
    fieldHashTableSize: FIELD_BUCKETS * HASH_ITEM_SIZE,
    tailObjectOffset: 0,
    objects: 0,
    entries: 0,
    tailEntrySeqnum: 0,
    headEntrySeqnum: 0,
    entryArrayOffset: 0,
    headEntryRealtime: 0,
    tailEntryRealtime: 0,
    tailEntryMonotonic: 0,
    data: 0,
    fields: 0,
    tags: 0,
    entryArrays: 0,
    dataHashChainDepth: 0,
    fieldHashChainDepth: 0,
    tailEntryArrayOffset: 0,
    tailEntryArrayEntries: 0,
    tailEntryOffset: 0,
  };
}

/**
 * @throws AgentError E_JOURNAL_UNSUPPORTED unless this program made the file and left it to be continued,
 * E_JOURNAL_CORRUPT when appending would cut off what is in it
 */
export function requireAppendable(
  path: string,
  header: JournalHeader,
  format: JournalFileFormat,
): void {
  const what = whyNotAppendable(header, format);
  if (what !== undefined) {
    throw new AgentError("E_JOURNAL_UNSUPPORTED", `Cannot append to "${path}": ${what}`);
  }
  const fault = tailPointerFault(header);
  if (fault !== undefined) {
    const { offset } = fault;
    throw new AgentError("E_JOURNAL_CORRUPT", `Cannot append to "${path}": ${fault.what}`, {
      offset,
    });
  }
}

function whyNotAppendable(header: JournalHeader, format: JournalFileFormat): string | undefined {
  if (header.state === FileState.online) return "it was not closed cleanly";
  if (header.state === FileState.archived) return "it is archived";
  if (
    header.headerSize !== HEADER_SIZE ||
    header.compatibleFlags !== 0 ||
    header.dataHashTableSize < HASH_ITEM_SIZE ||
    header.fieldHashTableSize < HASH_ITEM_SIZE
  ) {
    return "another program wrote it";
  }
  if (header.incompatibleFlags !== incompatibleFlagsOf(format)) {
    return "its format is not the configured one";
  }
  return undefined;
}

function incompatibleFlagsOf(format: JournalFileFormat): number {
  let flags = 0;
  if (format.compact) flags |= Incompatible.compact;
  if (format.keyedHash) flags |= Incompatible.keyedHash;
  if (format.compressThresholdBytes !== undefined) flags |= Incompatible.compressedZstd;
  return flags;
}
