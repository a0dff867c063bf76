import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { AgentError } from "../../../src/errors.ts";
import { FileState } from "../../../src/journal/format.ts";
import type { Sink } from "../../../src/serve/ingest-types.ts";
import {
  MESSAGE_SIZE,
  UNDER_WAY_CEILING,
  UNDER_WAY_MAX,
} from "../../../src/serve/store-thread/protocol.ts";
import {
  type StoreThread,
  startStoreThread,
} from "../../../src/serve/store-thread/store-thread.ts";
import { block } from "../../support/batch-bodies.ts";
import {
  damage,
  foundFiles,
  foundKeys,
  keysOf,
  longRange,
  NO_RETENTION,
  type RigEntry,
  range,
  rigEntry,
} from "../../support/store-rig.ts";
import { TempDir } from "../../support/temp-dir.ts";
import { until } from "../../support/until.ts";

let dir: TempDir;
let output: string;
let threads: StoreThread[];
let failures: Error[];

beforeEach(() => {
  dir = new TempDir();
  output = join(dir.path, "out");
  mkdirSync(output);
  threads = [];
  failures = [];
});
afterEach(async () => {
  for (const thread of threads) await thread.close();
  dir[Symbol.dispose]();
});

async function start(): Promise<StoreThread> {
  const thread = await startStoreThread({
    output,
    splitMode: "host",
    format: { compressThresholdBytes: 512, compact: true, keyedHash: true },
    retention: NO_RETENTION,
    receiverId: "5e".repeat(16),
    log: { journald: false, level: "crit" },
    onFatal: (error) => failures.push(error),
  });
  threads.push(thread);
  return thread;
}

async function stop(thread: StoreThread): Promise<void> {
  threads = threads.filter((one) => one !== thread);
  await thread.close();
}

async function post(thread: StoreThread, entries: Iterable<RigEntry>, sender = "web1") {
  const sink = thread.openSink(sender);
  try {
    for (const entry of entries) {
      sink.add(rigEntry(entry));
      await sink.ready();
    }
    await sink.commit();
    return { stored: sink.stored, duplicates: sink.duplicates };
  } finally {
    sink.close();
  }
}

