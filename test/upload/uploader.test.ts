import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { UploadContext } from "../../src/upload/run-types.ts";
import type { UploadSettings } from "../../src/upload/settings.ts";
import { readState } from "../../src/upload/state.ts";
import { runUpload } from "../../src/upload/uploader.ts";
import { CapturedLog } from "../support/captured-log.ts";
import { FakeReceiver, type ReceivedRequest } from "../support/fake-receiver.ts";
import { hasSystemd, makeJournal, sampleExport } from "../support/journal-tools.ts";
import { NO_TRANSFORM } from "../support/neutral-settings.ts";
import { freePort } from "../support/ports.ts";
import { TempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";
import { uploadSettings } from "../support/upload-settings.ts";

const COUNT = 40;
const REFUSED = "HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n";

function messageNumbers({ requests }: { requests: readonly ReceivedRequest[] }): number[] {
  return requests.flatMap(({ body }) =>
    [...body.toString("latin1").matchAll(/^MESSAGE=message number (\d+)$/gm)].map((match) =>
      Number(match[1]),
    ),
  );
}

const ALL = Array.from({ length: COUNT }, (_, index) => index);

describe.skipIf(!hasSystemd())("runUpload() (needs systemd)", () => {
  const owned = new DisposableStack();
  let work: TempDir;
  let journals: string;

  beforeAll(() => {
    work = owned.use(new TempDir());
    journals = join(work.path, "journals");
    mkdirSync(journals);
    makeJournal(join(journals, "system.journal"), sampleExport(COUNT));
  });
  afterAll(() => owned.dispose());

  interface Run {
    status: Promise<number>;
    stop: AbortController;
    /** What the service manager was told. */
    told: string[];
    progress: [sent: number, left: number][];
  }

  function start(settings: Partial<UploadSettings>): Run {
    const stop = new AbortController();
    const told: string[] = [];
    const progress: [number, number][] = [];
    const context: UploadContext = {
      signal: stop.signal,
      notify: { send: (...texts) => void told.push(...texts), close: () => Promise.resolve() },
      onHealthCheck: () => undefined,
      onReload: () => undefined,
      progress: { update: (sent, left) => void progress.push([sent, left]), done: () => undefined },
      environment: {},
    };
    return { status: runUpload(uploadSettings(journals, settings), context), stop, told, progress };
  }

  /** A path that nothing has been written to. */
  function newState(): string {
    return join(work.path, crypto.randomUUID(), "state");
  }

  test("sends all, then what is new since, then nothing", async () => {
    using captured = new CapturedLog();
    using receiver = await FakeReceiver.open();
    const directory = join(work.path, crypto.randomUUID());
    mkdirSync(directory);
    makeJournal(join(directory, "a.journal"), sampleExport(10));
    const stateFile = newState();
    const { places } = uploadSettings(directory);
    const settings = { urls: [receiver.url], stateFile, places };
    const first = start(settings);
    expect(await first.status).toBe(0);
    expect(messageNumbers(receiver)).toEqual(ALL.slice(0, 10));
    expect(first.told[0]).toBe("READY=1");
    expect(first.told.at(-1)).toContain("acknowledged=10");
    expect(first.progress.at(-1)).toEqual([10, 0]);
    expect(captured.lines.at(-1)).toContain("acknowledged=10");

    receiver.requests.length = 0;
    expect(await start(settings).status).toBe(0);
    expect(receiver.requests).toBeEmpty();

    const stream = sampleExport(20).split("\n\n").slice(10).join("\n\n");
    makeJournal(join(directory, "b.journal"), stream);
    expect(await start(settings).status).toBe(0);
    expect(messageNumbers(receiver)).toEqual(ALL.slice(10, 20));
  });

  test("refuses to begin anew when the state file is broken, unless it is told where", async () => {
    using receiver = await FakeReceiver.open();
    const stateFile = join(work.path, crypto.randomUUID());
    writeFileSync(stateFile, "");
    const settings = { urls: [receiver.url], stateFile };
    await expect(start(settings).status).rejects.toThrow(`Cannot use state file "${stateFile}"`);
    expect(readFileSync(stateFile, "utf8")).toBe("");
    using other = await FakeReceiver.open();
    await start({ urls: [other.url], stateFile: newState() }).status;
    const [, cursor = ""] = /^__CURSOR=(.*)$/m.exec(other.requests[0]?.body.toString() ?? "") ?? [];
    const { start: begin } = uploadSettings(journals);
    expect(await start({ ...settings, start: { ...begin, afterCursor: cursor } }).status).toBe(0);
    expect(messageNumbers(receiver)).toEqual(ALL.slice(1));
    expect(readState(stateFile)).toBeDefined();
  });

  test("keeps a second uploader from the same state file", async () => {
    using receiver = await FakeReceiver.open({ onRequest: () => undefined });
    const settings = { urls: [receiver.url], stateFile: newState() };
    const first = start(settings);
    await until(() => receiver.requests.length > 0);
    await expect(start(settings).status).rejects.toThrow("another process does");
    first.stop.abort();
    expect(await first.status).toBe(0);
    // The lock is gone with it.
    const third = start(settings);
    await until(() => receiver.requests.length > 1);
    third.stop.abort();
    expect(await third.status).toBe(0);
  });

  test("is ready, says why nothing goes out, and stops soon, when the receiver is away", async () => {
    using _captured = new CapturedLog();
    const port = await freePort();
    const run = start({ urls: [`http://127.0.0.1:${port}`], stateFile: newState(), follow: true });
    expect(run.told[0]).toBe("READY=1");
    await until(() => run.told.some((text) => text.includes("RETRYING")), 10_000);
    expect(run.told.at(-1)).toContain(`${COUNT} entries behind`);
    const startMs = performance.now();
    run.stop.abort();
    expect(await run.status).toBe(0);
    expect(performance.now() - startMs).toBeLessThan(2000);
    expect(run.told).toContain("STOPPING=1");
  }, 15_000);

  test("ends with 69 when attempts are limited, with 1 as systemd-journal-upload does", async () => {
    using _captured = new CapturedLog();
    const urls = [`http://127.0.0.1:${await freePort()}`];
    const retry = { attemptsMax: 1, durationUsecMax: Infinity };
    expect(await start({ urls, retry }).status).toBe(69);
    expect(await start({ urls, exitOnFailure: true, follow: true }).status).toBe(1);
  });

  test("sends what can be read of files, and ends with the status of what cannot", async () => {
    using captured = new CapturedLog();
    const [first, second] = sampleExport(2).split(/(?<=\n\n)/);
    const good = work.write("good.export", `${first}${second}`);
    const compressed = work.write("compressed.export", Bun.gzipSync(Buffer.from(`${first}`)));
    const missing = join(work.path, "missing.export");
    // Its first read fails.
    const broken = "/proc/self/mem";
    const { places } = uploadSettings(journals);
    const cut = work.write("cut.export", "__REALTIME_TIMESTAMP=1");
    for (const [bad, status] of [
      [cut, 65],
      [missing, 74],
      [broken, 74],
      [compressed, 65],
    ] as const) {
      using receiver = await FakeReceiver.open();
      const settings = {
        urls: [receiver.url],
        places: { ...places, directory: undefined, exportFiles: [good, bad, good] },
        transform: { ...NO_TRANSFORM, addFields: [{ name: "SITE", value: "north" }] },
      };
      expect(await start(settings).status).toBe(status);
      expect(messageNumbers(receiver)).toEqual([0, 1, 0, 1]);
      expect(captured.lines.at(-2)).toStartWith("error: Cannot ");
      expect(captured.lines.at(-1)).toContain("acknowledged=4");
      expect(await start({ ...settings, exitOnFailure: true }).status).toBe(1);
    }
  });

  test("mirrors to each receiver by itself, and remembers where each one is", async () => {
    using _captured = new CapturedLog();
    using good = await FakeReceiver.open();
    let isAway = true;
    using bad = await FakeReceiver.open({
      onRequest(_, socket) {
        if (isAway) socket.write(REFUSED.replace("400", "503"));
        else socket.write("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
      },
    });
    const stateFile = newState();
    const settings = { targets: "mirror", stateFile, follow: true } as const;
    const run = start({ ...settings, urls: [bad.url, good.url] });
    await until(() => messageNumbers(good).length === COUNT);
    await Bun.sleep(300);
    run.stop.abort();
    expect(await run.status).toBe(0);
    const names = readdirSync(join(stateFile, "..")).filter((name) => name !== "quarantine");
    expect(names).toHaveLength(1);
    expect(names[0]).toStartWith(`state.127.0.0.1_${good.port}_upload-`);

    // In another order, each goes on where it was.
    isAway = false;
    good.requests.length = 0;
    bad.requests.length = 0;
    expect(await start({ ...settings, urls: [good.url, bad.url], follow: false }).status).toBe(0);
    expect(good.requests).toBeEmpty();
    expect(messageNumbers(bad)).toEqual(ALL);
  });

  test("sets aside what is refused, beside the state file", async () => {
    using _captured = new CapturedLog();
    using receiver = await FakeReceiver.open({
      onRequest({ body }, socket) {
        if (body.includes("MESSAGE=message number 7\n")) socket.write(REFUSED);
        else socket.write("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
      },
    });
    const stateFile = newState();
    expect(await start({ urls: [receiver.url], stateFile }).status).toBe(0);
    const kept = join(stateFile, "../quarantine");
    expect(readFileSync(kept, "utf8")).toContain("MESSAGE=message number 7\n");
    expect(readState(stateFile)).toBeDefined();

    // The cause is gone: what was set aside is sent, and stays where it is.
    using cured = await FakeReceiver.open();
    const { places } = uploadSettings(journals);
    const fromFile = { places: { ...places, exportFiles: [kept], directory: undefined } };
    const { size } = statSync(kept);
    expect(await start({ ...fromFile, urls: [cured.url], stateFile }).status).toBe(0);
    expect(messageNumbers(cured)).toEqual([7]);
    expect(statSync(kept).size).toBe(size);
  });
});
