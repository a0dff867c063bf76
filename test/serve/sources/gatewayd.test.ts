/** Follows Debian's systemd-journal-gatewayd, where it is installed. */
import { afterAll, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseGateway } from "../../../src/serve/sources/gateway.ts";
import { followGateway } from "../../../src/serve/sources/url-source.ts";
import { CapturedLog } from "../../support/captured-log.ts";
import { FakeGateway } from "../../support/fake-gateway.ts";
import { journalctlExport, makeJournal, sampleExport } from "../../support/journal-tools.ts";
import { RecordingIngest } from "../../support/recording-ingest.ts";
import { TempDir } from "../../support/temp-dir.ts";
import { TestClock } from "../../support/test-clock.ts";
import { until } from "../../support/until.ts";

const GATEWAYD = ["/usr/lib/systemd", "/lib/systemd"]
  .map((folder) => join(folder, "systemd-journal-gatewayd"))
  .find((file) => existsSync(file));
const ACTIVATE = Bun.which("systemd-socket-activate");

const directory = new TempDir();
const captured = new CapturedLog();
afterAll(() => {
  captured[Symbol.dispose]();
  directory[Symbol.dispose]();
});

/** A gatewayd for one journal file, killed at the end of the scope. */
class RealGateway implements AsyncDisposable {
  readonly #child: Bun.Subprocess;

  constructor(journal: string, port: number) {
    const command = [
      ACTIVATE ?? "",
      "-l",
      `127.0.0.1:${port}`,
      GATEWAYD ?? "",
      `--file=${journal}`,
    ];
    this.#child = Bun.spawn(command, { stdin: "ignore", stdout: "ignore", stderr: "ignore" });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }
}

async function unusedPort(): Promise<number> {
  const gateway = await FakeGateway.start(0);
  const { port } = gateway;
  gateway.stop();
  return port;
}

/** Entries as `journalctl -o export` shows them, without what gateways before 254 do not send. */
function entriesOf(journal: string): string[] {
  const { ok, output } = journalctlExport(journal);
  expect(ok).toBe(true);
  return output.split("\n\n").slice(0, -1).map(comparable);
}

/** Fields come in any order; repeated ones stay. */
function comparable(text: string): string {
  const lines = text.trim().split("\n");
  return lines
    .filter((line) => !line.startsWith("__SEQNUM"))
    .toSorted()
    .join("\n");
}

describe.skipIf(GATEWAYD === undefined || ACTIVATE === null)("systemd-journal-gatewayd", () => {
  test("is followed entry for entry through restarts, with cursors kept", async () => {
    const journal = join(directory.path, "real.journal");
    makeJournal(journal, sampleExport(500));
    const port = await unusedPort();
    const ingest = new RecordingIngest();
    const stop = new AbortController();
    const running = followGateway(parseGateway(`http://127.0.0.1:${port}`), {
      ingest,
      resume: ingest,
      tls: { keyFile: "", certificateFile: "", authority: "all" },
      clock: {
        now: () => Date.now(),
        sleep: () => Bun.sleep(20),
        random: () => 0,
      },
      signal: stop.signal,
    });
    for (const total of [500, 700, 701]) {
      if (total > 500) makeJournal(journal, sampleExport(total - ingest.entries.length));
      await using _gateway = new RealGateway(journal, port);
      await until(() => ingest.entries.length === total, 10_000);
    }
    stop.abort();
    await running;
    expect(ingest.entries.map(comparable)).toEqual(entriesOf(journal));
    // Once for each connection after the first.
    expect(ingest.duplicates).toBe(2);
    expect(captured.lines.filter((line) => line.includes("may be missing"))).toEqual([]);
  });

  test("sends what is appended while it is followed", async () => {
    const journal = join(directory.path, "live.journal");
    makeJournal(journal, sampleExport(3));
    const port = await unusedPort();
    await using _gateway = new RealGateway(journal, port);
    const ingest = new RecordingIngest();
    const stop = new AbortController();
    const clock = new TestClock();
    const running = followGateway(parseGateway(`http://127.0.0.1:${port}`), {
      ...{ ingest, resume: ingest, clock, signal: stop.signal },
      tls: { keyFile: "", certificateFile: "", authority: "all" },
    });
    await until(() => ingest.entries.length === 3);
    makeJournal(journal, sampleExport(2));
    await until(() => ingest.entries.length === 5, 15_000);
    stop.abort();
    await running;
    expect(ingest.entries.map(comparable)).toEqual(entriesOf(journal));
  }, 20_000);

  test("refuses what is no cursor, and gets the whole journal asked for instead", async () => {
    const journal = join(directory.path, "cursor.journal");
    makeJournal(journal, sampleExport(3));
    const port = await unusedPort();
    await using _gateway = new RealGateway(journal, port);
    const ingest = new RecordingIngest();
    const stop = new AbortController();
    const running = followGateway(parseGateway(`http://127.0.0.1:${port}`), {
      ...{ ingest, clock: new TestClock(), signal: stop.signal },
      resume: { cursor: () => "not-a-cursor" },
      tls: { keyFile: "", certificateFile: "", authority: "all" },
    });
    await until(() => ingest.entries.length === 3);
    stop.abort();
    await running;
    expect(captured.lines.join("\n")).toContain('it answers 400, "Failed to seek in journal."');
  });
});
