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
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { readStoredFile } from "../../src/serve/store/stored-file.ts";
import { diskUse } from "../../test/support/process-usage.ts";
import { freePort, ReceiverProcess } from "../../test/support/receiver-process.ts";
import { ScaledStream } from "../../test/support/scaled-stream.ts";
import { TempDir } from "../../test/support/temp-dir.ts";
import { ThrowawayAuthority } from "../throwaway-certificates.ts";

const ROOT = join(import.meta.dir, "../..");
const STOCK = "/lib/systemd/systemd-journal-remote";
const SHARED_DATA = join(ROOT, "../shared/data");
const FIXTURE = join(ROOT, "test/fixtures/web1-boot.export");
/** Entries of the warm-up are others than those of the stream. */
const WARM_UP_SEQNUM_ID = "11111111111111111111111111111111";
const JOURNAL = "application/vnd.fdo.journal";
/** What must hold: entries/s as a multiple of stock's, and memory. */
const BARS = { file: 4, https: 3, peakRssMb: 200 };

type Path = "file" | "https";
type Program = "stock" | "agent";

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
const source = readSource();
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
await writeCertificates();
const paths = (["file", "https"] as const).filter((path) => (options.only ?? path) === path);
const programs: Program[] = existsSync(STOCK) ? ["stock", "agent"] : ["agent"];
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
process.exitCode = printBars() ? 0 : 1;

function readSource(): { name: string; bytes: Uint8Array } {
  if (options.input !== undefined) {
    return { name: options.input, bytes: readFileSync(options.input) };
  }
  const names = existsSync(SHARED_DATA) ? readdirSync(SHARED_DATA) : [];
  const name = names.find((file) => /^system@.*\.journal~?\.zst$/.test(file));
  if (name === undefined || Bun.which("journalctl") === null) {
    return { name: FIXTURE, bytes: readFileSync(FIXTURE) };
  }
  const journal = at("source.journal");
  writeFileSync(journal, Bun.zstdDecompressSync(readFileSync(join(SHARED_DATA, name))));
  const run = Bun.spawnSync(["journalctl", "-q", "-o", "export", "--file", journal]);
  return { name, bytes: run.stdout };
}

async function writeCertificates(): Promise<void> {
  const authority = await ThrowawayAuthority.create("bench");
  writeFileSync(at("ca.pem"), authority.certificate);
  const address = [{ type: "ip", value: "127.0.0.1" }] as const;
  for (const usage of ["server", "client"] as const) {
    const identity = await authority.issue({
      commonName: usage,
      usage,
      ...(usage === "server" ? { alternativeNames: address } : {}),
    });
    writeFileSync(at(`${usage}.pem`), identity.certificate);
    writeFileSync(at(`${usage}.key`), identity.key);
  }
}

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
    program === "stock" ? [STOCK, ...files] : [options.agent, "serve", ...files],
  );
  const status = await receiver.ended();
  const seconds = (performance.now() - startMs) / 1000;
  if (status !== 0) throw new Error(`${program} ended with ${status}\n${receiver.log}`);
  return { receiver, seconds };
}

/** From the start of curl to its end; CPU and memory are of the whole life of the receiver. */
async function post(program: Program, output: string): Promise<Run> {
  const port = await freePort();
  const listen = [
    `--listen-https=127.0.0.1:${port}`,
    `--output=${output}`,
    `--key=${at("server.key")}`,
    `--cert=${at("server.pem")}`,
  ];
  const receiver = new ReceiverProcess(
    program === "stock"
      ? [STOCK, ...listen]
      : [options.agent, "serve", ...listen, `--trust=${at("ca.pem")}`],
  );
  await receiver.listening(port);
  const url = `https://127.0.0.1:${port}/upload`;
  if (warmUp.entries > 0) await curl(url, "warm-up.export");
  Bun.spawnSync(["sync", "-f", work.path]);
  const startMs = performance.now();
  const status = await curl(url, "stream.export");
  const seconds = (performance.now() - startMs) / 1000;
  await receiver.stop();
  if (status !== "202") throw new Error(`${program} answered ${status}\n${receiver.log}`);
  return { receiver, seconds };
}

/** @returns the status of the answer. */
async function curl(url: string, file: string): Promise<string> {
  const identity = ["--cacert", at("ca.pem"), "--cert", at("client.pem")];
  const request = ["-T", at(file), "-X", "POST", "-H", `Content-Type: ${JOURNAL}`];
  const quiet = ["-sS", "--noproxy", "*", "-o", "/dev/null", "-w", "%{http_code}"];
  const command = ["curl", ...quiet, ...identity, "--key", at("client.key"), ...request, url];
  const run = Bun.spawn(command, { stdout: "pipe", stderr: "inherit" });
  const status = await new Response(run.stdout).text();
  await run.exited;
  return status;
}

function countEntries(output: string): number {
  const files = readdirSync(output).map((name) => readStoredFile(join(output, name)));
  return files.reduce((sum, file) => sum + (file?.entries ?? 0), 0);
}

function medianOf(path: Path, program: Program): Measurement | undefined {
  const all = results.get(`${path} ${program}`);
  if (all === undefined) return undefined;
  const median = (key: keyof Measurement): number => {
    const sorted = all.map((one) => one[key]).sort((a, b) => a - b);
    return sorted[Math.floor(sorted.length / 2)] ?? 0;
  };
  return {
    seconds: median("seconds"),
    cpuSeconds: median("cpuSeconds"),
    // A bound on memory has to hold every time.
    peakRss: Math.max(...all.map((one) => one.peakRss)),
    diskBytes: median("diskBytes"),
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
  console.log(`\nmedians of ${options.rounds} rounds; agent: ${options.agent}; stock: ${STOCK}`);
  for (const [name = "", ...cells] of rows) {
    console.log(name.padEnd(12) + cells.map((cell) => cell.padStart(14)).join(""));
  }
  console.log("https agent is mutual TLS; https stock asks for no client certificate, because");
  console.log("Debian builds it without GnuTLS and it refuses to start with --trust=.\n");
}

/** @returns whether all that could be measured hold. */
function printBars(): boolean {
  let holds = true;
  const print = (what: string, isGood: boolean): void => {
    console.log(`${isGood ? "holds " : "MISSED"}  ${what}`);
    holds &&= isGood;
  };
  for (const path of paths) {
    const [agent, stock] = [medianOf(path, "agent"), medianOf(path, "stock")];
    if (agent === undefined) continue;
    if (stock !== undefined) {
      const ratio = stock.seconds / agent.seconds;
      const cpuRatio = stock.cpuSeconds / agent.cpuSeconds;
      const detail = `${ratio.toFixed(2)} times stock's entries/s (need ${BARS[path]}); per CPU second ${cpuRatio.toFixed(2)} times`;
      print(`${path}: ${detail}`, ratio >= BARS[path]);
    }
    const peakMb = agent.peakRss / 1e6;
    const detail = `peak RSS ${peakMb.toFixed(0)} MB (at most ${BARS.peakRssMb})`;
    print(`${path}: ${detail}`, peakMb <= BARS.peakRssMb);
  }
  if (!programs.includes("stock")) console.log(`There is no ${STOCK} to compare with`);
  return holds;
}

function rate({ seconds }: Measurement): number {
  return Math.round(stream.entries / seconds);
}

function mb(bytes: number): string {
  return (bytes / 1e6).toFixed(0);
}
