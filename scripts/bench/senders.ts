/**
 * Many machines at once, then an hour of their reconnects compressed in time:
 * `scripts/bench/run senders [--senders=1000] [--entries=1000] [--batch=100] [--reconnects=60] [--agent=PATH]`.
 *
 * Every sender has a certificate of its own and sends entries of 840 bytes over mutual TLS, each
 * request repeated until it is acknowledged. Afterwards every file is verified and every entry
 * looked up. Exit status 1: something is missing, doubled or damaged, or memory or descriptors grew.
 */
import { chmodSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { hasSystemd, journalctlVerify } from "../../test/support/journal-tools.ts";
import { freePort } from "../../test/support/ports.ts";
import {
  countDescriptors,
  diskUse,
  readCpuSeconds,
  readRss,
} from "../../test/support/process-usage.ts";
import { ReceiverProcess } from "../../test/support/receiver-process.ts";
import {
  ENTRY_SIZE,
  forEachAtOnce,
  makeSenders,
  proveStored,
} from "../../test/support/sender-fleet.ts";
import { TempDir } from "../../test/support/temp-dir.ts";
import { until } from "../../test/support/until.ts";
import { ThrowawayAuthority } from "../throwaway-certificates.ts";

const ROOT = join(import.meta.dir, "../..");
/** Handshakes and reconnects under way at a time. */
const CONCURRENCY = 64;
const RECONNECT_ENTRIES = 2;
const SAMPLES = 30;
/** Growth from the first to the last third of the reconnects that counts as none. */
const FLAT = { rssShare: 0.1, descriptors: 10 };
const JOURNALCTL_SAMPLE = 20;

const { values: options } = parseArgs({
  options: {
    senders: { type: "string", default: "1000" },
    entries: { type: "string", default: "1000" },
    batch: { type: "string", default: "100" },
    reconnects: { type: "string", default: "60" },
    agent: { type: "string", default: join(ROOT, "dist/agent") },
  },
});
const senderCount = Number(options.senders);
const entryCount = Number(options.entries);
const reconnectCount = Number(options.reconnects);

interface Sample {
  rss: number;
  descriptors: number;
}

let isGood = true;
using work = new TempDir();
const output = join(work.path, "output");
mkdirSync(output);
const { receiver, senders } = await start();
const baseline = countDescriptors(receiver.pid);
report("started");
await connectAll();
await sendAll();
await reconnectAll();
await until(() => countDescriptors(receiver.pid) <= baseline + 2, 20_000).catch(() => undefined);
report("idle again");
check("every descriptor is given back", countDescriptors(receiver.pid) <= baseline + 2);
check("it ends cleanly", (await receiver.stop()) === 0);
console.log(
  `peak RSS ${mb(receiver.peakRss)} MB, CPU ${receiver.cpuSeconds.toFixed(1)} s, log ${receiver.logBytes} bytes`,
);
prove();
if (!isGood) console.log(receiver.log.slice(-4096));
process.exitCode = isGood ? 0 : 1;

async function start() {
  const authority = await ThrowawayAuthority.create("bench");
  const identity = await authority.issue({
    commonName: "server",
    usage: "server",
    alternativeNames: [{ type: "ip", value: "127.0.0.1" }],
  });
  const key = work.write("server.key", identity.key);
  chmodSync(key, 0o600);
  const port = await freePort();
  const receiver = new ReceiverProcess([
    options.agent,
    "serve",
    `--listen-https=127.0.0.1:${port}`,
    `--output=${output}`,
    `--trust=${work.write("ca.pem", authority.certificate)}`,
    `--cert=${work.write("server.pem", identity.certificate)}`,
    `--key=${key}`,
  ]);
  const target = { port, authority: authority.certificate };
  const senders = await makeSenders(senderCount, authority, target);
  await receiver.listening(port);
  return { receiver, senders };
}

async function connectAll(): Promise<void> {
  const startMs = performance.now();
  await forEachAtOnce(senders, CONCURRENCY, (sender) => sender.client.connect());
  const seconds = secondsSince(startMs);
  report("all connected", `${seconds.toFixed(1)} s, ${Math.round(senderCount / seconds)}/s`);
}

async function sendAll(): Promise<void> {
  const startMs = performance.now();
  const cpuSeconds = readCpuSeconds(receiver.pid);
  await Promise.all(
    senders.map(async (sender) => {
      while (sender.entryCount < entryCount) {
        await sender.deliver(Math.min(Number(options.batch), entryCount - sender.entryCount));
      }
    }),
  );
  const seconds = secondsSince(startMs);
  const total = senderCount * entryCount;
  const cpuUsec = ((readCpuSeconds(receiver.pid) - cpuSeconds) * 1e6) / total;
  const speed = `${Math.round(total / seconds)} entries/s, ${mb((total * ENTRY_SIZE) / seconds)} MB/s`;
  report(
    "all sent",
    `${seconds.toFixed(1)} s, ${speed}, ${cpuUsec.toFixed(1)} µs CPU/entry, ${retries()} retries`,
  );
  for (const sender of senders) sender.client.close();
}

/** Each visit is a connection with a handshake of its own and one small request. */
async function reconnectAll(): Promise<void> {
  const samples: Sample[] = [];
  const visits = senderCount * reconnectCount;
  const startMs = performance.now();
  let done = 0;
  for (let round = 0; round < reconnectCount; round++) {
    await forEachAtOnce(senders, CONCURRENCY, async (sender) => {
      await sender.deliver(RECONNECT_ENTRIES);
      sender.client.close();
      done++;
      if (Math.floor((done * SAMPLES) / visits) <= samples.length) return;
      samples.push({ rss: readRss(receiver.pid), descriptors: countDescriptors(receiver.pid) });
      if (samples.length % 3 === 0) report(`${done} reconnects`);
    });
  }
  const seconds = secondsSince(startMs);
  report(
    "reconnected",
    `${seconds.toFixed(1)} s, ${Math.round(visits / seconds)}/s, ${retries()} retries`,
  );
  if (samples.length < SAMPLES) return;
  const third = Math.floor(SAMPLES / 3);
  const [first, last] = [meanOf(samples.slice(0, third)), meanOf(samples.slice(-third))];
  console.log(`first third: ${show(first)}; last third: ${show(last)}`);
  check("memory is flat", last.rss <= first.rss * (1 + FLAT.rssShare));
  check("descriptors are flat", last.descriptors <= first.descriptors + FLAT.descriptors);
}

function prove(): void {
  const startMs = performance.now();
  const proof = proveStored(output, senders);
  const sent = senders.reduce((sum, sender) => sum + sender.entryCount, 0);
  console.log(
    `${proof.files} files, ${proof.entries} entries of ${sent} sent, verified in ${secondsSince(startMs).toFixed(0)} s`,
  );
  for (const problem of proof.problems.slice(0, 20)) console.log(`  ${problem}`);
  check("every entry is stored once, every file is sound", proof.problems.length === 0);
  const names = readdirSync(output);
  if (!hasSystemd()) return;
  const step = Math.ceil(names.length / JOURNALCTL_SAMPLE);
  const sample = names.filter((_, index) => index % step === 0);
  const passed = sample.filter((name) => journalctlVerify(join(output, name)).ok);
  check(
    `journalctl --verify passes ${sample.length} of the files`,
    passed.length === sample.length,
  );
}

function report(stage: string, detail = ""): void {
  const sample = { rss: readRss(receiver.pid), descriptors: countDescriptors(receiver.pid) };
  const disk = `disk ${mb(diskUse(output))} MB`;
  console.log(`${stage.padEnd(18)} ${show(sample)}, ${disk}${detail && `; ${detail}`}`);
}

function show({ rss, descriptors }: Sample): string {
  return `RSS ${mb(rss)} MB, ${Math.round(descriptors)} descriptors`;
}

function meanOf(samples: readonly Sample[]): Sample {
  const mean = (key: keyof Sample): number =>
    samples.reduce((sum, sample) => sum + sample[key], 0) / samples.length;
  return { rss: mean("rss"), descriptors: mean("descriptors") };
}

function check(what: string, holds: boolean): void {
  console.log(`${holds ? "holds " : "MISSED"}  ${what}`);
  isGood &&= holds;
}

function retries(): number {
  return senders.reduce((sum, sender) => sum + sender.client.retries, 0);
}

function secondsSince(startMs: number): number {
  return (performance.now() - startMs) / 1000;
}

function mb(bytes: number): string {
  return (bytes / 1e6).toFixed(0);
}
