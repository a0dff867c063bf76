/**
 * `agent upload` and `agent serve` for a long time on a bad day: a booted journald writes and rotates, the connection is
 * cut and slowed down at random, both ends are killed and frozen. In the second half nobody is killed, and memory has to
 * stay as it is. At the end both sides hold the same entries in the same order, or it fails.
 *
 *   scripts/bench/run soak [--minutes=10] [--rate=1000] [--seed=1]
 *
 * Needs root, systemd-nspawn and journalctl.
 */
import { mkdirSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { BootedMachine } from "../../test/support/booted-machine.ts";
import { openDebianTree } from "../../test/support/debian-tree.ts";
import { seededRandom } from "../../test/support/encoded-bodies.ts";
import { compareJournals, countEntries } from "../../test/support/entry-digests.ts";
import { KeptJournals } from "../../test/support/kept-journals.ts";
import { freePort } from "../../test/support/ports.ts";
import { readRss } from "../../test/support/process-usage.ts";
import type { ReceiverProcess } from "../../test/support/receiver-process.ts";
import { journalFiles } from "../../test/support/stored-journals.ts";
import { TcpProxy } from "../../test/support/tcp-proxy.ts";
import { UploaderProcess } from "../../test/support/uploader-process.ts";
import { ROOT, startReceiver, writeCertificates } from "./rig.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "10" },
    rate: { type: "string", default: "1000" },
    seed: { type: "string", default: "1" },
  },
});
const DURATION_MS = Number(values.minutes) * 60_000;
const STEP_MS = 1000;
const CATCH_UP_MS = 120_000;
const { AGENT_BINARY = join(ROOT, "dist/agent") } = Bun.env;

/** RATE: prints about so many lines a second until it is killed. */
const LOAD = `i=0
while :; do
  end=$((i + $1 / 20))
  while [ $i -lt $end ]; do echo "message number $i of a busy host, which is neither short nor long"; i=$((i + 1)); done
  sleep 0.045
done
`;

/** Once a second each of them happens with this probability; killing in the first half only. */
const MISHAPS = {
  cut: 0.3,
  slow: 0.05,
  freezeReceiver: 0.05,
  rotate: 0.05,
  killReceiver: 0.05,
  killSender: 0.05,
} as const;
type Mishap = keyof typeof MISHAPS;

class Soak implements AsyncDisposable {
  readonly counts = new Map<Mishap, number>();
  readonly folder = mkdtempSync(join(tmpdir(), "soak-"));
  readonly output = join(this.folder, "received");
  readonly #machine: BootedMachine;
  readonly #port: number;
  readonly #proxy: TcpProxy;
  readonly #random = seededRandom(Number(values.seed));
  receiver: ReceiverProcess | undefined;
  sender: UploaderProcess | undefined;

  private constructor(machine: BootedMachine, port: number, proxy: TcpProxy) {
    this.#machine = machine;
    this.#port = port;
    this.#proxy = proxy;
    mkdirSync(this.output);
  }

  static async open(machine: BootedMachine): Promise<Soak> {
    const port = await freePort();
    const soak = new Soak(machine, port, await TcpProxy.open(port));
    await writeCertificates(soak.folder);
    await soak.startReceiver();
    soak.startSender();
    return soak;
  }

  async startReceiver(): Promise<void> {
    const { folder, output } = this;
    this.receiver = await startReceiver("agent", {
      agent: AGENT_BINARY,
      folder,
      output,
      port: this.#port,
    });
  }

  startSender(): void {
    const at = (name: string): string => join(this.folder, name);
    this.sender = new UploaderProcess([
      ...[AGENT_BINARY, "upload", `--url=https://127.0.0.1:${this.#proxy.port}`],
      ...[`--directory=${this.#machine.journals}`, `--save-state=${at("state/state")}`],
      ...[`--key=${at("client.key")}`, `--cert=${at("client.pem")}`, `--trust=${at("ca.pem")}`],
    ]);
  }

