import { afterAll, describe, expect, test } from "bun:test";
import { spawn, spawnSync } from "node:child_process";
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { AgentError } from "../../../src/errors.ts";
import {
  FILE_CHUNK_SIZE,
  fileSourceName,
  importFile,
  importSize,
} from "../../../src/serve/sources/file-source.ts";
import {
  exportEntries,
  exportEntry,
  messages,
  messagesOf,
  RecordingIngest,
} from "../../support/recording-ingest.ts";
import { TempDir } from "../../support/temp-dir.ts";
import { until } from "../../support/until.ts";

const directory = new TempDir();
afterAll(() => directory[Symbol.dispose]());
const never = new AbortController().signal;

function makeFifo(): string {
  const path = join(directory.path, crypto.randomUUID());
  expect(spawnSync("mkfifo", [path]).status).toBe(0);
  return path;
}

describe("importFile()", () => {
  test("stores a file of several chunks and tells how far it is", async () => {
    const ingest = new RecordingIngest();
    const text = exportEntries(1, 9000);
    const file = directory.write("several.export", text);
    const sizes: number[] = [];
    const onBytes = (byteCount: number) => sizes.push(byteCount);
    const report = await importFile(file, { ingest, onBytes, signal: never });
    expect(report).toMatchObject({ name: file, outcome: "done", error: undefined });
    expect(report.counts.stored).toBe(9000);
    expect(messagesOf(ingest)).toEqual(messages(1, 9000));
    expect(ingest.senders).toEqual([file]);
    expect(sizes).toEqual([FILE_CHUNK_SIZE, FILE_CHUNK_SIZE, text.length - 2 * FILE_CHUNK_SIZE]);
    expect(ingest.pushes).toEqual(sizes);
  });

  test("lets the event loop run between chunks", async () => {
    const ingest = new RecordingIngest();
    const file = directory.write("zeros", new Uint8Array(20 * FILE_CHUNK_SIZE));
    let turns = 0;
    const timer = setInterval(() => turns++, 0);
    const { error } = await importFile(file, { ingest, signal: never });
    clearInterval(timer);
    expect(error?.message).toContain(`${20 * FILE_CHUNK_SIZE} bytes are lost`);
    expect(turns).toBeGreaterThan(5);
  });

  test("waits for the store before it reads on", async () => {
    const ingest = new RecordingIngest();
    ingest.pauseMs = 30;
    const file = directory.write("paused", new Uint8Array(3 * FILE_CHUNK_SIZE));
    const startMs = performance.now();
    await importFile(file, { ingest, signal: never });
    expect(performance.now() - startMs).toBeGreaterThanOrEqual(85);
  });

  test("an empty file is done", async () => {
    const ingest = new RecordingIngest();
    const file = directory.write("empty", "");
    expect(await importFile(file, { ingest, signal: never })).toMatchObject({ outcome: "done" });
  });

  test("a truncated end is a failure that keeps the entries before it", async () => {
    const ingest = new RecordingIngest();
    const file = directory.write("cut", `${exportEntries(1, 3)}${exportEntry(4).slice(0, 20)}`);
    const report = await importFile(file, { ingest, signal: never });
    expect(report.outcome).toBe("failed");
    expect(report.error?.code).toBe("E_EXPORT_SYNTAX");
    expect(report.error?.message).toContain("it ends inside an entry, 20 bytes are lost");
    expect(report.counts.stored).toBe(3);
  });

  test("a file of which nothing is taken is a failure, one of which something is taken is not", async () => {
    const ingest = new RecordingIngest();
    const none = directory.write("none", "MESSAGE=a\n\nMESSAGE=b\n\n");
    const { error } = await importFile(none, { ingest, signal: never });
    expect(error?.message).toContain("none of its 2 entries was taken (no-timestamp=2)");
    const some = directory.write("some", `MESSAGE=a\n\n${exportEntry(1)}`);
    const report = await importFile(some, { ingest, signal: never });
    expect(report.outcome).toBe("done");
    expect(report.counts.refused).toEqual(new Map([["no-timestamp", 1]]));
    const again = await importFile(some, { ingest, signal: never });
    expect(again).toMatchObject({ outcome: "done", counts: { stored: 0, duplicates: 1 } });
  });

  test("reports a file that is missing, or a directory, or unreadable on the way", async () => {
    const ingest = new RecordingIngest();
    const missing = await importFile(join(directory.path, "no"), { ingest, signal: never });
    expect(missing.error?.code).toBe("E_IO");
    expect(missing.error?.message).toStartWith('Cannot open "');
    const folder = await importFile(directory.path, { ingest, signal: never });
    expect(folder.error?.message).toContain("it is a directory, a file is needed");
    expect(ingest.senders).toEqual([]);
    // Reading this process's memory at address 0 fails with EIO; the kernel calls it a regular file.
    const memory = await importFile("/proc/self/mem", { ingest, signal: never });
    expect(memory).toMatchObject({ outcome: "failed" });
    expect(memory.error?.message).toStartWith('Cannot read "/proc/self/mem": ');
  });

  test("stops at what the store cannot take", async () => {
    const ingest = new RecordingIngest();
    ingest.pushErrors.push(new AgentError("E_NO_SPACE", "Cannot write: disk full"));
    const file = directory.write("full", exportEntries(1, 3));
    const report = await importFile(file, { ingest, signal: never });
    expect(report.error?.code).toBe("E_NO_SPACE");
    expect(ingest.aborts).toBe(1);
    ingest.openErrors.push(new AgentError("E_IO", "Cannot open"));
    expect((await importFile(file, { ingest, signal: never })).error?.code).toBe("E_IO");
  });

  test("lets a bug out", async () => {
    const ingest = new RecordingIngest();
    ingest.open = () => {
      throw new RangeError("bug");
    };
    const file = directory.write("bug", exportEntries(1, 3));
    expect(importFile(file, { ingest, signal: never })).rejects.toThrow(RangeError);
  });

  test("stops soon after the signal, even while the store is slow", async () => {
    const ingest = new RecordingIngest();
    ingest.pauseMs = 60_000;
    const file = directory.write("slow", exportEntries(1, 3));
    const stop = new AbortController();
    const running = importFile(file, { ingest, signal: stop.signal });
    await until(() => ingest.pushes.length === 1);
    stop.abort();
    const startMs = performance.now();
    expect(await running).toMatchObject({ outcome: "stopped", error: undefined });
    expect(performance.now() - startMs).toBeLessThan(500);
    expect(ingest.aborts).toBe(1);
  });
});

