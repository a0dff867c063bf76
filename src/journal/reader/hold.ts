/**
 * Which entries wait for files that cannot be read at the moment. A tail stands for all entries of its sequence up to a
 * number, so none may be returned that come behind unread ones: these would be lost at the next start.
 */
import { basename, dirname } from "node:path";
import type { UnopenedFile } from "./file-table.ts";
import type { Sequence } from "./sequence.ts";
import type { SetFile } from "./set-file.ts";

/** `system@<seqnum id>-<number of its first entry>-<time>.journal` */
const ARCHIVED = /@([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{16}\.journal$/;

export interface HoldOptions {
  /** By seqnum id, 32 hex digits. */
  sequences: ReadonlyMap<string, Sequence>;
  files: Iterable<SetFile>;
  unopened: Iterable<UnopenedFile>;
}

/** Sets for each sequence from which number on entries wait. */
export function holdBack({ sequences, files, unopened }: HoldOptions): void {
  for (const sequence of sequences.values()) sequence.release();
  for (const file of files) if (file.stage === "delayed") file.sequence.holdFrom(file.nextSeqnum);
  for (const { path, isDenied } of unopened) {
    const [, seqnumId, head] = ARCHIVED.exec(basename(path)) ?? [];
    if (seqnumId !== undefined && head !== undefined) {
      sequences.get(seqnumId)?.holdFrom(Number.parseInt(head, 16));
    } else if (!isDenied) holdDirectory(dirname(path), files);
  }
}

/** For a file whose name does not tell: it may be of any sequence that it lies among. */
function holdDirectory(directory: string, files: Iterable<SetFile>): void {
  for (const file of files) if (file.directory === directory) file.sequence.holdFrom(0);
}
