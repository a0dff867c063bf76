import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { AgentError } from "../../../src/errors.ts";
import { runGetter, splitCommand } from "../../../src/serve/sources/getter-source.ts";
import {
  exportEntries,
  messages,
  messagesOf,
  RecordingIngest,
} from "../../support/recording-ingest.ts";
import { TempDir } from "../../support/temp-dir.ts";
import { until } from "../../support/until.ts";

const directory = new TempDir();
afterAll(() => directory[Symbol.dispose]());
const never = new AbortController().signal;

function exportFile(text: string): string {
  return directory.write(`${crypto.randomUUID()}.export`, text);
}

function isAlive(pid: number): boolean {
  return existsSync(`/proc/${pid}`);
}

describe("splitCommand()", () => {
  // What systemd-journal-remote 252 passed on for the same text.
  const cases: [command: string, words: string[]][] = [
    ["a b", ["a", "b"]],
    [" a \t b\nc ", ["a", "b", "c"]],
    ["a#b $HOME ;x", ["a#b", "$HOME", ";x"]],
    ["s '' \"\" x''y", ["s", "", "", "xy"]],
    ["s 'a\\nb' c\\td", ["s", "anb", "ctd"]],
    ["s 'c d'e \"x y\"", ["s", "c de", "x y"]],
    ["s 'it\\'s' \"it's\" a\\ b", ["s", "it's", "it's", "a b"]],
    ["s \\\\ '\"'", ["s", "\\", '"']],
    ["ë 'ü x'", ["ë", "ü x"]],
  ];
  test.each(cases)("%p", (command, words) => {
    expect(splitCommand(command)).toEqual(words);
  });

  test.each(["", " \n", "s 'open", 's "open', "s f\\", "s 'x\\'"])("refuses %p", (command) => {
    expect(() => splitCommand(command)).toThrow(AgentError);
  });

  test("takes a long command in no time", () => {
    expect(splitCommand("x ".repeat(100_000))).toHaveLength(100_000);
    expect(() => splitCommand(`${"x".repeat(100_000)}'`)).toThrow(AgentError);
  });
});

describe("runGetter()", () => {
  test("stores what the command writes, without a shell", async () => {
    const ingest = new RecordingIngest();
    const file = exportFile(exportEntries(1, 3));
    const report = await runGetter(["cat", file], { ingest, signal: never });
    expect(report).toMatchObject({ name: "cat", outcome: "done", error: undefined });
    expect(report.counts.stored).toBe(3);
    expect(messagesOf(ingest)).toEqual(messages(1, 3));
    expect(ingest.senders).toEqual(["cat"]);
  });

  test("fails with the command's status, and keeps its entries", async () => {
    const ingest = new RecordingIngest();
    const file = exportFile(exportEntries(1, 3));
    const words = ["sh", "-c", `cat ${file}; exit 7`];
    const report = await runGetter(words, { ingest, signal: never });
    expect(report.outcome).toBe("failed");
    expect(report.error?.code).toBe("E_PEER");
    expect(report.error?.message).toBe(
      'Cannot import all of "sh": the command exited with status 7',
    );
    expect(report.counts.stored).toBe(3);
  });

  test("fails with the signal that killed the command", async () => {
    const ingest = new RecordingIngest();
    const report = await runGetter(["sh", "-c", "kill -9 $$"], { ingest, signal: never });
    expect(report.error?.message).toContain("was killed by SIGKILL");
  });

  test("fails when there is no such command", async () => {
    const ingest = new RecordingIngest();
    const report = await runGetter([join(directory.path, "none")], { ingest, signal: never });
    expect(report.outcome).toBe("failed");
    expect(report.error?.message).toStartWith('Cannot run "');
  });

  test("fails when the stream ends inside an entry", async () => {
    const ingest = new RecordingIngest();
    const report = await runGetter(["printf", "MESSAGE=x"], { ingest, signal: never });
    expect(report.outcome).toBe("failed");
    expect(report.error?.message).toContain("9 bytes are lost");
  });

  test("stops a command that ignores SIGTERM within a second", async () => {
    const ingest = new RecordingIngest();
    const pidFile = join(directory.path, "pid");
    const file = exportFile(exportEntries(1, 2));
    const stop = new AbortController();
    const script = `trap '' TERM; echo $$ > ${pidFile}; cat ${file}; while :; do sleep 0.05; done`;
    const running = runGetter(["sh", "-c", script], { ingest, signal: stop.signal });
    await until(() => ingest.entries.length === 2);
    const pid = Number(readFileSync(pidFile, "utf8"));
    expect(isAlive(pid)).toBe(true);
    const startMs = performance.now();
    stop.abort();
    expect(await running).toMatchObject({ outcome: "stopped", error: undefined });
    expect(performance.now() - startMs).toBeLessThan(1000);
    expect(isAlive(pid)).toBe(false);
    expect(ingest.aborts).toBe(1);
  });

  test("ends the command when its entries cannot be stored", async () => {
    const ingest = new RecordingIngest();
    ingest.pushErrors.push(new AgentError("E_NO_SPACE", "Cannot write: disk full"));
    const report = await runGetter(["sh", "-c", "echo; exec sleep 60"], { ingest, signal: never });
    expect(report.error?.code).toBe("E_NO_SPACE");
    expect(ingest.aborts).toBe(1);
  });

  test("does not start one after the signal", async () => {
    const ingest = new RecordingIngest();
    const report = await runGetter(["none"], { ingest, signal: AbortSignal.abort() });
    expect(report.outcome).toBe("stopped");
  });

  test("reads no more than is taken", async () => {
    const ingest = new RecordingIngest();
    ingest.pauseMs = 20;
    const stop = new AbortController();
    const running = runGetter(["cat", "/dev/zero"], { ingest, signal: stop.signal });
    await Bun.sleep(200);
    stop.abort();
    await running;
    const bytes = ingest.pushes.reduce((sum, size) => sum + size, 0);
    expect(ingest.pushes.length).toBeGreaterThan(1);
    expect(bytes).toBeLessThan(12 * 256 * 1024);
  });
});
