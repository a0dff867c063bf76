/** What journalctl finds in large journals: little is kept of each entry, enough to hold it against another. */
import { closeSync, openSync, readSync } from "node:fs";
import { readUint64 } from "../../src/bytes/uint64.ts";
import { errnoOf } from "../../src/errors.ts";
import { HEADER } from "../../src/journal/format.ts";
import { journalctlExport, journalFiles, parseExport } from "./stored-journals.ts";

const HEADER_SIZE_MAX = 272;

/** Cursor → hash of all fields. Throws when an entry is there twice. */
function entryDigests(directory: string): Map<string, bigint> {
  const digests = new Map<string, bigint>();
  for (const file of journalFiles(directory)) {
    for (const { cursor, fields } of parseExport(journalctlExport("--file", file))) {
      if (digests.has(cursor)) throw new Error(`Twice: ${cursor}`);
      digests.set(cursor, Bun.hash.wyhash(fields.join("\n")));
    }
  }
  return digests;
}

/** In the order in which journalctl shows all files of a directory. */
export function orderedCursors(directory: string, ...options: string[]): string[] {
  const fields = "--output-fields=PRIORITY";
  const text = journalctlExport(`--directory=${directory}`, fields, ...options).toString("latin1");
  return Array.from(text.matchAll(/^__CURSOR=(.*)$/gm), ([, cursor = ""]) => cursor);
}

/** The first things in which a received directory differs from the one that was sent; empty = nothing. */
export function compareJournals(received: string, sent: string): string[] {
  const [left, right] = [entryDigests(received), entryDigests(sent)];
  const missing = [...right.keys()].filter((cursor) => !left.has(cursor));
  const unexpected = [...left.keys()].filter((cursor) => !right.has(cursor));
  const changed = [...right].filter(
    ([cursor, digest]) => left.has(cursor) && left.get(cursor) !== digest,
  );
  const [order, wanted] = [orderedCursors(received), orderedCursors(sent)];
  const turn = wanted.findIndex((cursor, index) => order[index] !== cursor);
  return [
    ...missing.slice(0, 3).map((cursor) => `missing (of ${missing.length}): ${cursor}`),
    ...unexpected.slice(0, 3).map((cursor) => `unexpected (of ${unexpected.length}): ${cursor}`),
    ...changed.slice(0, 3).map(([cursor]) => `changed (of ${changed.length}): ${cursor}`),
    ...(missing.length + unexpected.length === 0 && turn >= 0
      ? [`out of order: ${wanted[turn]}`]
      : []),
  ];
}

/** Entries that the headers of these files tell of. */
export function countEntries(files: readonly string[]): number {
  return files.reduce((sum, file) => sum + readUint64(readHeader(file), HEADER.entries), 0);
}

/** Zeros for a file that has none yet, or that was renamed meanwhile. */
export function readHeader(file: string): DataView {
  const header = new Uint8Array(HEADER_SIZE_MAX);
  try {
    const fd = openSync(file, "r");
    readSync(fd, header, 0, header.length, 0);
    closeSync(fd);
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw error;
  }
  return new DataView(header.buffer);
}
