/**
 * How fast journals are received, beside systemd-journal-remote, on this machine and in one run:
 * `scripts/bench/run [receive] [--rounds=5] [--size=420] [--input=EXPORT] [--agent=PATH] [--only=file|https]
 * [--warm-up=40]`.
 *
 * A receiver on the network is a daemon: before the upload that is timed, both programs get one of
 * `--warm-up` megabytes of other entries; 0 = none. An import from a file is timed from a cold start.
 * The stream is real logs repeated to `--size` megabytes (test/support/scaled-stream.ts). The programs
 * take turns, and the medians of all rounds are compared. Exit status 1: a bar was missed.
 */
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { freePort } from "../../test/support/ports.ts";
import { diskUse } from "../../test/support/process-usage.ts";
import { ReceiverProcess } from "../../test/support/receiver-process.ts";
import { ScaledStream } from "../../test/support/scaled-stream.ts";
import { TempDir } from "../../test/support/temp-dir.ts";
import {
  Bars,
  countEntries,
  curl,
  mb,
  median,
  type Program,
  ROOT,
  readSource,
  STOCK_REMOTE,
  startReceiver,
  WARM_UP_SEQNUM_ID,
  writeCertificates,
} from "./rig.ts";

/** What must hold: entries/s as a multiple of stock's, and memory. */
const BARS = { file: 4, https: 3, peakRssMb: 200 };

type Path = "file" | "https";

interface Measurement {
  seconds: number;
  cpuSeconds: number;
  peakRss: number;
  diskBytes: number;
}

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

using work = new TempDir();
const at = (name: string): string => join(work.path, name);
const source = readSource(work.path, options.input);
const stream = new ScaledStream(source.bytes).writeFile(
  at("stream.export"),
  Number(options.size) * 1e6,
);
console.log(
  `${stream.entries} entries of ${Math.round(stream.bytes / stream.entries)} bytes, ${mb(stream.bytes)} MB, from ${source.name}`,
);
const warmUp = new ScaledStream(source.bytes, WARM_UP_SEQNUM_ID).writeFile(
  at("warm-up.export"),
  Number(options["warm-up"]) * 1e6,
);
await writeCertificates(work.path);
const paths = (["file", "https"] as const).filter((path) => (options.only ?? path) === path);
const programs: Program[] = existsSync(STOCK_REMOTE) ? ["stock", "agent"] : ["agent"];
const results = new Map<string, Measurement[]>();
for (let round = 1; round <= Number(options.rounds); round++) {
  for (const path of paths) {
    for (const program of programs) {
      const result = await measure(path, program);
      const key = `${path} ${program}`;
      results.set(key, [...(results.get(key) ?? []), result]);
      console.log(`round ${round}: ${key}: ${rate(result)} entries/s`);
    }
  }
}
printTable();
printBars();

async function measure(path: Path, program: Program): Promise<Measurement> {
  const output = at("output");
  mkdirSync(output);
  // What the run before left to be written must not slow this one down.
  Bun.spawnSync(["sync", "-f", work.path]);
  const run = path === "file" ? await importFile(program, output) : await post(program, output);
  const { receiver, seconds } = run;
  const stored = countEntries(output);
  const sent = sentEntries(path);
  if (stored !== sent) {
    throw new Error(`${path} ${program}: stored ${stored} of ${sent}\n${receiver.log}`);
  }
  const { cpuSeconds, peakRss } = receiver;
  const result = { seconds, cpuSeconds, peakRss, diskBytes: diskUse(output) };
  rmSync(output, { recursive: true });
  return result;
}

/** Entries a receiver got in its life. */
function sentEntries(path: Path): number {
  return stream.entries + (path === "https" ? warmUp.entries : 0);
}

interface Run {
  receiver: ReceiverProcess;
  seconds: number;
}

