/**
 * Which received journals are to be deleted. A pure decision; `retention.ts` carries it out.
 *
 * Stock deletes the oldest archived file of the directory, whoever sent it, so one noisy sender
 * evicts the history of all others. Here the sender that uses most gives first, and one that uses
 * no more than its fair share (the limit divided by the number of senders) gives last.
 *
 * Five rules, in this order; each sees what the ones before have left:
 *
 * 1. "empty": an archived or unclean file without an entry goes at once.
 * 2. "expired": a file whose newest entry is older than MaxRetentionSec= goes, active or not.
 * 3. "max-use": while all files together use more than MaxUse=, by fair share.
 * 4. "keep-free": while less than KeepFree= is free, by fair share, but not below `minUseBytes`
 *    (2 % of the disk, at most 16 MiB). When even that cannot make enough room, because others fill
 *    the disk, nothing is deleted by this rule: the history would be gone and KeepFree= still not kept.
 * 5. "max-files": while there are more files than MaxFiles=, the sender with most files gives its
 *    oldest. Each sender keeps its active file and the newest other one, even if these alone are more
 *    than MaxFiles=: with 1,000 senders and the default of 100, every rotation would otherwise leave
 *    its sender with an empty file and no history.
 *
 * A file open for writing is never deleted, but counts. The active file of an idle sender is its
 * latest history: under 3 and 4 it goes after all archived files of those above their share, oldest
 * first, and before anything of those below. So the files of 10,000 vanished machines do not fill the disk.
 */
import type { DiskLimits } from "./disk-limits.ts";
import { MaxHeap } from "./max-heap.ts";
import type { JournalFileName } from "./names.ts";

/** One journal file of the directory. */
export interface DiskFile {
  path: string;
  name: JournalFileName;
  /** What it takes on disk (st_blocks * 512), not its length. */
  sizeBytes: number;
  /** Undefined when the header cannot be read. */
  entries: number | undefined;
  /** Time of the newest entry. */
  newestUsec: number;
  /** Open for writing now. */
  isOpen: boolean;
  /** These two tell whether the file of that name is still the one that was judged. */
  inode: number;
  mtimeMs: number;
}

type DeletionReason = "empty" | "expired" | "max-use" | "keep-free" | "max-files";

export interface Deletion {
  file: DiskFile;
  reason: DeletionReason;
}

export interface RetentionRules {
  limits: DiskLimits;
  /** 0 = keep for ever. */
  maxRetentionSec: number;
  nowUsec: number;
  /** Free bytes on the file system; undefined when unknown, then KeepFree= has no effect. */
  freeBytes: number | undefined;
}

export interface RetentionPlan {
  /** In the order in which to delete. */
  deletions: Deletion[];
  /** What remains after that. */
  usedBytes: number;
  fileCount: number;
  /** Limits that remain exceeded because nothing more may be deleted for them. */
  exceeded: { maxUse: boolean; keepFree: boolean; maxFiles: boolean };
}

/** Files of one sender that are left, and which of them may go. */
interface Sender {
  base: string;
  usedBytes: number;
  fileCount: number;
  /** Archived and unclean files that are not open, oldest first. */
  archived: DiskFile[];
  /** How many of `archived` are deleted. */
  archivedGone: number;
  idleActive: DiskFile | undefined;
}

/** What is left while the plan is made. */
interface Stock {
  senders: Sender[];
  usedBytes: number;
  fileCount: number;
  freedBytes: number;
  deletions: Deletion[];
}

/** Takes O(n log n); the same files in any order give the same plan. */
export function planRetention(files: readonly DiskFile[], rules: RetentionRules): RetentionPlan {
  const { limits, freeBytes = Number.POSITIVE_INFINITY } = rules;
  const stock = takeStock(files, rules);
  if (limits.maxUseBytes > 0) evictBytes(stock, limits.maxUseBytes, "max-use");
  const missingBytes = limits.keepFreeBytes - freeBytes - stock.freedBytes;
  if (missingBytes > 0) {
    const targetBytes = stock.usedBytes - missingBytes;
    if (targetBytes >= Math.max(limits.minUseBytes, undeletableBytes(stock))) {
      evictBytes(stock, targetBytes, "keep-free");
    }
  }
  if (limits.maxFiles > 0) evictFiles(stock, limits.maxFiles);
  const { deletions, usedBytes, fileCount, freedBytes } = stock;
  return {
    deletions,
    usedBytes,
    fileCount,
    exceeded: {
      maxUse: limits.maxUseBytes > 0 && usedBytes > limits.maxUseBytes,
      keepFree: freeBytes + freedBytes < limits.keepFreeBytes,
      maxFiles: limits.maxFiles > 0 && fileCount > limits.maxFiles,
    },
  };
}

/** Rules 1 and 2, which look at each file alone, and the rest sorted by sender. */
function takeStock(files: readonly DiskFile[], rules: RetentionRules): Stock {
  const { maxRetentionSec, nowUsec } = rules;
  const expiryUsec = maxRetentionSec > 0 ? nowUsec - maxRetentionSec * 1e6 : -1;
  const stock: Stock = {
    senders: [],
    usedBytes: 0,
    fileCount: 0,
    freedBytes: 0,
    deletions: [],
  };
  const senderByBase = new Map<string, Sender>();
  for (const file of files) {
    const isArchived = file.name.kind !== "active";
    if (!file.isOpen && isArchived && file.entries === 0) {
      stock.deletions.push({ file, reason: "empty" });
      stock.freedBytes += file.sizeBytes;
    } else if (!file.isOpen && file.newestUsec < expiryUsec) {
      stock.deletions.push({ file, reason: "expired" });
      stock.freedBytes += file.sizeBytes;
    } else {
      const { base } = file.name;
      let sender = senderByBase.get(base);
      if (sender === undefined) {
        sender = newSender(base);
        senderByBase.set(base, sender);
      }
      addFile(sender, file);
      stock.usedBytes += file.sizeBytes;
      stock.fileCount++;
    }
  }
  stock.deletions.sort((a, b) => compareText(a.file.path, b.file.path));
  stock.senders = [...senderByBase.values()];
  for (const sender of stock.senders) sender.archived = sortByAge(sender.archived);
  return stock;
}

