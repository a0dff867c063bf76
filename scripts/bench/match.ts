/**
 * How the time to find the entries of a unit grows with their number, beside reading all entries and `journalctl -u`:
 * `bun scripts/bench/match.ts DIRECTORY UNIT…`.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { BlockCache } from "../../src/journal/reader/block-cache.ts";
import { DataCache } from "../../src/journal/reader/data-cache.ts";
import { loadEntry, newJournalEntry } from "../../src/journal/reader/journal-entry.ts";
import { JournalFile } from "../../src/journal/reader/journal-file.ts";
import { openSelection } from "../../src/upload/selection.ts";
import { NO_SELECTION, NO_TRANSFORM } from "../../test/support/neutral-settings.ts";
import { median } from "./rig.ts";

const ROUNDS = 5;
const [directory = ".", ...units] = process.argv.slice(2);
const paths = readdirSync(directory)
  .filter((name) => name.endsWith(".journal"))
  .map((name) => join(directory, name));

/** Entries that match, entries that were read for it, milliseconds. */
function find(unit: string, indexed: boolean) {
  const start = performance.now();
  const selection = openSelection({ ...NO_SELECTION, units: [unit] }, NO_TRANSFORM);
  const blocks = new BlockCache();
  const entry = newJournalEntry(new DataCache(selection.hooks));
  let matches = 0;
  let read = 0;
  for (const path of paths) {
    const file = new JournalFile(path, blocks);
    const selector = indexed ? selection.open(file) : undefined;
    for (let index = 0; ; index++) {
      index = selector?.next(index) ?? index;
      if (index >= file.entries) break;
      loadEntry(file, file.entryOffset(index), entry);
      read++;
      if (selection.accepts(entry)) matches++;
    }
    file.close();
  }
  return { matches, read, ms: performance.now() - start };
}

const rounds = Array.from({ length: ROUNDS }, (_, i) => i);
for (const unit of units) {
  const { matches, read } = find(unit, true);
  const indexed = median(rounds.map(() => find(unit, true).ms));
  const scan = median(rounds.map(() => find(unit, false).ms));
  const journalctl = median(
    rounds.map(() => {
      const start = performance.now();
      Bun.spawnSync(["journalctl", "-q", "-o", "export", "-D", directory, "-u", unit]);
      return performance.now() - start;
    }),
  );
  console.log(
    `${unit}: ${matches} matches, ${read} read: ${indexed.toFixed(1)} ms; all: ${scan.toFixed(0)} ms; journalctl: ${journalctl.toFixed(0)} ms`,
  );
}
