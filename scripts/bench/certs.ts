/**
 * An authority over the years: `scripts/bench/run certs [--certificates=10000] [--handshakes=400] [--agent=PATH]`.
 *
 * Issues that many certificates, then as many more and revokes these, in one process, and says for each tenth how long
 * one took. Then runs the commands themselves on what has become of it, and measures handshakes of
 * `agent serve` with an empty list and with this one. Exit status 1: the last tenth took more than twice the first when
 * issuing, or a command took more than a second.
 */
import { mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import tls from "node:tls";
import { parseArgs } from "node:util";
import { CertsAuthority } from "../../test/support/certs.ts";
import { readCpuSeconds } from "../../test/support/process-usage.ts";
import { Receiver } from "../../test/support/receiver.ts";
import { run } from "../../test/support/run-agent.ts";
import { TempDir } from "../../test/support/temp-dir.ts";
import { median } from "./rig.ts";

const PARTS = 10;
const REVOKED_ALONE = 10;
const COMMAND_RUNS = 5;
const COMMAND_MS_MAX = 1000;
const GROWTH_MAX = 2;
const HANDSHAKE_ROUNDS = 5;

const { values: options } = parseArgs({
  options: {
    certificates: { type: "string", default: "10000" },
    handshakes: { type: "string", default: "400" },
    agent: { type: "string", default: join(import.meta.dir, "../../dist/agent") },
  },
});
const count = Number(options.certificates);
const handshakes = Number(options.handshakes);

using ca = await CertsAuthority.create();
await ca.issue("server", { names: ["localhost", "127.0.0.1"], role: "server" });
await ca.issue("client", { role: "client" });
const emptyList = ca.text("crl.pem");

const issuing = await measureParts("issue", (i) => ca.issue(`host${i}`));
const issuingMore = await measureParts("issue", (i) => ca.issue(`leaver${i}`));
const revoking = await measureRevocations();
console.log(
  `index ${statSync(ca.path("index")).size} bytes, list ${statSync(ca.path("crl.pem")).size} bytes`,
);

const commands = [
  ["list"],
  ["list", "--expiring=30d"],
  ["crl"],
  ["issue", "late"],
  ["revoke", "late"],
  ["renew", "host0"],
  ["verify", "--all"],
];
const times = new Map<string, number>();
for (const command of commands) times.set(command.join(" "), await measureCommand(command));
const oneByOne = ["list", "crl", "revoke late"].map((name) => times.get(name) ?? Number.NaN);

await measureHandshakes();

const growth = (issuingMore.at(-1) ?? 0) / (issuing[0] ?? 0);
console.log(
  `issue, last tenth against first: ${growth.toFixed(2)}; revoke: ${((revoking.at(-1) ?? 0) / (revoking[0] ?? 0)).toFixed(2)}`,
);
process.exitCode = growth <= GROWTH_MAX && oneByOne.every((ms) => ms < COMMAND_MS_MAX) ? 0 : 1;

/** Milliseconds each, by tenths. */
async function measureParts(
  name: string,
  change: (index: number) => Promise<unknown>,
): Promise<number[]> {
  const parts: number[] = [];
  const size = Math.ceil(count / PARTS);
  for (let part = 0; part < PARTS; part++) {
    const startMs = performance.now();
    for (let i = part * size; i < (part + 1) * size; i++) await change(i);
    parts.push((performance.now() - startMs) / size);
  }
  console.log(
    `${name}, ms each, by tenths of ${count}: ${parts.map((ms) => ms.toFixed(1)).join(" ")}`,
  );
  return parts;
}

/** Milliseconds each, by tenths: a few of each tenth are revoked one by one, the rest of it at once. */
async function measureRevocations(): Promise<number[]> {
  const parts: number[] = [];
  const size = Math.ceil(count / PARTS);
  for (let part = 0; part < PARTS; part++) {
    const names = Array.from({ length: size }, (_, i) => `leaver${part * size + i}`);
    const alone = names.splice(0, REVOKED_ALONE);
    if (names.length > 0) await ca.revoke(names);
    const startMs = performance.now();
    for (const name of alone) await ca.revoke(name);
    parts.push((performance.now() - startMs) / alone.length);
  }
  console.log(
    `revoke, ms each, by tenths of ${count}: ${parts.map((ms) => ms.toFixed(1)).join(" ")}`,
  );
  return parts;
}

/** Median of some runs of the executable, its start included. */
async function measureCommand(words: readonly string[]): Promise<number> {
  const [verb = "", name] = words;
  const runs: number[] = [];
  for (let i = 0; i < COMMAND_RUNS; i++) {
    const own = verb === "issue" || verb === "revoke" ? [`${name}${i}`] : words.slice(1);
    const startMs = performance.now();
    const { status, stderr } = await run([
      options.agent,
      "certs",
      verb,
      ...own,
      `--directory=${ca.directory}`,
    ]);
    runs.push(performance.now() - startMs);
    if (status !== 0) throw new Error(`certs ${words.join(" ")}: exit ${status}: ${stderr}`);
  }
  const ms = median(runs);
  console.log(`agent certs ${words.join(" ")}: ${ms.toFixed(0)} ms`);
  return ms;
}

/** In turns, so that whatever else the machine does hits both. */
async function measureHandshakes(): Promise<void> {
  using work = new TempDir();
  writeFileSync(join(work.path, "empty.pem"), emptyList);
  const lists = { empty: join(work.path, "empty.pem"), long: ca.path("crl.pem") };
  const results = { empty: { ms: [] as number[], cpu: 0 }, long: { ms: [] as number[], cpu: 0 } };
  for (let round = 0; round < HANDSHAKE_ROUNDS; round++) {
    for (const name of ["empty", "long"] as const) {
      const output = join(work.path, `${name}${round}`);
      mkdirSync(output);
      const command = [options.agent, "serve"];
      const pki = { path: (file: string) => ca.path(file) };
      await using receiver = await Receiver.start({
        command,
        output,
        pki,
        args: [`--crl=${lists[name]}`],
      });
      for (let i = 0; i < 50; i++) await handshake(receiver.port);
      const before = readCpuSeconds(receiver.pid);
      for (let i = 0; i < handshakes; i++) results[name].ms.push(await handshake(receiver.port));
      results[name].cpu += readCpuSeconds(receiver.pid) - before;
    }
  }
  const perHandshake = (cpu: number): number => (cpu * 1000) / (handshakes * HANDSHAKE_ROUNDS);
  for (const [name, { ms, cpu }] of Object.entries(results)) {
    console.log(
      `handshake, ${name} list: median ${median(ms).toFixed(2)} ms, receiver's CPU ${perHandshake(cpu).toFixed(2)} ms`,
    );
  }
  const { empty, long } = results;
  console.log(
    `handshake, long against empty: ${(median(long.ms) / median(empty.ms)).toFixed(2)} (time), ${(long.cpu / empty.cpu).toFixed(2)} (CPU)`,
  );
}

/** Milliseconds. With TLS 1.2 the client's end comes after the server has looked at the certificate. */
async function handshake(port: number): Promise<number> {
  const startMs = performance.now();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = tls.connect({
    host: "127.0.0.1",
    port,
    ca: ca.text("ca.pem"),
    cert: ca.text("client.pem"),
    key: ca.text("client.key"),
    maxVersion: "TLSv1.2",
  });
  socket.on("secureConnect", () => resolve());
  socket.on("error", reject);
  await promise;
  const ms = performance.now() - startMs;
  socket.destroy();
  return ms;
}
