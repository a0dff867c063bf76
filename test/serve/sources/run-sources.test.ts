import { afterAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { AgentError, ExitStatus } from "../../../src/errors.ts";
import { runSources, type SourcesOptions } from "../../../src/serve/sources/run-sources.ts";
import { CapturedLog } from "../../support/captured-log.ts";
import { FakeGateway } from "../../support/fake-gateway.ts";
import { exportEntries, exportEntry, RecordingIngest } from "../../support/recording-ingest.ts";
import { TempDir } from "../../support/temp-dir.ts";
import { TestClock } from "../../support/test-clock.ts";
import { until } from "../../support/until.ts";

const directory = new TempDir();
afterAll(() => directory[Symbol.dispose]());

function optionsFor(ingest: RecordingIngest, options: Partial<SourcesOptions>): SourcesOptions {
  return {
    files: [],
    getter: undefined,
    urls: [],
    tls: { keyFile: "/nonexistent", certificateFile: "/nonexistent", authority: "all" },
    ingest,
    resume: ingest,
    clock: new TestClock(),
    signal: new AbortController().signal,
    ...options,
  };
}

describe("runSources()", () => {
  test("has nothing to do without sources", async () => {
    const summary = await runSources(optionsFor(new RecordingIngest(), {}));
    expect(summary).toEqual({ reports: [], exitStatus: 0 });
  });

  test("imports files in their order and tells the progress over all", async () => {
    using captured = new CapturedLog();
    const ingest = new RecordingIngest();
    const files = [1, 2, 3].map((seqnum) =>
      directory.write(`${seqnum}.export`, exportEntry(seqnum)),
    );
    const size = exportEntry(1).length;
    const progress: unknown[] = [];
    const onProgress = (done: number, total: number | undefined) => progress.push([done, total]);
    const { reports, exitStatus } = await runSources(optionsFor(ingest, { files, onProgress }));
    expect(exitStatus).toBe(0);
    expect(reports.map(({ name, outcome }) => [name, outcome])).toEqual(
      files.map((file) => [file, "done"]),
    );
    expect(ingest.senders).toEqual(files);
    expect(progress).toEqual([1, 2, 3].map((count) => [count * size, 3 * size]));
    expect(captured.lines).toEqual(
      files.map((file) => `info: Imported "${file}" stored=1 duplicates=0`),
    );
  });

  test("goes on after a failure, and ends with its status", async () => {
    using captured = new CapturedLog();
    const ingest = new RecordingIngest();
    const missing = join(directory.path, "missing");
    const cut = directory.write("cut", `${exportEntries(1, 2)}MESSAGE=x`);
    const mixed = directory.write("mixed", `MESSAGE=x\n\n${exportEntry(3)}`);
    const getter = "sh -c 'exit 3'";
    const files = [cut, missing, mixed];
    const { reports, exitStatus } = await runSources(optionsFor(ingest, { files, getter }));
    expect(reports.map(({ outcome }) => outcome)).toEqual(["failed", "failed", "done", "failed"]);
    expect(exitStatus).toBe(ExitStatus.data);
    expect(ingest.entries).toHaveLength(3);
    const texts = captured.lines.toSorted().join("\n");
    expect(texts).toContain(`error: Cannot import all of "${cut}": it ends inside an entry`);
    expect(texts).toContain(`error: Cannot open "${missing}"`);
    expect(texts).toContain('error: Cannot import all of "sh": the command exited with status 3');
    expect(texts).toContain(
      `warn: Imported "${mixed}" without some entries stored=1 duplicates=0 refused.no-timestamp=1`,
    );
    const onlyMissing = await runSources(optionsFor(ingest, { files: [missing] }));
    expect(onlyMissing.exitStatus).toBe(ExitStatus.io);
  });

  test("does not start anything when a URL or command cannot be understood", () => {
    const ingest = new RecordingIngest();
    const files = [directory.write("good", exportEntry(1))];
    for (const wrong of [{ urls: ["ftp://web1"] }, { getter: "sh 'open" }]) {
      expect(runSources(optionsFor(ingest, { files, ...wrong }))).rejects.toThrow(AgentError);
    }
    expect(ingest.senders).toEqual([]);
  });

  test("follows several gateways at once, one of them out of order, until the signal", async () => {
    using _captured = new CapturedLog();
    const ingest = new RecordingIngest();
    const gateways = await Promise.all([FakeGateway.start(2), FakeGateway.start(3)]);
    const broken = await FakeGateway.start(9);
    broken.otherwise = { status: 500 };
    const [first, second] = gateways;
    const urls = [broken, first, second].map((gateway) => `http://127.0.0.1:${gateway?.port}`);
    const stop = new AbortController();
    const files = [directory.write("beside", exportEntry(7))];
    const running = runSources(optionsFor(ingest, { files, urls, signal: stop.signal }));
    await until(() => ingest.entries.length === 6);
    gateways[1]?.append(4);
    await until(() => ingest.entries.length === 7);
    stop.abort();
    const { reports, exitStatus } = await running;
    expect(exitStatus).toBe(0);
    expect(reports.map(({ outcome }) => outcome)).toEqual([
      "done",
      "stopped",
      "stopped",
      "stopped",
    ]);
    expect(reports.map(({ name }) => name).slice(1)).toEqual([
      "127.0.0.1",
      `127.0.0.1:${first?.port}`,
      `127.0.0.1:${second?.port}`,
    ]);
    expect(reports[1]?.error?.message).toContain("it answers 500");
    for (const gateway of [broken, ...gateways]) gateway.stop();
  });

  test("reads a FIFO beside the files, whatever their order", async () => {
    using captured = new CapturedLog();
    const ingest = new RecordingIngest();
    const fifo = join(directory.path, "fifo");
    expect(Bun.spawnSync(["mkfifo", fifo]).success).toBe(true);
    const files = [fifo, directory.write("after", exportEntry(2))];
    const stop = new AbortController();
    const running = runSources(optionsFor(ingest, { files, signal: stop.signal }));
    await until(() => ingest.entries.length === 1);
    stop.abort();
    const { reports, exitStatus } = await running;
    expect(reports.map(({ outcome }) => outcome)).toEqual(["stopped", "done"]);
    expect(exitStatus).toBe(0);
    expect(captured.lines).toContain(`warn: Stopped before the end of "${fifo}"`);
  });
});
