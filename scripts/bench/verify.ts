/**
 * What a verification costs: `bun scripts/bench/verify.ts FILE.journal [ROUNDS]`
 * prints the first run, the best of the rest, and journalctl's time for the same file.
 */
import { verifyJournalFile } from "../../src/journal/verify.ts";

const [file, roundsText = "5"] = process.argv.slice(2);
if (file === undefined) throw new Error("Usage: verify.ts FILE.journal [ROUNDS]");

function timeOf(run: () => void): number {
  const start = performance.now();
  run();
  return performance.now() - start;
}

const [first = 0, ...others] = Array.from({ length: Number(roundsText) }, () =>
  timeOf(() => verifyJournalFile(file)),
);
const result = verifyJournalFile(file);
const theirs = timeOf(() => Bun.spawnSync(["journalctl", "--verify", "--file", file]));
const best = Math.min(first, ...others);
const rss = Math.round(process.memoryUsage().rss / 2 ** 20);
console.log(
  `${result.objects} objects, ${result.entries} entries, ${result.problemCount} problems, ${rss} MB RSS`,
);
console.log(
  `first ${first.toFixed(0)} ms, best ${best.toFixed(0)} ms, journalctl ${theirs.toFixed(0)} ms`,
);
