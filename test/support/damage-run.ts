/** Feeds damaged streams to a receiver and says what went wrong: test/e2e and scripts/bench/damage.ts. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { type DamagedStream, mutate, pieces, randomFrom, truncate } from "./damage.ts";
import { concat } from "./export-stream.ts";
import { checkDirectory, IngestRig } from "./ingest-rig.ts";
import { hasSystemd, journalctlVerify } from "./journal-tools.ts";
import type { ScaledStream } from "./scaled-stream.ts";
import { TempDir } from "./temp-dir.ts";

/** Entries of each stream. */
const STREAM_ENTRIES = 4;
const SENDERS = 4;
/** After so many streams the files are closed and verified, and others begun. */
const STREAMS_PER_DIRECTORY = 1000;
/** Of each directory, the active files and so many others. */
const JOURNALCTL_SAMPLE = 4;
/** A stream takes milliseconds; this much longer is a hang. */
const STREAM_MS_MAX = 10_000;

export interface DamageReport {
  streams: number;
  stored: number;
  refused: number;
  files: number;
  /** Bytes of warnings. */
  logBytes: number;
  /** The longest time one stream took. */
  slowestMs: number;
  /** Resident memory after each directory. */
  rss: number[];
  /** One line each. */
  problems: string[];
}

/** Each stream is other entries of the source, cut after 0, 1, 2, ... bytes up to its whole length. */
export async function runTruncations(source: ScaledStream): Promise<DamageReport> {
  const lengthMax = concat(...source.entries(0, STREAM_ENTRIES)).length;
  return await runStreams(lengthMax + 1, (round) => {
    return truncate(entriesOf(source, round), round);
  });
}

export async function runMutations(
  source: ScaledStream,
  options: { streams: number; seed: number; onProgress?: (report: DamageReport) => void },
): Promise<DamageReport> {
  const { streams, seed, onProgress } = options;
  const damage = (round: number): DamagedStream => {
    return mutate(entriesOf(source, round), randomFrom(seed * 1_000_003 + round));
  };
  return await runStreams(streams, damage, onProgress);
}

function entriesOf(source: ScaledStream, round: number): Uint8Array[] {
  return source.entries(round * STREAM_ENTRIES, (round + 1) * STREAM_ENTRIES);
}

async function runStreams(
  streams: number,
  damage: (round: number) => DamagedStream,
  onProgress?: (report: DamageReport) => void,
): Promise<DamageReport> {
  const report: DamageReport = {
    streams: 0,
    stored: 0,
    refused: 0,
    files: 0,
    logBytes: 0,
    slowestMs: 0,
    rss: [],
    problems: [],
  };
  while (report.streams < streams) {
    const end = Math.min(streams, report.streams + STREAMS_PER_DIRECTORY);
    await runDirectory(report, end, damage);
    report.rss.push(process.memoryUsage.rss());
    onProgress?.(report);
  }
  return report;
}

async function runDirectory(
  report: DamageReport,
  end: number,
  damage: (round: number) => DamagedStream,
): Promise<void> {
  using dir = new TempDir();
  const rig = await IngestRig.open(dir.path);
  for (; report.streams < end; report.streams++) {
    await runStream(rig, report, damage(report.streams));
  }
  if (rig.heldBytes !== 0) report.problems.push(`${rig.heldBytes} bytes are held by no stream`);
  await rig.close();
  report.stored += rig.stored;
  report.logBytes += rig.logBytes;
  const check = checkDirectory(dir.path);
  report.files += check.files.length;
  const where = `streams up to ${report.streams}`;
  report.problems.push(...check.problems.map((problem) => `${where}: ${problem}`));
  if (check.entries !== rig.stored) {
    report.problems.push(`${where}: ${rig.stored} were stored, the files have ${check.entries}`);
  }
  checkWithJournalctl(dir.path, report);
}

async function runStream(
  rig: IngestRig,
  report: DamageReport,
  { bytes, intactEntries }: DamagedStream,
): Promise<void> {
  const round = report.streams;
  const startMs = performance.now();
  try {
    const chunks = pieces(bytes, randomFrom(round));
    const { counts } = await rig.feed(`sender-${round % SENDERS}`, chunks);
    for (const count of counts.refused.values()) report.refused += count;
    // A duplicate is one whose number a damaged entry before it has taken.
    const taken = counts.stored + counts.duplicates;
    if (taken < intactEntries) {
      report.problems.push(
        `stream ${round}: ${taken} of ${intactEntries} whole entries were taken`,
      );
    }
  } catch (error) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    report.problems.push(`stream ${round}: ${text}`);
  }
  const ms = performance.now() - startMs;
  report.slowestMs = Math.max(report.slowestMs, ms);
  if (ms > STREAM_MS_MAX) report.problems.push(`stream ${round} took ${Math.round(ms)} ms`);
}

function checkWithJournalctl(directory: string, report: DamageReport): void {
  if (!hasSystemd()) return;
  const names = readdirSync(directory);
  const isActive = (name: string): boolean => !name.includes("@");
  const others = names.filter((name) => !isActive(name)).slice(0, JOURNALCTL_SAMPLE);
  for (const name of [...names.filter(isActive), ...others]) {
    const { ok, output } = journalctlVerify(join(directory, name));
    if (!ok) report.problems.push(`journalctl --verify ${name}: ${output}`);
  }
}
