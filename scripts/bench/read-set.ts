/** As read.ts, through a JournalSet: `bun scripts/bench/read-set.ts DIRECTORY [ROUNDS]`. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { RecordSerializer } from "../../src/export-format/record-serializer.ts";
import { JournalSet } from "../../src/journal/reader/journal-set.ts";
import { EVERY_ENTRY } from "../../src/journal/reader/selection-types.ts";

const [directory = ".", rounds = "5"] = process.argv.slice(2);
const paths = readdirSync(directory)
  .filter((name) => name.endsWith(".journal") || name.endsWith(".journal~"))
  .map((name) => join(directory, name));
for (let round = 0; round < Number(rounds); round++) {
  const start = performance.now();
  const startCpu = process.cpuUsage();
  const set = new JournalSet({
    selection: EVERY_ENTRY,
    start: {
      tails: new Map(),
      cursor: undefined,
      isAfterCursor: false,
      sinceUsec: undefined,
      lines: undefined,
    },
    window: { fromUsec: 0, untilUsec: Infinity, bootWords: undefined },
    openFilesMax: 512,
    onProblem: (path, error) => console.log(path, error.message),
    onDelay: (path, error) => console.log(path, "delayed", error?.message),
    onGap: (path, entries) => console.log(path, "gap", entries),
  });
  set.rescan(paths);
  const serializer = new RecordSerializer();
  const target = Buffer.alloc(4 * 1024 * 1024 + 65536);
  serializer.begin(target);
  let end = 0;
  let bytes = 0;
  let entries = 0;
  for (let entry = set.next(); entry !== undefined; entry = set.next()) {
    if (end + serializer.sizeMax(entry) > target.length) {
      bytes += end;
      end = 0;
      serializer.begin(target);
    }
    end = serializer.write(entry, end);
    entries++;
  }
  bytes += end;
  const seconds = (performance.now() - start) / 1000;
  const cpu = process.cpuUsage(startCpu);
  console.log(
    `${((cpu.user + cpu.system) / entries).toFixed(3)} us cpu, ${entries} entries, ${bytes} bytes, ${Math.round(entries / seconds)}/s, ${JSON.stringify([...set.damaged])}`,
  );
  set.close();
}
