/**
 * Parses an export stream and prints how fast that went: bun scripts/bench/parse.ts FILE [RUNS].
 * Make the file with `journalctl -o export`; 400 MB or more give steady figures.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { ExportParser } from "../../src/export-format/parser.ts";

const CHUNK_SIZE = 64 * 1024;

const [path, runs = "5"] = process.argv.slice(2);
if (path === undefined) throw new Error("Cannot measure: no file, need an export stream");

const rates: number[] = [];
for (let run = 0; run < Number(runs); run++) {
  let entries = 0;
  let fields = 0;
  const refused = new Map<string, number>();
  const parser = new ExportParser({
    onEntry(entry) {
      entries++;
      fields += entry.fieldCount;
    },
    onRefused(reason) {
      refused.set(reason, (refused.get(reason) ?? 0) + 1);
    },
  });
  const chunk = new Uint8Array(CHUNK_SIZE);
  const file = openSync(path, "r");
  let sizeBytes = 0;
  let parseNs = 0;
  for (;;) {
    const count = readSync(file, chunk);
    if (count === 0) break;
    const from = Bun.nanoseconds();
    parser.push(count === CHUNK_SIZE ? chunk : chunk.subarray(0, count));
    parseNs += Bun.nanoseconds() - from;
    sizeBytes += count;
  }
  closeSync(file);
  const trailing = parser.end();
  rates.push((entries / parseNs) * 1e9);
  console.log(
    [
      `${entries} entries, ${fields} fields, ${(sizeBytes / 1e6).toFixed(0)} MB`,
      `${(parseNs / entries).toFixed(0)} ns/entry`,
      `${((entries / parseNs) * 1e9).toFixed(0)} entries/s`,
      `${((sizeBytes / parseNs) * 1e3).toFixed(0)} MB/s`,
      `refused ${JSON.stringify(Object.fromEntries(refused))}, trailing ${trailing}`,
      `RSS ${(process.memoryUsage.rss() / 1e6).toFixed(0)} MB`,
    ].join("; "),
  );
}
rates.sort((a, b) => a - b);
console.log(`median ${(rates[rates.length >> 1] ?? 0).toFixed(0)} entries/s`);