function newSender(base: string): Sender {
  return {
    base,
    usedBytes: 0,
    fileCount: 0,
    archived: [],
    archivedGone: 0,
    idleActive: undefined,
  };
}

function addFile(sender: Sender, file: DiskFile): void {
  sender.usedBytes += file.sizeBytes;
  sender.fileCount++;
  if (file.isOpen) return;
  if (file.name.kind === "active") sender.idleActive = file;
  else sender.archived.push(file);
}

/**
 * Oldest first: by head seqnum among files of one seqnum id, which no wrong clock can upset, and
 * by time otherwise. To make that one order, a file counts as no older than those of its id that
 * precede it.
 */
function sortByAge(files: readonly DiskFile[]): DiskFile[] {
  const filesById = Map.groupBy(files, (file) =>
    file.name.kind === "archived" ? file.name.seqnumIdHex : "",
  );
  const dated: { file: DiskFile; ageUsec: number; rank: number }[] = [];
  for (const [seqnumIdHex, group] of filesById) {
    group.sort((a, b) => headSeqnum(a) - headSeqnum(b) || compareText(a.path, b.path));
    let ageUsec = 0;
    for (const [rank, file] of group.entries()) {
      ageUsec = seqnumIdHex === "" ? file.newestUsec : Math.max(ageUsec, file.newestUsec);
      dated.push({ file, ageUsec, rank });
    }
  }
  dated.sort(
    (a, b) => a.ageUsec - b.ageUsec || a.rank - b.rank || compareText(a.file.path, b.file.path),
  );
  return dated.map(({ file }) => file);
}

function headSeqnum(file: DiskFile): number {
  return file.name.kind === "archived" ? file.name.headSeqnum : 0;
}

/** Rules 3 and 4: deletes until no more than `targetBytes` are used or nothing is left to delete. */
function evictBytes(stock: Stock, targetBytes: number, reason: DeletionReason): void {
  if (stock.usedBytes <= targetBytes) return;
  const shareBytes = targetBytes / stock.senders.length;
  const largestFirst = new MaxHeap(
    stock.senders.filter((sender) => archivedCount(sender) > 0),
    (a, b) => a.usedBytes - b.usedBytes || compareText(b.base, a.base),
  );
  const idleOldestFirst = stock.senders
    .filter((sender) => sender.idleActive !== undefined)
    .sort(compareIdleActive);
  for (const aboveBytes of [shareBytes, -1]) {
    for (;;) {
      const sender = largestFirst.top();
      if (stock.usedBytes <= targetBytes || sender === undefined) break;
      if (sender.usedBytes <= aboveBytes) break;
      deleteOldestArchived(stock, sender, reason);
      if (archivedCount(sender) > 0) largestFirst.sinkTop();
      else largestFirst.removeTop();
    }
    for (const sender of idleOldestFirst) {
      if (stock.usedBytes <= targetBytes) return;
      if (sender.usedBytes > aboveBytes) deleteIdleActive(stock, sender, reason);
    }
  }
}

/** Rule 5. */
function evictFiles(stock: Stock, maxFiles: number): void {
  if (stock.fileCount <= maxFiles) return;
  const mostFirst = new MaxHeap(
    stock.senders.filter((sender) => archivedCount(sender) > 1),
    (a, b) => a.fileCount - b.fileCount || a.usedBytes - b.usedBytes || compareText(b.base, a.base),
  );
  for (;;) {
    const sender = mostFirst.top();
    if (stock.fileCount <= maxFiles || sender === undefined) return;
    deleteOldestArchived(stock, sender, "max-files");
    if (archivedCount(sender) > 1) mostFirst.sinkTop();
    else mostFirst.removeTop();
  }
}

function deleteOldestArchived(stock: Stock, sender: Sender, reason: DeletionReason): void {
  const file = sender.archived[sender.archivedGone];
  if (file === undefined) return;
  sender.archivedGone++;
  recordDeletion(stock, sender, { file, reason });
}

function deleteIdleActive(stock: Stock, sender: Sender, reason: DeletionReason): void {
  const file = sender.idleActive;
  if (file === undefined) return;
  sender.idleActive = undefined;
  recordDeletion(stock, sender, { file, reason });
}

function recordDeletion(stock: Stock, sender: Sender, deletion: Deletion): void {
  const { sizeBytes } = deletion.file;
  sender.usedBytes -= sizeBytes;
  sender.fileCount--;
  stock.usedBytes -= sizeBytes;
  stock.fileCount--;
  stock.freedBytes += sizeBytes;
  stock.deletions.push(deletion);
}

function undeletableBytes(stock: Stock): number {
  let bytes = stock.usedBytes;
  for (const sender of stock.senders) {
    bytes -= sender.idleActive?.sizeBytes ?? 0;
    for (let i = sender.archivedGone; i < sender.archived.length; i++) {
      bytes -= sender.archived[i]?.sizeBytes ?? 0;
    }
  }
  return bytes;
}

function archivedCount(sender: Sender): number {
  return sender.archived.length - sender.archivedGone;
}

function compareIdleActive(a: Sender, b: Sender): number {
  const byTime = (a.idleActive?.newestUsec ?? 0) - (b.idleActive?.newestUsec ?? 0);
  return byTime || compareText(a.base, b.base);
}

/** By code units: the order must not depend on the locale. */
function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
