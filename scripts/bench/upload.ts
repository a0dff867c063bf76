/**
 * How fast journals are read, and sent from one machine to another, beside systemd's programs, on this machine and in
 * one run: `scripts/bench/run upload [--rounds=5] [--size=420] [--input=EXPORT] [--agent=PATH] [--only=read|upload|match]
 * [--warm-up=40]`.
 *
 * systemd-journal-remote makes journal files of real logs repeated to `--size` megabytes. Then, in turns:
 * - read: journalctl -o export, and our reader and serializer, each a process of its own, writing to nowhere;
 * - upload: systemd-journal-upload to systemd-journal-remote over HTTPS, and `agent upload` to `agent serve` over mutual TLS, from the
 *   start of the sender to its end; the receivers are running daemons and got `--warm-up` megabytes of other entries from
 *   another sender before;
 * - match: the entries of one unit, of units of very different sizes, by our reader.
 * The medians of all rounds are compared. Exit status 1: a bar was missed.
 */
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { parseCommandLine } from "../../src/cli/options.ts";
import { ALL_UPLOAD_SETTINGS } from "../../src/cli/upload-options.ts";
import { resolveUploadSettings } from "../../src/cli/upload-settings.ts";
import type { JournalEntry } from "../../src/journal/reader/journal-entry.ts";
import { parseConfig } from "../../src/platform/config-files.ts";
import type { EntrySource } from "../../src/upload/delivery-types.ts";
import { openSource } from "../../src/upload/source.ts";
import { freePort } from "../../test/support/ports.ts";
import { ReceiverProcess } from "../../test/support/receiver-process.ts";
import { ScaledStream } from "../../test/support/scaled-stream.ts";
import { TempDir } from "../../test/support/temp-dir.ts";
import {
  Bars,
  countEntries,
  mb,
  median,
  type Program,
  ROOT,
  readSource,
  STOCK_REMOTE,
  STOCK_UPLOAD,
  startReceiver,
  WARM_UP_SEQNUM_ID,
  writeCertificates,
} from "./rig.ts";

/** What must hold: entries/s as a multiple of the peer's, and memory. */
const BARS = { read: 3, upload: 4, peakRssMb: 200 };
const READ_CHILD = join(import.meta.dir, "read.ts");

const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    size: { type: "string", default: "420" },
    input: { type: "string" },
    agent: { type: "string", default: join(ROOT, "dist/agent") },
    only: { type: "string" },
    "warm-up": { type: "string", default: "40" },
  },
});

interface Upload {
  seconds: number;
  senderCpu: number;
  senderRss: number;
  receiverCpu: number;
  receiverRss: number;
}

using work = new TempDir();
const at = (name: string): string => join(work.path, name);
const journals = at("journals");
const warmUpJournals = at("warm-up-journals");
const bars = new Bars();
if (!existsSync(STOCK_REMOTE)) throw new Error(`Cannot make journals: there is no ${STOCK_REMOTE}`);
const source = readSource(work.path, options.input);
const stream = new ScaledStream(source.bytes).writeFile(
  at("stream.export"),
  Number(options.size) * 1e6,
);
const warmUp = new ScaledStream(source.bytes, WARM_UP_SEQNUM_ID).writeFile(
  at("warm-up.export"),
  Number(options["warm-up"]) * 1e6,
);
console.log(`${stream.entries} entries, ${mb(stream.bytes)} MB, from ${source.name}`);
mkdirSync(journals);
mkdirSync(warmUpJournals);
await run([STOCK_REMOTE, `--output=${join(journals, "bench.journal")}`, at("stream.export")]);
await run([STOCK_REMOTE, `--output=${join(warmUpJournals, "x.journal")}`, at("warm-up.export")]);
rmSync(at("stream.export"));
await writeCertificates(work.path);
if ((options.only ?? "read") === "read") await benchRead();
if ((options.only ?? "upload") === "upload") await benchUpload();
if ((options.only ?? "match") === "match") benchMatch();

