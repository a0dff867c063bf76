/**
 * Damaged input in quantity: `scripts/bench/run damage [--streams=100000] [--seed=1] [--input=EXPORT]`.
 * Every truncation of a stream, then so many mutated ones, through parser, store and writer; all
 * files are verified. A problem names its stream, which is the same for the same seed. Exit status 1
 * when there is one.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type DamageReport, runMutations, runTruncations } from "../../test/support/damage-run.ts";
import { ScaledStream } from "../../test/support/scaled-stream.ts";

const FIXTURE = join(import.meta.dir, "../../test/fixtures/web1-boot.export");

const { values: options } = parseArgs({
  options: {
    streams: { type: "string", default: "100000" },
    seed: { type: "string", default: "1" },
    input: { type: "string", default: FIXTURE },
  },
});

const source = new ScaledStream(readFileSync(options.input));
const startMs = performance.now();
const truncated = await runTruncations(source);
print("truncations", truncated);
const mutated = await runMutations(source, {
  streams: Number(options.streams),
  seed: Number(options.seed),
  onProgress: (report) => {
    if (report.rss.length % 10 === 0) print("mutations", report);
  },
});
print("mutations", mutated);
const problems = [...truncated.problems, ...mutated.problems];
for (const problem of problems.slice(0, 50)) console.log(problem);
console.log(`${problems.length} problems`);
process.exitCode = problems.length === 0 ? 0 : 1;

function print(what: string, report: DamageReport): void {
  const seconds = ((performance.now() - startMs) / 1000).toFixed(0);
  const rss = report.rss.map((bytes) => (bytes / 1e6).toFixed(0));
  console.log(
    [
      `${seconds} s: ${report.streams} ${what}`,
      `${report.stored} entries stored, ${report.refused} refused, ${report.files} files`,
      `slowest ${report.slowestMs.toFixed(0)} ms, ${report.logBytes} bytes of log`,
      `RSS ${rss[0]} .. ${rss.at(-1)} MB, ${report.problems.length} problems`,
    ].join("; "),
  );
}
