/** Many machines that send their journals at once, and the proof that all of it was stored once. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { Identity, ThrowawayAuthority } from "../../scripts/throwaway-certificates.ts";
import { SeqnumLookup } from "../../src/journal/seqnum-lookup.ts";
import { verifyJournalFile } from "../../src/journal/verify.ts";
import { parseFileName, senderBase } from "../../src/serve/store/names.ts";
import { UploadClient, type UploadTarget } from "./upload-client.ts";

/** Bytes of every entry as it is sent. */
export const ENTRY_SIZE = 840;
const FIRST_SEQNUM = 1_048_577;
const START_USEC = 1_700_000_000_000_000;
const START_MONOTONIC_USEC = 5_000_000_000;
const STEP_USEC = 1000;

export class Sender {
  /** The common name of its certificate. */
  readonly name: string;
  readonly identity: Identity;
  readonly client: UploadClient;
  /** Entries delivered so far. */
  entryCount = 0;
  readonly #ids = { machine: randomId(), boot: randomId(), seqnum: randomId() };

  constructor(name: string, identity: Identity, target: UploadTarget) {
    this.name = name;
    this.identity = identity;
    this.client = new UploadClient(target, identity);
  }

  /** Sends the next entries as one request, until it is acknowledged. */
  async deliver(count: number): Promise<void> {
    let text = "";
    for (let index = this.entryCount; index < this.entryCount + count; index++) {
      text += this.#entry(index);
    }
    await this.client.deliver(Buffer.from(text, "latin1"));
    this.entryCount += count;
  }

  /** As journald describes a service's line of output. */
  #entry(index: number): string {
    const { machine, boot, seqnum } = this.#ids;
    const realtimeUsec = START_USEC + index * STEP_USEC;
    const monotonicUsec = START_MONOTONIC_USEC + index * STEP_USEC;
    const [i, m, t] = [FIRST_SEQNUM + index, monotonicUsec, realtimeUsec].map((n) =>
      n.toString(16),
    );
    const text = `__CURSOR=s=${seqnum};i=${i};b=${boot};m=${m};t=${t};x=${t}
__REALTIME_TIMESTAMP=${realtimeUsec}
__MONOTONIC_TIMESTAMP=${monotonicUsec}
_BOOT_ID=${boot}
_MACHINE_ID=${machine}
_HOSTNAME=${this.name}
PRIORITY=6
SYSLOG_FACILITY=3
SYSLOG_IDENTIFIER=worker
_TRANSPORT=stdout
_PID=${1000 + (index % 97)}
_UID=33
_GID=33
_COMM=worker
_EXE=/usr/bin/worker
_CMDLINE=/usr/bin/worker --queue=default
_CAP_EFFECTIVE=0
_SYSTEMD_CGROUP=/system.slice/worker.service
_SYSTEMD_UNIT=worker.service
_SYSTEMD_SLICE=system.slice
_STREAM_ID=${machine}
MESSAGE=request ${index} took ${(index * 7919) % 1000} ms for client ${(index * 104_729) % 65_536} `;
    return `${text.padEnd(ENTRY_SIZE - 2, "the rest says what it always says; ")}\n\n`;
  }
}

/** Senders called "machine-0001" and so on, each with a certificate of its own. */
export async function makeSenders(
  count: number,
  authority: ThrowawayAuthority,
  target: UploadTarget,
): Promise<Sender[]> {
  const senders: Sender[] = [];
  for (let index = 1; index <= count; index++) {
    const name = `machine-${String(index).padStart(4, "0")}`;
    const identity = await authority.issue({ commonName: name, usage: "client" });
    senders.push(new Sender(name, identity, target));
  }
  return senders;
}

/** Calls `run` for each item, so many at a time. */
export async function forEachAtOnce<T>(
  items: Iterable<T>,
  concurrency: number,
  run: (item: T) => Promise<void>,
): Promise<void> {
  const iterator = items[Symbol.iterator]();
  const worker = async (): Promise<void> => {
    for (let next = iterator.next(); !next.done; next = iterator.next()) await run(next.value);
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
}

export interface StoredProof {
  files: number;
  entries: number;
  /** What is wrong, one line each; empty when every entry is stored exactly once. */
  problems: string[];
}

/** Verifies all files of a receiver that has ended, and looks each entry up in them. */
export function proveStored(directory: string, senders: readonly Sender[]): StoredProof {
  const proof: StoredProof = { files: 0, entries: 0, problems: [] };
  const pathsByBase = new Map<string, string[]>();
  for (const file of readdirSync(directory)) {
    const base = parseFileName(file)?.base ?? file;
    pathsByBase.set(base, [...(pathsByBase.get(base) ?? []), join(directory, file)]);
  }
  for (const sender of senders) {
    const base = senderBase(sender.name);
    const paths = pathsByBase.get(base) ?? [];
    pathsByBase.delete(base);
    proveSender(sender, paths, proof);
  }
  for (const paths of pathsByBase.values()) proof.problems.push(`not a sender's: ${paths}`);
  return proof;
}

function proveSender(sender: Sender, paths: readonly string[], proof: StoredProof): void {
  const { problems } = proof;
  proof.files += paths.length;
  for (const path of paths) {
    const [problem] = verifyJournalFile(path).problems;
    if (problem !== undefined) problems.push(`${path}: ${problem.what} at ${problem.offset}`);
  }
  const lookups = paths.map((path) => new SeqnumLookup(path));
  const stored = lookups.reduce((sum, lookup) => sum + lookup.entries, 0);
  proof.entries += stored;
  let found = 0;
  for (let index = 0; index < sender.entryCount; index++) {
    if (lookups.some((lookup) => lookup.has(FIRST_SEQNUM + index))) found++;
  }
  for (const lookup of lookups) lookup.close();
  // All are there, and nothing else: so each is there once.
  if (found !== sender.entryCount || stored !== sender.entryCount) {
    problems.push(`${sender.name}: sent ${sender.entryCount}, found ${found} in ${stored}`);
  }
}

function randomId(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString("hex");
}