  /** What happens in one second. */
  async step(mayKill: boolean): Promise<void> {
    for (const [name, probability] of Object.entries(MISHAPS) as [Mishap, number][]) {
      const isHit = this.#random() < probability;
      if (!isHit || (name.startsWith("kill") && !mayKill)) continue;
      this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
      await this.#happen(name);
    }
  }

  async #happen(mishap: Mishap): Promise<void> {
    switch (mishap) {
      case "cut":
        this.#proxy.cut();
        break;
      case "slow":
        this.#proxy.rateBytes = this.#proxy.rateBytes === Infinity ? 200_000 : Infinity;
        break;
      case "freezeReceiver":
        this.#signalReceiver("SIGSTOP");
        setTimeout(() => this.#signalReceiver("SIGCONT"), this.#random() * 3000);
        break;
      case "rotate":
        await this.#machine.run("journalctl", "--rotate");
        break;
      case "killReceiver":
        await this.receiver?.stop("SIGKILL");
        await Bun.sleep(this.#random() * 2000);
        await this.startReceiver();
        break;
      case "killSender":
        await this.sender?.kill();
        this.startSender();
        break;
    }
  }

  #signalReceiver(signal: NodeJS.Signals): void {
    if (this.receiver?.isRunning) process.kill(this.receiver.pid, signal);
  }

  /** The day is over. */
  calm(): void {
    this.#proxy.rateBytes = Infinity;
    this.#signalReceiver("SIGCONT");
  }

  /** Of both ends, in MB. */
  rss(): string {
    const megabytes = (pid = 0): string => (readRss(pid) / 1e6).toFixed(0).padStart(4);
    return `upload ${megabytes(this.sender?.pid)} MB, serve ${megabytes(this.receiver?.pid)} MB`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.sender?.kill();
    await this.receiver?.stop("SIGKILL");
    this.#proxy[Symbol.dispose]();
  }
}

async function main(): Promise<void> {
  const tree = await openDebianTree("trixie-shell");
  if (typeof tree === "string") throw new Error(`Cannot boot a system: ${tree}`);
  const options = { journald: "SystemMaxFileSize=16M", files: { "root/load": LOAD } };
  await using machine = await BootedMachine.boot(tree, options);
  await using soak = await Soak.open(machine);
  const kept = join(soak.folder, "kept");
  mkdirSync(kept);
  const source = new KeptJournals(machine, kept);
  const load = machine.spawn(["systemd-cat", "-t", "load", "sh", "/root/load", values.rate]);
  const behind = (): number => source.count() - countEntries(journalFiles(soak.output));
  const startMs = Date.now();
  for (let lines = 0; Date.now() - startMs < DURATION_MS; ) {
    const elapsedMs = Date.now() - startMs;
    await soak.step(elapsedMs < DURATION_MS / 2);
    await Bun.sleep(STEP_MS);
    if (elapsedMs < (lines * DURATION_MS) / 20) continue;
    lines++;
    console.log(
      `${Math.round(elapsedMs / 1000)} s: ${source.count()} entries, ${behind()} behind, ${soak.rss()}`,
    );
  }
  soak.calm();
  load.kill("SIGKILL");
  await machine.run("systemctl", "poweroff");
  const endMs = Date.now();
  while (behind() !== 0 && Date.now() - endMs < CATCH_UP_MS) await Bun.sleep(100);
  console.log(`caught up after ${((Date.now() - endMs) / 1000).toFixed(1)} s, ${soak.rss()}`);
  soak.sender?.signal("SIGTERM");
  const statuses = [await soak.sender?.ended(), await soak.receiver?.stop()];
  console.log(
    `exit statuses ${statuses.join(", ")}; ${[...soak.counts].map((count) => count.join(" ")).join(", ")}`,
  );
  console.log(soak.sender?.log.trimEnd().split("\n").at(-1));
  source.keepAll();
  const differences = compareJournals(soak.output, kept);
  console.log(
    `${source.rotations} rotations, ${countEntries(journalFiles(kept))} entries: ${differences.join("\n") || "identical on both sides, in the same order"}`,
  );
  if (differences.length > 0) process.exitCode = 1;
}

await main();
