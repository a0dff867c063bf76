/**
 * How fast journal files are read and written as export text, beside `journalctl -o export`:
 * `bun scripts/bench/read.ts DIRECTORY [ROUNDS]`.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { RecordSerializer } from "../../src/export-format/record-serializer.ts";
import { BlockCache } from "../../src/journal/reader/block-cache.ts";
import { DataCache } from "../../src/journal/reader/data-cache.ts";
import { loadEntry, newJournalEntry } from "../../src/journal/reader/journal-entry.ts";
import { JournalFile } from "../../src/journal/reader/journal-file.ts";

const [directory = ".", rounds = "5"] = process.argv.slice(2);
const paths = readdirSync(directory)
  .filter((name) => name.endsWith(".journal"))
  .map((name) => join(directory, name));
for (let round = 0; round < Number(rounds); round++) {
  const start = performance.now();
  const startCpu = process.cpuUsage();
  const blocks = new BlockCache();
  const cache = new DataCache();
  const entry = newJournalEntry(cache);
  const serializer = new RecordSerializer();
  const target = Buffer.alloc(4 * 1024 * 1024 + 65536);
  serializer.begin(target);
  let end = 0;
  let bytes = 0;
  let entries = 0;
  for (const path of paths) {
    const file = new JournalFile(path, blocks);
    for (let i = 0; i < file.entries; i++) {
      loadEntry(file, file.entryOffset(i), entry);
      if (end + serializer.sizeMax(entry) > target.length) {
        bytes += end;
        end = 0;
        serializer.begin(target);
      }
      end = serializer.write(entry, end);
      entries++;
    }
    file.close();
  }
  bytes += end;
  const seconds = (performance.now() - start) / 1000;
  const cpu = process.cpuUsage(startCpu);
  console.log(
    `${((cpu.user + cpu.system) / entries).toFixed(3)} us cpu, ${entries} entries, ${bytes} bytes, ${Math.round(entries / seconds)}/s, ${blocks.loads} blocks, gen ${cache.generation}`,
  );
}