describe("importFile() of pipes", () => {
  test("reads a FIFO to its writer's end", async () => {
    const ingest = new RecordingIngest();
    const path = makeFifo();
    const text = exportEntries(1, 2000);
    const running = importFile(path, { ingest, signal: never });
    const writer = spawn("sh", ["-c", `cat > ${path}`], { stdio: ["pipe", "ignore", "inherit"] });
    for (let offset = 0; offset < text.length; offset += 100_001) {
      writer.stdin.write(text.slice(offset, offset + 100_001));
    }
    writer.stdin.end();
    expect(await running).toMatchObject({ outcome: "done", counts: { stored: 2000 } });
    expect(messagesOf(ingest)).toEqual(messages(1, 2000));
  });

  test("stops while a FIFO has no writer, or a silent one", async () => {
    const ingest = new RecordingIngest();
    const path = makeFifo();
    const stop = new AbortController();
    const running = importFile(path, { ingest, signal: stop.signal });
    await Bun.sleep(50);
    stop.abort();
    expect(await running).toMatchObject({ outcome: "stopped" });

    const stopSilent = new AbortController();
    const silent = importFile(path, { ingest, signal: stopSilent.signal });
    // Read and write: opening for writing alone would wait for the reader in this same process.
    const fd = openSync(path, "r+");
    writeSync(fd, exportEntry(1));
    await until(() => ingest.entries.length === 1);
    const startMs = performance.now();
    stopSilent.abort();
    expect(await silent).toMatchObject({ outcome: "stopped" });
    expect(performance.now() - startMs).toBeLessThan(500);
    closeSync(fd);
  });

  test("reads standard input: pipe, file from where it stands, nothing", async () => {
    const program = `
      import { importFile } from ${JSON.stringify(join(import.meta.dir, "../../../src/serve/sources/file-source.ts"))};
      import { messagesOf, RecordingIngest } from ${JSON.stringify(join(import.meta.dir, "../../support/recording-ingest.ts"))};
      const ingest = new RecordingIngest();
      const { name, outcome } = await importFile("-", { ingest, signal: new AbortController().signal });
      console.log(name, outcome, messagesOf(ingest).join());`;
    const script = directory.write("stdin.ts", program);
    const run = (input: string) => {
      const shell = `${input} "${process.execPath}" ${script}`;
      return spawnSync("sh", ["-c", shell], { encoding: "utf8" }).stdout.trim();
    };
    const file = directory.write("stdin.export", `${exportEntry(1)}${exportEntries(2, 3)}`);
    expect(run(`cat ${file} |`)).toBe("stdin done entry 1,entry 2,entry 3");
    expect(run(`< ${file}`)).toBe("stdin done entry 1,entry 2,entry 3");
    const lines = exportEntry(1).split("\n").length - 1;
    const skipping = `exec < ${file}; for i in $(seq ${lines}); do read -r line; done;`;
    expect(run(skipping)).toBe("stdin done entry 2,entry 3");
    expect(run("< /dev/null")).toBe("stdin done");
  });
});

describe("names and sizes", () => {
  test("fileSourceName() is the path, or stdin", () => {
    expect(fileSourceName("a/b.export")).toBe("a/b.export");
    expect(fileSourceName("-")).toBe("stdin");
  });

  test("importSize() knows regular files only", async () => {
    expect(await importSize(directory.write("sized", "12345"))).toBe(5);
    expect(await importSize(makeFifo())).toBeUndefined();
    expect(await importSize(join(directory.path, "no"))).toBeUndefined();
  });
});
