import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ExitStatus } from "../../src/errors.ts";
import { FileState } from "../../src/journal/format.ts";
import { serve } from "../../src/serve/server.ts";
import { DEFAULT_LIMITS, type ServeSettings } from "../../src/serve/settings.ts";
import { CapturedLog } from "../support/captured-log.ts";
import { concat, sampleEntry } from "../support/export-stream.ts";
import { freePort } from "../support/ports.ts";
import { damage, foundFiles, NO_RETENTION } from "../support/store-rig.ts";
import { TempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";

let dir: TempDir;
let output: string;
let log: CapturedLog;
let stop: AbortController;
let sent: string[][];
let isHealthy: (() => boolean) | undefined;
/** What a terminal is told. */
let progress: (string | number[])[];

beforeEach(() => {
  dir = new TempDir();
  output = join(dir.path, "out");
  mkdirSync(output);
  log = new CapturedLog();
  stop = new AbortController();
  sent = [];
  isHealthy = undefined;
  progress = [];
});
afterEach(() => {
  log[Symbol.dispose]();
  dir[Symbol.dispose]();
});

function run(settings: Partial<ServeSettings>): Promise<number> {
  const all: ServeSettings = {
    listenHttps: [],
    listenHttp: [],
    listenRaw: [],
    urls: [],
    getter: undefined,
    files: [],
    output,
    splitMode: "host",
    keyFile: "",
    certificateFile: "",
    trust: { authority: "all", crlFiles: [], allowSubject: [] },
    announcedEncodings: [],
    enrollSocket: undefined,
    retention: NO_RETENTION,
    limits: DEFAULT_LIMITS,
    format: { compressThresholdBytes: 512, compact: true, keyedHash: true },
    ...settings,
  };
  return serve(all, {
    signal: stop.signal,
    onReload: () => undefined,
    onHealthCheck: (check) => {
      isHealthy = check;
    },
    notify: { send: (...lines) => void sent.push(lines), close: () => Promise.resolve() },
    inherited: [],
    progress: {
      update: (bytesDone, stored) => void progress.push([bytesDone, stored]),
      done: () => void progress.push("done"),
    },
  });
}

async function freeAddress(): Promise<string> {
  return `127.0.0.1:${await freePort()}`;
}

function exportFile(name: string, ...parts: (string | Uint8Array)[]): string {
  return dir.write(name, concat(...parts));
}

function entries(from: number, to: number): Uint8Array {
  return concat(...Array.from({ length: to - from }, (_, index) => sampleEntry(from + index)));
}

/** The address it listens on, once it says so. */
async function listening(): Promise<string> {
  const find = () => log.lines.map((line) => /Listening protocol=http address=(\S+)/.exec(line));
  await until(() => find().some((match) => match !== null));
  return find().find((match) => match !== null)?.[1] ?? "";
}

function post(address: string, body: Uint8Array): Promise<Response> {
  const headers = { "Content-Type": "application/vnd.fdo.journal" };
  return fetch(`http://${address}/upload`, { method: "POST", body, headers });
}

describe("serve() with files", () => {
  test("ends with 0 when all is imported, and says how much it was", async () => {
    const good = exportFile("good", entries(0, 300));
    expect(await run({ files: [good, good] })).toBe(0);
    expect(log.lines.at(-1)).toBe("info: Finished stored=300 duplicates=300 refused=0");
    expect(foundFiles(output).map(({ seqnums }) => seqnums.length)).toEqual([300]);
  });

  test("tells a terminal at the end all that was stored, though it took no time", async () => {
    const file = exportFile("file", entries(0, 1));
    expect(await run({ files: [file] })).toBe(0);
    expect(progress.slice(-2)).toEqual([[statSync(file).size, 1], "done"]);
  });

  test.each([
    ["a file cut in the middle of an entry", [entries(0, 5), "MESSAGE=no end"], [5]],
    ["a file that is no export stream", ["nothing of the kind\n".repeat(50)], []],
  ])("ends with a failure for %s; what is whole is stored", async (_, parts, stored) => {
    expect(await run({ files: [exportFile("file", ...parts)] })).toBe(ExitStatus.data);
    expect(foundFiles(output).map(({ seqnums }) => seqnums.length)).toEqual(stored);
  });

  test("ends with a failure for a file that is not there, after the others", async () => {
    const files = [join(dir.path, "missing"), exportFile("good", entries(0, 10))];
    expect(await run({ files })).not.toBe(0);
    expect(foundFiles(output).map(({ seqnums }) => seqnums.length)).toEqual([10]);
  });
});

describe("serve() with listeners", () => {
  test("READY once it listens, STATUS with the counts, STOPPING, and 0 when it is told to stop", async () => {
    const running = run({ listenHttp: [await freeAddress()] });
    const address = await listening();
    expect(sent[0]).toEqual(["READY=1", expect.stringMatching(/^STATUS=0 connections, 0 entries/)]);
    expect(isHealthy?.()).toBe(true);
    expect((await post(address, entries(0, 100))).status).toBe(202);
    expect((await post(address, entries(50, 150))).status).toBe(202);
    expect((await post(address, concat("__REALTIME_TIMESTAMP=x\nA=1\n\n"))).status).toBe(202);
    stop.abort();
    expect(await running).toBe(0);
    const stopping = sent.findIndex(([first]) => first === "STOPPING=1");
    expect(stopping).toBeGreaterThan(0);
    expect(log.lines.at(-1)).toBe("info: Finished stored=150 duplicates=50 refused=1");
    expect(sent.at(-1)?.join()).toBe("STATUS=Finished stored=150 duplicates=50 refused=1");
    expect(foundFiles(output).map(({ state }) => state)).toEqual([FileState.offline]);
    expect(damage(output)).toEqual([]);
  });

  test("a second one on the same output is refused, and another output is not", async () => {
    const running = run({ listenHttp: [await freeAddress()] });
    await listening();
    await expect(run({ listenHttp: [await freeAddress()] })).rejects.toMatchObject({
      code: "E_CONFIG",
    });
    const other = join(dir.path, "other");
    mkdirSync(other);
    expect(await run({ output: other, files: [exportFile("good", entries(0, 3))] })).toBe(0);
    stop.abort();
    expect(await running).toBe(0);
    expect(await run({ files: [exportFile("good", entries(0, 3))] })).toBe(0);
  });

  test("an address that is taken, an output that is not there: it throws and leaves nothing open", async () => {
    const running = run({ listenHttp: [await freeAddress()] });
    const address = await listening();
    const other = join(dir.path, "other");
    mkdirSync(other);
    await expect(run({ output: other, listenHttp: [address] })).rejects.toMatchObject({
      name: "AgentError",
    });
    await expect(run({ output: join(dir.path, "missing") })).rejects.toMatchObject({
      code: "E_IO",
    });
    stop.abort();
    expect(await running).toBe(0);
    expect(sent.filter(([first]) => first === "READY=1")).toHaveLength(1);
    expect(await run({ output: other, files: [exportFile("good", entries(0, 3))] })).toBe(0);
  });

  test("a file of the sender that disappears: 500, then 202 for the same entries", async () => {
    const running = run({ listenHttp: [await freeAddress()] });
    const address = await listening();
    expect((await post(address, entries(0, 10))).status).toBe(202);
    rmSync(join(output, foundFiles(output)[0]?.name ?? ""));
    expect((await post(address, entries(10, 20))).status).toBe(500);
    expect((await post(address, entries(10, 20))).status).toBe(202);
    stop.abort();
    expect(await running).toBe(0);
    expect(foundFiles(output).flatMap(({ seqnums }) => seqnums)).toHaveLength(10);
  });
});

test("serve() of one file for all senders", async () => {
  const file = join(output, "all.journal");
  writeFileSync(join(dir.path, "getter"), entries(0, 7));
  const getter = `cat ${join(dir.path, "getter")}`;
  expect(await run({ splitMode: "none", output: file, getter })).toBe(0);
  expect(foundFiles(output).map(({ name, seqnums }) => [name, seqnums.length])).toEqual([
    ["all.journal", 7],
  ]);
});
