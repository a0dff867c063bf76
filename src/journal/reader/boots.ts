/** Boots that files have entries of, as `journalctl --list-boots` finds them: by the field that every entry has. */
import { parseId128 } from "../../bytes/id128.ts";
import { AgentError } from "../../errors.ts";
import { DataLookup } from "./data-lookup.ts";
import type { JournalFile } from "./journal-file.ts";

const NAME = Buffer.from("_BOOT_ID");

/**
 * Adds the boots of a file, with the time of their first entry in microseconds; an earlier one that is there stays.
 * @param boots by boot id, 32 hex digits
 * @throws AgentError E_IO
 */
export function addBoots(file: JournalFile, boots: Map<string, number>): void {
  try {
    const values: string[] = [];
    const lookup = new DataLookup(file, Number.POSITIVE_INFINITY);
    const found = lookup.findValues(NAME, (bytes, start, end) => {
      values.push(Buffer.from(bytes.subarray(start, end)).toString("latin1"));
      return true;
    });
    for (const [index, { entryOffset }] of found.entries()) {
      const bootId = values[index] ?? "";
      if (entryOffset === 0 || parseId128(bootId) === undefined) continue;
      file.readEntry(entryOffset, false);
      const known = boots.get(bootId) ?? Number.POSITIVE_INFINITY;
      boots.set(bootId, Math.min(known, file.realtimeUsec));
    }
  } catch (error) {
    // Boots that only this file knows stay unknown.
    if (!(error instanceof AgentError) || error.code === "E_IO") throw error;
  }
}
