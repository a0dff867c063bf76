import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { serializedSizeMax, serializeEntry } from "../../../src/export-format/serializer.ts";
import type { Entry } from "../../../src/journal/entry.ts";
import { Counters } from "../../../src/serve/counters.ts";
import { IngestPipeline } from "../../../src/serve/ingest.ts";
import type { EntryFormat, IngestResult } from "../../../src/serve/ingest-types.ts";
import { DEFAULT_LIMITS } from "../../../src/serve/settings.ts";
import {
  type StoreThread,
  startStoreThread,
} from "../../../src/serve/store-thread/store-thread.ts";
import { block, encodeBatch } from "../../support/batch-bodies.ts";
import { concat } from "../../support/export-stream.ts";
import { hasSystemd } from "../../support/journal-tools.ts";
import {
  longRange,
  NO_RETENTION,
  type RigEntry,
  range,
  rigEntry,
  SMALLEST_FILES,
} from "../../support/store-rig.ts";
import { findDamage, journalFiles, storedEntries } from "../../support/stored-journals.ts";
import { TempDir } from "../../support/temp-dir.ts";

const OTHER_ID = "0b".repeat(16);
const THIRD_ID = "0c".repeat(16);

let dir: TempDir;
beforeEach(() => {
  dir = new TempDir();
});
afterEach(() => dir[Symbol.dispose]());

/** A receiver without its network that stores in a folder of its own. */
class Receiver {
  readonly output: string;
  readonly pipeline: IngestPipeline;
  readonly #thread: StoreThread;

  private constructor(output: string, thread: StoreThread) {
    this.output = output;
    this.#thread = thread;
    const counters = new Counters({ warn() {}, nowMs: () => performance.now() });
    this.pipeline = new IngestPipeline(thread, DEFAULT_LIMITS, counters);
  }

  static async start(name: string): Promise<Receiver> {
    const output = join(dir.path, name);
    mkdirSync(output, { recursive: true });
    const thread = await startStoreThread({
      output,
      splitMode: "host",
      format: { compressThresholdBytes: 512, compact: true, keyedHash: true },
      retention: { ...NO_RETENTION, maxFileSizeBytes: SMALLEST_FILES.maxFileSizeBytes },
      receiverId: "5e".repeat(16),
      log: { journald: false, level: "crit" },
      onFatal: (error) => expect(error).toBeUndefined(),
    });
    return new Receiver(output, thread);
  }

  async post(format: EntryFormat, body: Uint8Array, encoding?: string): Promise<IngestResult> {
    const stream = this.pipeline.open("web1", encoding, format);
    // In pieces as they come from a socket, and through memory that is used again.
    const shared = new Uint8Array(16 * 1024);
    for (let at = 0; at < body.length; at += shared.length) {
      const piece = body.subarray(at, at + shared.length);
      shared.set(piece);
      await stream.push(shared.subarray(0, piece.length));
      shared.fill(0xff);
    }
    return await stream.end();
  }

  close(): Promise<void> {
    return this.#thread.close();
  }
}

function exportText(entries: readonly Entry[]): Uint8Array {
  return concat(
    ...entries.map((entry) => {
      const bytes = new Uint8Array(serializedSizeMax(entry));
      return bytes.subarray(0, serializeEntry(entry, bytes, 0));
    }),
  );
}

const ENCODE = { export: exportText, batch: encodeBatch } as const;

/**
 * Sends the requests one after the other, in each format to a receiver of its own; they must end up with the same.
 * @param restarts whether the receiver is restarted between requests
 */
async function sendBothWays(requests: readonly (readonly RigEntry[])[], restarts = false) {
  const outcomes: object[] = [];
  for (const format of ["export", "batch"] as const) {
    let receiver = await Receiver.start(format);
    const counts: object[] = [];
    for (const entries of requests) {
      if (restarts) {
        await receiver.close();
        receiver = await Receiver.start(format);
      }
      const body = ENCODE[format](entries.map((entry) => rigEntry(entry)));
      counts.push((await receiver.post(format, body)).counts);
    }
    await receiver.close();
    const files = readdirSync(receiver.output).sort();
    expect(findDamage(journalFiles(receiver.output))).toEqual([]);
    outcomes.push({ counts, files, entries: storedEntries(receiver.output) });
  }
  const [text, batch] = outcomes as [Outcome, Outcome];
  expect(batch.files).toEqual(text.files);
  expect(batch.counts).toEqual(text.counts);
  expect(batch.entries).toEqual(text.entries);
  return batch;
}

interface Outcome {
  counts: { stored: number; duplicates: number }[];
  files: string[];
  entries: object[];
}

