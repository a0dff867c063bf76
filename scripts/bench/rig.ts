/** What the benchmarks of programs share: input, certificates, medians, peers. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readStoredFile } from "../../src/serve/store/stored-file.ts";
import { ReceiverProcess } from "../../test/support/receiver-process.ts";
import { ThrowawayAuthority } from "../throwaway-certificates.ts";

export const ROOT = join(import.meta.dir, "../..");
export const STOCK_REMOTE = "/lib/systemd/systemd-journal-remote";
export const STOCK_UPLOAD = "/lib/systemd/systemd-journal-upload";
/** Entries of the warm-up are others than those of the stream. */
export const WARM_UP_SEQNUM_ID = "11111111111111111111111111111111";
const SHARED_DATA = join(ROOT, "../shared/data");
const FIXTURE = join(ROOT, "test/fixtures/web1-boot.export");
const JOURNAL = "application/vnd.fdo.journal";

export type Program = "stock" | "agent";

/** @param folder for files that are made on the way */
export function readSource(
  folder: string,
  input: string | undefined,
): { name: string; bytes: Uint8Array } {
  if (input !== undefined) return { name: input, bytes: readFileSync(input) };
  const names = existsSync(SHARED_DATA) ? readdirSync(SHARED_DATA) : [];
  const name = names.find((file) => /^system@.*\.journal~?\.zst$/.test(file));
  if (name === undefined || Bun.which("journalctl") === null) {
    return { name: FIXTURE, bytes: readFileSync(FIXTURE) };
  }
  const journal = join(folder, "source.journal");
  writeFileSync(journal, Bun.zstdDecompressSync(readFileSync(join(SHARED_DATA, name))));
  const run = Bun.spawnSync(["journalctl", "-q", "-o", "export", "--file", journal]);
  return { name, bytes: run.stdout };
}

/** `ca.pem`, `server.pem`, `server.key`, `client.pem`, `client.key` for 127.0.0.1. */
export async function writeCertificates(folder: string): Promise<void> {
  const authority = await ThrowawayAuthority.create("bench");
  writeFileSync(join(folder, "ca.pem"), authority.certificate);
  const address = [{ type: "ip", value: "127.0.0.1" }] as const;
  for (const usage of ["server", "client"] as const) {
    const identity = await authority.issue({
      commonName: usage,
      usage,
      ...(usage === "server" ? { alternativeNames: address } : {}),
    });
    writeFileSync(join(folder, `${usage}.pem`), identity.certificate);
    writeFileSync(join(folder, `${usage}.key`), identity.key, { mode: 0o600 });
  }
}

/**
 * Starts a receiver for HTTPS on this port of 127.0.0.1 that writes to the directory `output`. Ours is mutual TLS; stock
 * asks for no client certificate, because Debian builds it without GnuTLS and it refuses to start with --trust=.
 */
export async function startReceiver(
  program: Program,
  { agent, folder, output, port }: { agent: string; folder: string; output: string; port: number },
): Promise<ReceiverProcess> {
  const listen = [
    `--listen-https=127.0.0.1:${port}`,
    `--output=${output}`,
    `--key=${join(folder, "server.key")}`,
    `--cert=${join(folder, "server.pem")}`,
  ];
  const receiver = new ReceiverProcess(
    program === "stock"
      ? [STOCK_REMOTE, ...listen]
      : [agent, "serve", ...listen, `--trust=${join(folder, "ca.pem")}`],
  );
  await receiver.listening(port);
  return receiver;
}

/** Posts a file. @returns the status of the answer. */
export async function curl(folder: string, url: string, file: string): Promise<string> {
  const at = (name: string): string => join(folder, name);
  const identity = ["--cacert", at("ca.pem"), "--cert", at("client.pem")];
  const request = ["-T", at(file), "-X", "POST", "-H", `Content-Type: ${JOURNAL}`];
  const quiet = ["-sS", "--noproxy", "*", "-o", "/dev/null", "-w", "%{http_code}"];
  const command = ["curl", ...quiet, ...identity, "--key", at("client.key"), ...request, url];
  const run = Bun.spawn(command, { stdout: "pipe", stderr: "inherit" });
  const status = await new Response(run.stdout).text();
  await run.exited;
  return status;
}

export function countEntries(output: string): number {
  const files = readdirSync(output).map((name) => readStoredFile(join(output, name)));
  return files.reduce((sum, file) => sum + (file?.entries ?? 0), 0);
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

export function mb(bytes: number): string {
  return (bytes / 1e6).toFixed(0);
}

/** The bars of a benchmark: prints each, and sets the exit status when one is missed. */
export class Bars {
  check(what: string, holds: boolean): void {
    console.log(`${holds ? "holds " : "MISSED"}  ${what}`);
    if (!holds) process.exitCode = 1;
  }
}
