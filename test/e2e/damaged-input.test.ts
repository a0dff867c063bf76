import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { REFUSED } from "../export-format/refused-entries.ts";
import { mutate, randomFrom } from "../support/damage.ts";
import { type DamageReport, runMutations, runTruncations } from "../support/damage-run.ts";
import {
  BOOT_ID,
  binaryField,
  entry,
  SEQNUM_ID,
  sampleEntry,
  sizeOf,
} from "../support/export-stream.ts";
import { checkDirectory, IngestRig } from "../support/ingest-rig.ts";
import { hasSystemd, journalctlVerify } from "../support/journal-tools.ts";
import { freePort } from "../support/ports.ts";
import { AGENT_SOURCES, ReceiverProcess } from "../support/receiver-process.ts";
import { ScaledStream } from "../support/scaled-stream.ts";
import { TempDir } from "../support/temp-dir.ts";

/** DAMAGE_SEED=2 bun test … for other damage; scripts/bench/run damage for more of it. */
const { DAMAGE_SEED = "1" } = Bun.env;
const SEED = Number(DAMAGE_SEED);
const STREAMS = 2000;
const SOURCE = new ScaledStream(
  readFileSync(join(import.meta.dir, "../fixtures/web1-boot.export")),
);

function expectSound(directory: string): void {
  const check = checkDirectory(directory);
  expect(check.problems).toEqual([]);
  if (!hasSystemd()) return;
  for (const file of check.files) expect(journalctlVerify(file)).toMatchObject({ ok: true });
}

function expectHarmless(report: DamageReport): void {
  expect(report.problems).toEqual([]);
  expect(report.logBytes).toBeLessThan(16_384);
  const [first = 0] = report.rss;
  expect(Math.max(...report.rss) - first).toBeLessThan(100e6);
}

describe("a damaged stream leaves sound files with every entry from before the damage", () => {
  test("cut after any number of bytes", async () => {
    const report = await runTruncations(SOURCE);
    expectHarmless(report);
    expect(report.stored).toBeGreaterThan(report.streams / 2);
  }, 60_000);

  test(`${STREAMS} times changed here and there`, async () => {
    const report = await runMutations(SOURCE, { streams: STREAMS, seed: SEED });
    expectHarmless(report);
    expect(report.stored).toBeGreaterThan(2 * STREAMS);
    expect(report.refused).toBeGreaterThan(STREAMS / 4);
  }, 60_000);
});

test("a bad entry of any kind costs no other", async () => {
  using dir = new TempDir();
  const rig = await IngestRig.open(dir.path);
  for (const [index, [name, bytes, reason]] of REFUSED.entries()) {
    const good = [sampleEntry(2 * index), sampleEntry(2 * index + 1)] as const;
    const { counts } = await rig.feed("host", [good[0], bytes, good[1]]);
    expect([name, counts.stored, [...counts.refused.keys()]]).toEqual([name, 2, [reason]]);
  }
  await rig.close();
  expectSound(dir.path);
});

const LAST = 2 ** 53 - 1;

/** Unusual, but entries: what they are, their lines. */
const ODD: [string, (string | Uint8Array)[]][] = [
  ["names of one byte, values of none", ["A=", "B=", "_="]],
  ["a name of 64 bytes", [`${"N".repeat(64)}=1`]],
  ["the same field a thousand times", Array.from({ length: 1000 }, () => "A=1")],
  ["a thousand fields", Array.from({ length: 1000 }, (_, i) => `F${i}=${i}`)],
  ["a thousand values of one field", Array.from({ length: 1000 }, (_, i) => `A=${i}`)],
  ["data of NUL bytes", [binaryField("A", new Uint8Array(100_000))]],
  ["data that looks like entries", [binaryField("A", "\n\n__REALTIME_TIMESTAMP=0\n\n")]],
  ["data that does not shrink", [binaryField("A", incompressible(300_000))]],
  ["data of every size around the limit of compression", sizesAround(512)],
  ["a binary field without data", [binaryField("A", "")]],
  ["a binary boot id", [binaryField("_BOOT_ID", "x")]],
  ["two boot ids", [`_BOOT_ID=${"12".repeat(16)}`]],
  ["a machine id that is none", ["_MACHINE_ID=zzz"]],
  ["the last microsecond", [`__REALTIME_TIMESTAMP=${LAST}`]],
  ["the first microsecond", ["__REALTIME_TIMESTAMP=1"]],
  ["the last monotonic microsecond", [`__MONOTONIC_TIMESTAMP=${LAST}`]],
  ["monotonic 0", ["__MONOTONIC_TIMESTAMP=0"]],
  ["the last number", [`__SEQNUM_ID=${SEQNUM_ID}`, `__SEQNUM=${LAST}`]],
  ["a number past the last", [`__SEQNUM_ID=${SEQNUM_ID}`, "__SEQNUM=18446744073709551615"]],
  ["a number of 0", [`__SEQNUM_ID=${SEQNUM_ID}`, "__SEQNUM=0"]],
  ["a null id", [`__SEQNUM_ID=${"0".repeat(32)}`, "__SEQNUM=5"]],
  ["a cursor of rubbish", ["__CURSOR=s=;;i=;b=x;;;"]],
  ["a cursor of a hundred kilobytes", [`__CURSOR=${"s=1;".repeat(25_000)}`]],
  ["unknown dunder fields", ["__X=1", binaryField("__Y", "\n\n")]],
];

