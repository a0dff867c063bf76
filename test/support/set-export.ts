/** What a JournalSet makes of files, as text that can be held against journalctl's. */
import { RecordSerializer } from "../../src/export-format/record-serializer.ts";
import type { JournalEntry } from "../../src/journal/reader/journal-entry.ts";
import { JournalSet, type JournalSetOptions } from "../../src/journal/reader/journal-set.ts";
import { EVERY_ENTRY } from "../../src/journal/reader/selection-types.ts";
import type { StartPoint } from "../../src/journal/reader/start.ts";

const FROM_THE_BEGINNING: StartPoint = {
  tails: new Map(),
  cursor: undefined,
  isAfterCursor: false,
  sinceUsec: undefined,
  lines: undefined,
};

/** A set that tells what it complains about. */
export function openSet(
  options: Partial<Omit<JournalSetOptions, "start">> & { start?: Partial<StartPoint> } = {},
): { set: JournalSet; problems: string[]; gaps: number[]; delays: string[] } {
  const problems: string[] = [];
  const gaps: number[] = [];
  const delays: string[] = [];
  const set = new JournalSet({
    selection: EVERY_ENTRY,
    window: { fromUsec: 0, untilUsec: Number.POSITIVE_INFINITY, bootWords: undefined },
    openFilesMax: 512,
    onProblem: (path, error) => problems.push(`${path}: ${error.message}`),
    onDelay: (path, error) => delays.push(`${path}: ${error?.message ?? "read again"}`),
    onGap: (_path, entries) => gaps.push(entries),
    ...options,
    start: { ...FROM_THE_BEGINNING, ...options.start },
  });
  return { set, problems, gaps, delays };
}

/** All entries in the export format, without the lines that journalctl 252 does not write. */
export function exportSet(set: { next(): JournalEntry | undefined }): string {
  const parts: string[] = [];
  const serializer = new RecordSerializer();
  for (let entry = set.next(); entry !== undefined; entry = set.next()) {
    parts.push(exportEntry(serializer, entry));
  }
  return parts.join("");
}

/** An export stream as a version before 254 writes it. */
export function withoutSeqnums(stream: string): string {
  return stream.replace(/\n__SEQNUM=\d+\n__SEQNUM_ID=[0-9a-f]{32}\n/g, "\n");
}

/** Bytes are shown one character each. */
function exportEntry(serializer: RecordSerializer, entry: JournalEntry): string {
  const target = Buffer.alloc(serializer.sizeMax(entry));
  serializer.begin(target);
  const text = target.toString("latin1", 0, serializer.write(entry, 0));
  return withoutSeqnums(text);
}
