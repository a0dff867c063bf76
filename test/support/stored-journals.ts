/** What journalctl finds in received journals, read without any code of ours. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { verifyJournalFile } from "../../src/journal/verify.ts";
import { journalctlVerify } from "./journal-tools.ts";

/** An entry of an export stream. Bytes are shown one character each. */
export interface ExportedEntry {
  cursor: string;
  /** All `NAME=value` except the cursor, sorted: their order is not part of an entry. */
  fields: string[];
}

/** The files of a directory that hold journals, in the order of their names. */
export function journalFiles(directory: string, suffix: ".journal" | ".journal~" | "" = "") {
  return readdirSync(directory)
    .filter((name) => (suffix === "" ? /\.journal~?$/.test(name) : name.endsWith(suffix)))
    .sort()
    .map((name) => join(directory, name));
}

/** Output of `journalctl -o export` with these options, e.g. "--directory=…". */
export function journalctlExport(...options: string[]): Buffer {
  const command = ["journalctl", "--quiet", "--output=export", ...options];
  const { stdout, stderr, exitCode } = Bun.spawnSync(command, { timeout: 300_000 });
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: exit ${exitCode}: ${stderr}`);
  return stdout;
}

/** Entries of every file by itself: in a directory, journalctl would hide what is there twice. */
export function storedEntries(directory: string): ExportedEntry[] {
  return journalFiles(directory).flatMap((file) => parseExport(journalctlExport("--file", file)));
}

/** How two sets of entries differ: cursors, and for changed ones the fields too. */
export interface Difference {
  missing: string[];
  unexpected: string[];
  /** Stored more than once. */
  twice: string[];
  changed: { cursor: string; expected: string[]; stored: string[] }[];
}

export const NO_DIFFERENCE: Difference = { missing: [], unexpected: [], twice: [], changed: [] };

/** In any order; cursors of entries and all their fields must be equal. */
export function compareEntries(
  stored: readonly ExportedEntry[],
  expected: readonly ExportedEntry[],
): Difference {
  const difference: Difference = { missing: [], unexpected: [], twice: [], changed: [] };
  const left = new Map(expected.map((entry) => [entry.cursor, entry.fields]));
  const seen = new Set<string>();
  for (const { cursor, fields } of stored) {
    const wanted = left.get(cursor);
    if (seen.has(cursor)) difference.twice.push(cursor);
    else if (wanted === undefined) difference.unexpected.push(cursor);
    else if (wanted.join("\n") !== fields.join("\n")) {
      difference.changed.push({ cursor, expected: wanted, stored: fields });
    }
    seen.add(cursor);
    left.delete(cursor);
  }
  difference.missing.push(...left.keys());
  return difference;
}

/** By hand, so that a fault of our own parser cannot hide one of our writer. */
export function parseExport(stream: Buffer): ExportedEntry[] {
  const entries: ExportedEntry[] = [];
  let [cursor, fields]: [string, string[]] = ["", []];
  for (let at = 0; at < stream.length; ) {
    const end = stream.indexOf("\n", at);
    if (end < 0) throw new Error(`A line without an end at ${at}`);
    const line = stream.toString("latin1", at, end);
    at = end + 1;
    if (line === "") {
      if (fields.length > 0) entries.push({ cursor, fields: fields.sort() });
      [cursor, fields] = ["", []];
    } else if (line.startsWith("__CURSOR=")) {
      cursor = line.slice("__CURSOR=".length);
    } else if (line.includes("=")) {
      fields.push(line);
    } else {
      const size = Number(stream.readBigUInt64LE(at));
      fields.push(`${line}=${stream.toString("latin1", at + 8, at + 8 + size)}`);
      at += 8 + size + 1;
    }
  }
  if (fields.length > 0) throw new Error("An entry without an end");
  return entries;
}

/** What our verifier and journalctl's say against the files; empty = nothing. */
export function findDamage(files: readonly string[]): string[] {
  return files.flatMap((file) => {
    const ours = verifyJournalFile(file).problems.map(({ offset, what }) => `${offset}: ${what}`);
    const { ok, output } = journalctlVerify(file);
    return [...ours, ...(ok ? [] : [output])].map((complaint) => `${file}: ${complaint}`);
  });
}

/** Name → content hash of every file of a directory. */
export function fingerprint(directory: string): Record<string, string> {
  return Object.fromEntries(
    journalFiles(directory).map((file) => [file, Bun.SHA256.hash(readFileSync(file), "hex")]),
  );
}