test("odd entries are stored, and good ones after them", async () => {
  using dir = new TempDir();
  const rig = await IngestRig.open(dir.path);
  for (const [index, [name, fields]] of ODD.entries()) {
    const odd = entry(
      `__REALTIME_TIMESTAMP=${1_700_000_000_000_000 + index}`,
      "__MONOTONIC_TIMESTAMP=77",
      `_BOOT_ID=${BOOT_ID}`,
      "MESSAGE=odd",
      ...fields,
    );
    const { counts } = await rig.feed("host", [odd, sampleEntry(index), odd]);
    const isNamed = fields.some((field) => field === `__SEQNUM=${LAST}`);
    const taken = [counts.stored, counts.duplicates, counts.refused.size];
    expect([name, ...taken]).toEqual([name, ...(isNamed ? [2, 1, 0] : [3, 0, 0])]);
  }
  await rig.close();
  expectSound(dir.path);
});

test("a size that nothing follows holds no memory", async () => {
  using dir = new TempDir();
  const rig = await IngestRig.open(dir.path);
  const start = sampleEntry(1).subarray(0, -1);
  const { counts, trailingBytes } = await rig.feed("host", [
    sampleEntry(0),
    start,
    Buffer.from("A\n"),
    sizeOf(2 ** 39),
    Buffer.from("the rest"),
  ]);
  expect([counts.stored, [...counts.refused.keys()]]).toEqual([1, ["field-too-large"]]);
  expect(trailingBytes).toBeGreaterThan(0);
  expect(rig.heldBytes).toBe(0);
  await rig.close();
  expectSound(dir.path);
});

describe("over HTTP", () => {
  const dir = new TempDir();
  const output = join(dir.path, "output");
  let receiver: ReceiverProcess;
  let url: string;

  beforeAll(async () => {
    mkdirSync(output);
    const port = await freePort();
    const listen = `--listen-http=127.0.0.1:${port}`;
    const keepAll = ["--max-use=0", "--max-files=0", "--keep-free=0"];
    receiver = new ReceiverProcess([
      ...AGENT_SOURCES,
      "serve",
      listen,
      `--output=${output}`,
      ...keepAll,
    ]);
    await receiver.listening(port);
    url = `http://127.0.0.1:${port}/upload`;
  }, 30_000);

  afterAll(async () => {
    if (receiver.isRunning) await receiver.stop("SIGKILL");
    dir[Symbol.dispose]();
  });

  test("damaged bodies are answered, and whole entries in them stored", async () => {
    let intact = 0;
    const statuses = new Set<number>();
    for (let round = 0; round < 200; round++) {
      const entries = SOURCE.entries(round * 4, round * 4 + 4);
      const { bytes, intactEntries } = mutate(entries, randomFrom(SEED * 7919 + round));
      intact += intactEntries;
      const response = await fetch(url, {
        method: "POST",
        headers: { "Content-Type": "application/vnd.fdo.journal" },
        body: bytes,
        signal: AbortSignal.timeout(10_000),
      });
      statuses.add(response.status);
      await response.text();
    }
    expect([...statuses].sort()).toEqual([202, 417]);
    expect(receiver.peakRss).toBeLessThan(400e6);
    expect(await receiver.stop()).toBe(0);
    expect(receiver.logBytes).toBeLessThan(16_384);
    expect(checkDirectory(output).entries).toBeGreaterThanOrEqual(intact);
    expect(readdirSync(output).filter((name) => name.endsWith("~"))).toEqual([]);
    expectSound(output);
  }, 60_000);
});

function incompressible(size: number): Uint8Array {
  const random = randomFrom(size);
  return Uint8Array.from({ length: size }, () => random(256));
}

function sizesAround(size: number): string[] {
  return Array.from({ length: 32 }, (_, i) => `S${i}=${"x".repeat(size - 20 + i)}`);
}