async function benchRead(): Promise<void> {
  const seconds = { journalctl: [] as number[], agent: [] as number[] };
  for (let round = 1; round <= Number(options.rounds); round++) {
    seconds.journalctl.push(await run(["journalctl", "-q", "-o", "export", "-D", journals]));
    seconds.agent.push(await run([process.execPath, READ_CHILD, journals, "1"]));
    console.log(
      `round ${round}: journalctl ${rate(seconds.journalctl.at(-1))}, agent ${rate(seconds.agent.at(-1))} entries/s`,
    );
  }
  const ratio = median(seconds.journalctl) / median(seconds.agent);
  console.log(
    `read: journalctl ${rate(median(seconds.journalctl))}, agent ${rate(median(seconds.agent))} entries/s`,
  );
  bars.check(
    `read: ${ratio.toFixed(2)} times journalctl's entries/s (need ${BARS.read})`,
    ratio >= BARS.read,
  );
}

async function benchUpload(): Promise<void> {
  const results: Record<Program, Upload[]> = { stock: [], agent: [] };
  for (let round = 1; round <= Number(options.rounds); round++) {
    for (const program of ["stock", "agent"] as const) {
      const result = await upload(program);
      results[program].push(result);
      console.log(`round ${round}: upload ${program}: ${rate(result.seconds)} entries/s`);
    }
  }
  for (const program of ["stock", "agent"] as const) printUpload(program, results[program]);
  const medians = (program: Program): number => median(results[program].map((one) => one.seconds));
  const ratio = medians("stock") / medians("agent");
  bars.check(
    `upload: ${ratio.toFixed(2)} times stock's entries/s (need ${BARS.upload})`,
    ratio >= BARS.upload,
  );
  for (const key of ["senderRss", "receiverRss"] as const) {
    const peakMb = Math.max(...results.agent.map((one) => one[key])) / 1e6;
    const detail = `${key} ${peakMb.toFixed(0)} MB at most (need ${BARS.peakRssMb})`;
    bars.check(`upload: ${detail}`, peakMb <= BARS.peakRssMb);
  }
}

async function upload(program: Program): Promise<Upload> {
  const output = at("output");
  mkdirSync(output);
  const port = await freePort();
  const folder = work.path;
  const receiver = await startReceiver(program, { agent: options.agent, folder, output, port });
  if (warmUp.entries > 0) await startSender(program, port, warmUpJournals).ended();
  // What the run before left to be written must not slow this one down.
  Bun.spawnSync(["sync", "-f", work.path]);
  const startMs = performance.now();
  const sender = startSender(program, port, journals);
  const status = await sender.ended();
  const seconds = (performance.now() - startMs) / 1000;
  await receiver.stop();
  const stored = countEntries(output);
  rmSync(output, { recursive: true });
  if (status !== 0 || stored !== stream.entries + warmUp.entries) {
    throw new Error(
      `${program}: status ${status}, stored ${stored} of ${stream.entries + warmUp.entries}\n${sender.log}\n${receiver.log}`,
    );
  }
  return {
    seconds,
    senderCpu: sender.cpuSeconds,
    senderRss: sender.peakRss,
    receiverCpu: receiver.cpuSeconds,
    receiverRss: receiver.peakRss,
  };
}

function startSender(program: Program, port: number, directory: string): ReceiverProcess {
  rmSync(at("state"), { force: true });
  return new ReceiverProcess([
    ...(program === "stock" ? [STOCK_UPLOAD] : [options.agent, "upload"]),
    `--url=https://127.0.0.1:${port}`,
    `--key=${at("client.key")}`,
    `--cert=${at("client.pem")}`,
    `--trust=${at("ca.pem")}`,
    `--directory=${directory}`,
    "--follow=no",
    `--save-state=${at("state")}`,
  ]);
}

