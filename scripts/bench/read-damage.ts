/**
 * Damaged journal files in quantity:
 * `bun scripts/bench/read-damage.ts [--places=1000] [--times=20000] [--seed=1] FILE...`, each FILE a journal or one
 * compressed by zstd. Each is cut at so many places, and then damaged so many times, and read in all ways. A problem
 * names its round, which is the same for the same seed. Exit status 1 when there is one.
 */
import fs from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { configureLog } from "../../src/log.ts";
import { DamagedReadings } from "../../test/support/reader-damage.ts";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    places: { type: "string", default: "1000" },
    times: { type: "string", default: "20000" },
    seed: { type: "string", default: "1" },
  },
});

// Each damaged index is told of.
configureLog({ journald: false, level: "err" });
const work = fs.mkdtempSync(join(tmpdir(), "agent-bench-"));
let problems = 0;
try {
  for (const file of positionals) {
    const copy = join(work, basename(file, ".zst"));
    const bytes = fs.readFileSync(file);
    fs.writeFileSync(copy, file.endsWith(".zst") ? Bun.zstdDecompressSync(bytes) : bytes);
    const startMs = performance.now();
    const readings = new DamagedReadings(copy);
    readings.truncate(Number(options.places));
    readings.mutate(Number(options.times), Number(options.seed));
    const { report } = readings;
    const seconds = ((performance.now() - startMs) / 1000).toFixed(0);
    console.log(
      [
        `${basename(copy)}: ${report.readings} readings in ${seconds} s`,
        `${report.entries} entries, ${report.passedOver} passed over`,
        `slowest ${report.slowestMs.toFixed(0)} ms, RSS up to ${(report.rssMax / 1e6).toFixed(0)} MB`,
        `${report.problems.length} problems`,
      ].join("; "),
    );
    for (const problem of report.problems.slice(0, 20)) console.log(problem);
    problems += report.problems.length;
  }
} finally {
  fs.rmSync(work, { recursive: true });
}
process.exitCode = problems === 0 ? 0 : 1;