describe("StoreThread", () => {
  test("stores what many sinks send at once, in order, and counts exactly", async () => {
    const thread = await start();
    const senders = Array.from({ length: 20 }, (_, n) => `web${n}`);
    const results = await Promise.all(
      senders.map((sender) => post(thread, longRange(1, 1000), sender)),
    );
    expect(results).toEqual(senders.map(() => ({ stored: 1000, duplicates: 0 })));
    expect(await post(thread, longRange(501, 1500))).toEqual({ stored: 500, duplicates: 500 });
    await stop(thread);
    expect(thread.status).toMatchObject({ stored: 20_500, duplicates: 500, openFiles: 0 });
    for (const { state, seqnums, name } of foundFiles(output)) {
      expect(state).toBe(FileState.offline);
      const count = name === "remote-web1.journal" ? 1500 : 1000;
      expect(seqnums).toEqual(Array.from({ length: count }, (_, index) => index + 1));
    }
    expect(damage(output)).toEqual([]);
    expect(failures).toEqual([]);
  });

  test("a sink that is closed without a commit has its entries stored", async () => {
    const thread = await start();
    const sink = thread.openSink("web1");
    for (const entry of range(1, 500)) sink.add(rigEntry(entry));
    sink.close();
    await stop(thread);
    expect(foundKeys(output)).toEqual(keysOf(range(1, 500)));
  });

  test("entries larger than a batch, and many fields", async () => {
    const thread = await start();
    const large = [
      { seqnum: 1, fields: [`MESSAGE=${"x".repeat(3_000_000)}`] },
      { seqnum: 2, fields: Array.from({ length: 1000 }, (_, n) => `FIELD_${n}=${n}`) },
      { seqnum: 3, fields: ["MESSAGE=small"] },
    ];
    expect(await post(thread, large)).toEqual({ stored: 3, duplicates: 0 });
    await stop(thread);
    expect(foundKeys(output)).toEqual(keysOf(large));
    expect(damage(output)).toEqual([]);
  });

  test("a source that is faster than the store has to wait, and nothing stays under way", async () => {
    const thread = await start();
    const sinks = ["web1", "web2"].map((sender) => thread.openSink(sender));
    const entry = rigEntry({ seqnum: 1, fields: [`MESSAGE=${"x".repeat(60_000)}`] });
    let added = 0;
    const fill = (sink: Sink): void => {
      while (!thread.isCrowded) {
        entry.seqnum = ++added;
        sink.add(entry);
        if (sink.ready() !== undefined) return;
      }
    };
    for (const sink of sinks) fill(sink);
    expect(sinks[0]?.ready()).toBeInstanceOf(Promise);
    expect(added * 60_000).toBeLessThan(2 * UNDER_WAY_MAX);
    for (const sink of sinks) await sink.ready();
    for (const sink of sinks) await sink.commit();
    for (const sink of sinks) {
      expect(sink.ready()).toBeUndefined();
      sink.close();
    }
    await stop(thread);
    expect(thread.status.stored).toBe(added);
  });

  test("what cannot be bounded by waiting is refused, and taken again later", async () => {
    const thread = await start();
    const sink = thread.openSink("web1");
    const entry = rigEntry({ seqnum: 1, fields: [`MESSAGE=${"x".repeat(8_000_000)}`] });
    let refusal: unknown;
    // As a decoder does that turns a few kilobytes into gigabytes.
    for (let n = 1; n <= 200 && refusal === undefined; n++) {
      entry.seqnum = n;
      try {
        sink.add(entry);
      } catch (error) {
        refusal = error;
      }
    }
    expect(refusal).toMatchObject({ name: "AgentError", code: "E_BUSY" });
    sink.close();
    await until(() => !thread.isCrowded, 20_000);
    expect(await post(thread, range(1, 10), "web2")).toEqual({ stored: 10, duplicates: 0 });
  }, 40_000);

  test("tiny blocks are bounded by what a message takes, not by their bytes", async () => {
    const thread = await start();
    const sink = thread.openSink("web1");
    const tiny = block({});
    const most = UNDER_WAY_CEILING / MESSAGE_SIZE;
    let sent = 0;
    const send = (): void => {
      for (; sent <= most; sent++) sink.addBlock(tiny);
    };
    expect(send).toThrow("bytes wait to be stored");
    expect(sent).toBeGreaterThan(UNDER_WAY_MAX / MESSAGE_SIZE);
    sink.close();
    await until(() => !thread.isCrowded, 20_000);
    expect(await post(thread, range(1, 10), "web2")).toEqual({ stored: 10, duplicates: 0 });
  }, 40_000);

  test("errors cross with code and message; the sink fails, the store goes on", async () => {
    const thread = await start();
    await post(thread, range(1, 10));
    renameSync(output, `${output}-away`);
    const sink = thread.openSink("web2");
    for (const entry of range(1, 10)) sink.add(rigEntry(entry));
    const failure = await sink.commit().catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(AgentError);
    expect(failure).toMatchObject({ code: "E_IO" });
    expect(String(failure)).toContain(`${output}/remote-web2.journal`);
    expect(() => sink.add(rigEntry({ seqnum: 99, fields: ["A=1"] }))).toThrow();
    expect(() => sink.ready()).toThrow();
    await expect(sink.commit()).rejects.toBe(failure);
    sink.close();
    renameSync(`${output}-away`, output);
    expect((await post(thread, range(1, 10), "web2")).stored).toBe(10);
    expect(failures).toEqual([]);
    await stop(thread);
  });

  test("an error that comes before the commit is asked for fails it, too", async () => {
    const thread = await start();
    await post(thread, range(1, 10));
    rmSync(output, { recursive: true });
    const sink = thread.openSink("web2");
    sink.add(rigEntry({ seqnum: 1, fields: ["A=1"] }));
    await until(() => {
      try {
        return sink.ready() !== undefined;
      } catch {
        return true;
      }
    });
    await expect(sink.commit()).rejects.toMatchObject({ code: "E_IO" });
    sink.close();
    mkdirSync(output);
  });

  test("lastCursor() tells what was stored, unfinished work included", async () => {
    const thread = await start();
    expect(await thread.lastCursor("web1")).toBeUndefined();
    const sink = thread.openSink("web1");
    for (const entry of range(1, 10)) sink.add(rigEntry(entry));
    await sink.commit();
    expect(await thread.lastCursor("web1")).toMatch(/^s=[0-9a-f]{32};i=a;t=[0-9a-f]+$/);
    sink.close();
    await stop(thread);
  });

  test("a store that cannot be opened: the error of the store, and no thread is left", async () => {
    rmSync(output, { recursive: true });
    await expect(start()).rejects.toMatchObject({
      name: "AgentError",
      code: "E_IO",
      message: `Cannot write to "${output}": it needs to be a writable directory`,
      hint: expect.stringContaining(output),
    });
    expect(failures).toEqual([]);
  });

  test("a bug over there is reported once, fails everybody, and files are closed all the same", async () => {
    const thread = await start();
    const sink = thread.openSink("web1");
    for (const entry of range(1, 100)) sink.add(rigEntry(entry));
    await sink.commit();
    for (const entry of range(101, 200)) sink.add(rigEntry(entry));
    const commit = sink.commit().catch(() => undefined);
    // Not a message anybody sends.
    thread.send({ type: "entries", sink: 1, buffer: "?" as unknown as ArrayBuffer, size: 0 });
    await until(() => failures.length > 0);
    expect(failures[0]).not.toBeInstanceOf(AgentError);
    await commit;
    const late = thread.openSink("web2");
    expect(() => late.add(rigEntry({ seqnum: 1, fields: ["A=1"] }))).toThrow("the store failed");
    await expect(late.commit()).rejects.toMatchObject({ code: "E_IO" });
    expect(await thread.lastCursor("web1")).toBeUndefined();
    late.close();
    sink.close();
    await stop(thread);
    expect(failures).toHaveLength(1);
    expect(foundFiles(output).map(({ state }) => state)).toEqual([FileState.offline]);
    expect(foundKeys(output).slice(0, 100)).toEqual(keysOf(range(1, 100)));
  });

  test("says that it lives", async () => {
    const thread = await start();
    expect(thread.isResponsive).toBe(true);
    await post(thread, range(1, 10));
    await until(() => thread.status.stored === 10, 3000);
    expect(thread.status.openFiles).toBe(1);
    expect(readdirSync(output)).toEqual(["remote-web1.journal"]);
  });
});