function printUpload(program: Program, results: readonly Upload[]): void {
  const of = (key: keyof Upload): number => median(results.map((one) => one[key]));
  const perEntry = (seconds: number): string => ((seconds * 1e6) / stream.entries).toFixed(2);
  console.log(
    `upload ${program}: ${rate(of("seconds"))} entries/s; µs CPU per entry: sender ${perEntry(of("senderCpu"))}, receiver ${perEntry(of("receiverCpu"))}; peak RSS: sender ${mb(of("senderRss"))}, receiver ${mb(of("receiverRss"))} MB`,
  );
}

/** @returns how long it took, in seconds. */
async function run(command: readonly string[]): Promise<number> {
  const startMs = performance.now();
  const child = Bun.spawn([...command], { stdout: "ignore", stderr: "pipe" });
  const errors = await new Response(child.stderr).text();
  const status = await child.exited;
  if (status !== 0) throw new Error(`"${command.join(" ")}" ended with ${status}\n${errors}`);
  return (performance.now() - startMs) / 1000;
}

function rate(seconds = 1): number {
  return Math.round(stream.entries / seconds);
}

/** Entries of one unit, of units of very different sizes, beside reading all entries. */
function benchMatch(): void {
  const sizes = countByUnit();
  const byCount = [...sizes].sort(([, a], [, b]) => a - b);
  const chosen = new Map([0, 0.25, 0.5, 0.75, 1].map((share) => itemAt(byCount, share)));
  const all = median(timesOf(undefined).map(({ ms }) => ms));
  console.log(`match: all ${stream.entries} entries in ${all.toFixed(0)} ms`);
  for (const [unit, count] of chosen) {
    const runs = timesOf(unit);
    const ms = median(runs.map((run) => run.ms));
    if (runs.some(({ entries }) => entries !== count)) throw new Error(`${unit}: wrong entries`);
    const detail = `${count} entries of ${unit} in ${ms.toFixed(1)} ms`;
    // Opening files and finding the unit; then its share of all, where one entry may cost as much as twenty in a row.
    const limitMs = 30 + all * Math.min(1, (20 * count) / stream.entries);
    bars.check(`match: ${detail} (need ${limitMs.toFixed(0)})`, ms <= limitMs);
  }
}

function itemAt<T>(list: readonly T[], share: number): T {
  const item = list[Math.round(share * (list.length - 1))];
  if (item === undefined) throw new Error("Cannot choose: the journal names no unit");
  return item;
}

function countByUnit(): Map<string, number> {
  const counts = new Map<string, number>();
  const source = openJournals(undefined);
  for (let entry = source.next(); entry !== undefined; entry = source.next()) {
    const unit = fieldOf(entry, "_SYSTEMD_UNIT=");
    if (unit !== undefined) counts.set(unit, (counts.get(unit) ?? 0) + 1);
  }
  source.close();
  return counts;
}

function fieldOf(
  { cache, records, recordCount }: JournalEntry,
  prefix: string,
): string | undefined {
  for (let i = 0; i < recordCount; i++) {
    const record = records[i] ?? 0;
    const start = cache.start[record] ?? 0;
    if (cache.nameLength[record] !== prefix.length - 1) continue;
    const text = cache.bytesOf(record).toString("utf8", start, start + (cache.size[record] ?? 0));
    if (text.startsWith(prefix)) return text.slice(prefix.length);
  }
  return undefined;
}

function timesOf(unit: string | undefined): { ms: number; entries: number }[] {
  return Array.from({ length: Number(options.rounds) }, () => {
    const startMs = performance.now();
    const source = openJournals(unit);
    let entries = 0;
    while (source.next() !== undefined) entries++;
    source.close();
    return { ms: performance.now() - startMs, entries };
  });
}

function openJournals(unit: string | undefined): EntrySource {
  const words = unit === undefined ? [] : [`_SYSTEMD_UNIT=${unit}`];
  const argv = [`--directory=${journals}`, "--follow=no", ...words];
  const line = parseCommandLine(argv, ALL_UPLOAD_SETTINGS);
  const options = { environment: {}, isStock: false };
  const { settings } = resolveUploadSettings({ ...parseConfig("", ""), files: [] }, line, options);
  return openSource(settings, undefined);
}
