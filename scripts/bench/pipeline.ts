/**
 * What two requests in flight on one connection gain, as `agent upload` sends them, over one at a time:
 * `scripts/bench/run pipeline [--rounds=5] [--size=200] [--batch=4] [--in-flight=1,2] [--sync-ms=0]
 * [--input=EXPORT] [--agent=PATH]`.
 *
 * With `--sync-ms` each fdatasync of the receiver takes so much longer, as on a slower disk; strace does that.
 * The stream (test/support/scaled-stream.ts) is posted in batches of `--batch` MiB over mutual TLS to a receiver
 * that got 40 MB of other entries before; the ways take turns, and the medians are compared.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { freePort } from "../../test/support/ports.ts";
import { ScaledStream } from "../../test/support/scaled-stream.ts";
import { TempDir } from "../../test/support/temp-dir.ts";
import { UploadClient } from "../../test/support/upload-client.ts";
import {
  countEntries,
  mb,
  median,
  ROOT,
  readSource,
  startReceiver,
  WARM_UP_SEQNUM_ID,
  writeCertificates,
} from "./rig.ts";

const WARM_UP_BYTES = 40e6;

const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    size: { type: "string", default: "200" },
    batch: { type: "string", default: "4" },
    "in-flight": { type: "string", default: "1,2" },
    "sync-ms": { type: "string", default: "0" },
    input: { type: "string" },
    agent: { type: "string", default: join(ROOT, "dist/agent") },
  },
});

interface Batches {
  bodies: Uint8Array[];
  entries: number;
}

using work = new TempDir();
const source = readSource(work.path, options.input).bytes;
const batchBytes = Number(options.batch) * 2 ** 20;
const batches = makeBatches(new ScaledStream(source), Number(options.size) * 1e6);
const warmUp = makeBatches(new ScaledStream(source, WARM_UP_SEQNUM_ID), WARM_UP_BYTES);
await writeCertificates(work.path);
const agent = options["sync-ms"] === "0" ? options.agent : delayedAgent(options["sync-ms"]);
const ways = options["in-flight"].split(",").map(Number);
const rates = new Map<number, number[]>();
for (let round = 1; round <= Number(options.rounds); round++) {
  for (const inFlight of ways) {
    const rate = await measure(inFlight);
    rates.set(inFlight, [...(rates.get(inFlight) ?? []), rate]);
    console.log(`round ${round}: ${inFlight} in flight: ${rate.toFixed(0)} entries/s`);
  }
}
const medians = ways.map((way) => median(rates.get(way) ?? []));
for (const [i, rate] of medians.entries()) {
  const gain = (rate / (medians[0] ?? rate)).toFixed(2);
  console.log(`${ways[i]} in flight: ${rate.toFixed(0)} entries/s, ${gain} times the first`);
}

function makeBatches(stream: ScaledStream, bytesMin: number): Batches {
  const bodies: Uint8Array[] = [];
  let entries = 0;
  for (let bytes = 0; bytes < bytesMin; bytes += bodies.at(-1)?.length ?? bytesMin) {
    const parts: Uint8Array[] = [];
    for (let size = 0; size < batchBytes; size += parts.at(-1)?.length ?? batchBytes) {
      parts.push(...stream.entries(entries, entries + 1));
      entries++;
    }
    bodies.push(Buffer.concat(parts));
  }
  return { bodies, entries };
}

/** A program that runs the agent with a slow disk. */
function delayedAgent(syncMs: string): string {
  const path = join(work.path, "delayed-agent");
  const inject = `--inject=fdatasync:delay_exit=${Number(syncMs) * 1000}`;
  // -D: the agent is the process that was started, strace looks at it from aside.
  const trace = `strace -D -f --seccomp-bpf -e trace=fdatasync ${inject} -o /dev/null`;
  writeFileSync(path, `#!/bin/sh\nexec ${trace} "${options.agent}" "$@"\n`, { mode: 0o755 });
  return path;
}

/** @returns entries a second */
async function measure(inFlight: number): Promise<number> {
  const output = join(work.path, "output");
  mkdirSync(output);
  Bun.spawnSync(["sync", "-f", work.path]);
  const port = await freePort();
  const receiver = await startReceiver("agent", { agent, folder: work.path, output, port });
  const read = (name: string): string => readFileSync(join(work.path, name), "utf8");
  const identity = { certificate: read("client.pem"), key: read("client.key") };
  const client = new UploadClient({ port, authority: read("ca.pem") }, identity);
  await client.connect();
  await client.postAll(warmUp.bodies, inFlight);
  const startMs = performance.now();
  await client.postAll(batches.bodies, inFlight);
  const seconds = (performance.now() - startMs) / 1000;
  client.close();
  await receiver.stop();
  const stored = countEntries(output);
  const sent = warmUp.entries + batches.entries;
  if (stored !== sent) throw new Error(`Stored ${stored} of ${sent}\n${receiver.log}`);
  console.log(`  CPU ${receiver.cpuSeconds.toFixed(1)} s, peak RSS ${mb(receiver.peakRss)} MB`);
  rmSync(output, { recursive: true });
  return batches.entries / seconds;
}