/** From the start of the program to its end. */
async function importFile(program: Program, output: string): Promise<Run> {
  const target = join(output, "out.journal");
  const files = [`--output=${target}`, at("stream.export")];
  const startMs = performance.now();
  const receiver = new ReceiverProcess(
    program === "stock" ? [STOCK_REMOTE, ...files] : [options.agent, "serve", ...files],
  );
  const status = await receiver.ended();
  const seconds = (performance.now() - startMs) / 1000;
  if (status !== 0) throw new Error(`${program} ended with ${status}\n${receiver.log}`);
  return { receiver, seconds };
}

/** From the start of curl to its end; CPU and memory are of the whole life of the receiver. */
async function post(program: Program, output: string): Promise<Run> {
  const port = await freePort();
  const folder = work.path;
  const receiver = await startReceiver(program, { agent: options.agent, folder, output, port });
  const url = `https://127.0.0.1:${port}/upload`;
  if (warmUp.entries > 0) await curl(folder, url, "warm-up.export");
  Bun.spawnSync(["sync", "-f", work.path]);
  const startMs = performance.now();
  const status = await curl(folder, url, "stream.export");
  const seconds = (performance.now() - startMs) / 1000;
  await receiver.stop();
  if (status !== "202") throw new Error(`${program} answered ${status}\n${receiver.log}`);
  return { receiver, seconds };
}

function medianOf(path: Path, program: Program): Measurement | undefined {
  const all = results.get(`${path} ${program}`);
  if (all === undefined) return undefined;
  const medianBy = (key: keyof Measurement): number => median(all.map((one) => one[key]));
  return {
    seconds: medianBy("seconds"),
    cpuSeconds: medianBy("cpuSeconds"),
    // A bound on memory has to hold every time.
    peakRss: Math.max(...all.map((one) => one.peakRss)),
    diskBytes: medianBy("diskBytes"),
  };
}

function printTable(): void {
  const heads = ["", "entries/s", "MB/s", "CPU s", "µs CPU/entry", "peak RSS MB", "disk MB"];
  const rows = [heads];
  for (const path of paths) {
    for (const program of programs) {
      const result = medianOf(path, program);
      if (result === undefined) continue;
      rows.push([
        `${path} ${program}`,
        String(rate(result)),
        mb(stream.bytes / result.seconds),
        result.cpuSeconds.toFixed(2),
        ((result.cpuSeconds * 1e6) / sentEntries(path)).toFixed(2),
        mb(result.peakRss),
        mb(result.diskBytes),
      ]);
    }
  }
  console.log(
    `\nmedians of ${options.rounds} rounds; agent: ${options.agent}; stock: ${STOCK_REMOTE}`,
  );
  for (const [name = "", ...cells] of rows) {
    console.log(name.padEnd(12) + cells.map((cell) => cell.padStart(14)).join(""));
  }
  console.log("https agent is mutual TLS; https stock asks for no client certificate, because");
  console.log("Debian builds it without GnuTLS and it refuses to start with --trust=.\n");
}

function printBars(): void {
  const bars = new Bars();
  for (const path of paths) {
    const [agent, stock] = [medianOf(path, "agent"), medianOf(path, "stock")];
    if (agent === undefined) continue;
    if (stock !== undefined) {
      const ratio = stock.seconds / agent.seconds;
      const cpuRatio = stock.cpuSeconds / agent.cpuSeconds;
      const detail = `${ratio.toFixed(2)} times stock's entries/s (need ${BARS[path]}); per CPU second ${cpuRatio.toFixed(2)} times`;
      bars.check(`${path}: ${detail}`, ratio >= BARS[path]);
    }
    const peakMb = agent.peakRss / 1e6;
    const detail = `peak RSS ${peakMb.toFixed(0)} MB (at most ${BARS.peakRssMb})`;
    bars.check(`${path}: ${detail}`, peakMb <= BARS.peakRssMb);
  }
  if (!programs.includes("stock")) console.log(`There is no ${STOCK_REMOTE} to compare with`);
}

function rate({ seconds }: Measurement): number {
  return Math.round(stream.entries / seconds);
}