describe.skipIf(!hasSystemd())("Entries sent as batches are stored as those sent as text", () => {
  const cases: [string, () => RigEntry[][]][] = [
    ["in files that are full in mid-request", () => [longRange(1, 3000), longRange(3001, 3100)]],
    ["that were sent before", () => [range(1, 400), range(201, 600), range(1, 600)]],
    [
      "of several sequences by turns",
      () => [
        range(1, 900).map((entry, n) => {
          return { ...entry, seqnumId: [OTHER_ID, THIRD_ID, "5e".repeat(16)][n % 3] ?? "" };
        }),
      ],
    ],
    ["read backwards", () => [range(1, 500).reverse(), range(400, 700).reverse()]],
    [
      "whose clocks go back",
      () => [
        range(1, 300).map((entry, n) => ({ ...entry, monotonicUsec: 1000 + ((n * 37) % 50) })),
      ],
    ],
    ["without identity", () => [range(1, 50).map((entry) => ({ ...entry, seqnumId: "" }))]],
    [
      "with fields that are repeated, empty, long and of any bytes",
      () => [
        range(1, 40).map((entry, n) => ({
          ...entry,
          fields: [
            ...entry.fields,
            ...["TWICE=a", "TWICE=b", "TWICE=a", "EMPTY="],
            `LONG=${"long ".repeat(300)}${n % 3}`,
            `RANDOM=${Array.from({ length: 100 }, (_, i) => (n * i * 7919) % 9973).join()}`,
            Buffer.concat([Buffer.from("ANY="), Buffer.alloc(300, n), Buffer.from("\n\0")]),
            `LARGE=${String(n % 2).repeat(200_000)}`,
          ],
        })),
      ],
    ],
    [
      "with a hash in their cursor that is not theirs",
      () => [
        range(1, 10).map((entry) => ({ ...entry, xorHash: `00ff00ff0000000${entry.seqnum % 8}` })),
      ],
    ],
  ];
  for (const [name, requests] of cases) {
    test(name, async () => {
      const { counts, entries, files } = await sendBothWays(requests());
      const stored = counts.reduce((sum, one) => sum + one.stored, 0);
      expect(entries).toHaveLength(stored);
      expect(stored).toBeGreaterThan(9);
      if (name.includes("full")) expect(files.length).toBeGreaterThan(3);
      if (name.includes("before"))
        expect(counts.map((one) => one.duplicates)).toEqual([0, 200, 600]);
    }, 30_000);
  }
});

test.skipIf(!hasSystemd())(
  "Batches go on in files that were closed",
  async () => {
    const requests = [range(1, 300), longRange(301, 600), range(250, 900), longRange(901, 2500)];
    const { counts, files } = await sendBothWays(requests, true);
    expect(counts.map(({ duplicates }) => duplicates)).toEqual([0, 0, 351, 0]);
    expect(files.length).toBeGreaterThan(1);
  },
  30_000,
);

describe("Batches", () => {
  test("of requests that come at the same time keep their own fields", async () => {
    const receiver = await Receiver.start("out");
    const requests = [1, 2, 3].map((id) =>
      range(1, 2000, `0${id}`.repeat(16)).map((entry) => ({
        ...entry,
        fields: [`MESSAGE=${id}`, ...entry.fields.slice(1), `OF_${id}=${entry.seqnum}`],
      })),
    );
    const bodies = requests.map((entries) => encodeBatch(entries.map((one) => rigEntry(one))));
    const results = await Promise.all(bodies.map((body) => receiver.post("batch", body)));
    expect(results.map(({ counts }) => counts.stored)).toEqual([2000, 2000, 2000]);
    await receiver.close();
    const stored = storedEntries(receiver.output);
    expect(stored).toHaveLength(6000);
    for (const { cursor, fields } of stored) {
      const id = cursor[3];
      const seqnum = Number.parseInt(/;i=([0-9a-f]+)/.exec(cursor)?.[1] ?? "", 16);
      expect(fields).toContain(`MESSAGE=${id}`);
      expect(fields).toContain(`OF_${id}=${seqnum}`);
    }
    expect(findDamage(journalFiles(receiver.output))).toEqual([]);
  });

  test("may be compressed", async () => {
    const receiver = await Receiver.start("out");
    const body = encodeBatch(range(1, 3000).map((entry) => rigEntry(entry)));
    const { counts } = await receiver.post("batch", Bun.zstdCompressSync(body), "zstd");
    expect(counts.stored).toBe(3000);
    await receiver.close();
    expect(storedEntries(receiver.output)).toHaveLength(3000);
  });

  test("with bad entries, or cut off: the rest is stored and counted", async () => {
    const receiver = await Receiver.start("out");
    const whole = concat(
      block({ definitions: ["A=1"], entries: [{}, { seqnum: 2, fields: [7] }, { seqnum: 3 }] }),
      block({ definitions: ["a=1"], entries: [{ seqnum: 4, fields: [0, 1] }, { seqnum: 5 }] }),
    );
    const last = block({ entries: [{ seqnum: 6 }] });
    const result = await receiver.post("batch", concat(whole, last.subarray(0, 90)));
    expect(result.trailingBytes).toBe(90);
    expect(result.counts).toMatchObject({ stored: 3, duplicates: 0 });
    expect([...result.counts.refused]).toEqual([
      ["bad-number", 1],
      ["bad-name", 1],
    ]);
    expect(receiver.pipeline.heldBytes).toBe(0);
    await receiver.close();
    expect(storedEntries(receiver.output).map(({ fields }) => fields)).toEqual(
      [1, 3, 5].map(() => expect.arrayContaining(["A=1"])),
    );
  });

  test("that are broken end their request with what came before stored", async () => {
    const receiver = await Receiver.start("out");
    const good = block({ definitions: ["A=1"], entries: [{}] });
    const stream = receiver.pipeline.open("web1", undefined, "batch");
    expect(() => stream.push(concat(good, block({ signature: 1 })))).toThrow(
      "Cannot read block: it begins with 0x00000001, need 0x3142414a",
    );
    stream.abort();
    expect(receiver.pipeline.heldBytes).toBe(0);
    await receiver.close();
    expect(storedEntries(receiver.output)).toHaveLength(1);
  });

  test("count for the memory of all requests, their dictionary too", async () => {
    const receiver = await Receiver.start("out");
    const body = block({ definitions: [`A=${"x".repeat(100_000)}`], entries: [{}] });
    const stream = receiver.pipeline.open("web1", undefined, "batch");
    await stream.push(body);
    expect(receiver.pipeline.heldBytes).toBeGreaterThan(100_000);
    await stream.push(body.subarray(0, 50_000));
    expect(receiver.pipeline.heldBytes).toBeGreaterThan(150_000);
    await stream.end();
    expect(receiver.pipeline.heldBytes).toBe(0);
    await receiver.close();
  });
});
