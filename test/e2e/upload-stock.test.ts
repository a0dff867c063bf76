/**
 * `agent upload` in the place of systemd-journal-upload, and with the host's systemd-journal-remote and others at the
 * other end: issue 3, points 1, 2, 5 and 6.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { noise } from "../support/encoded-bodies.ts";
import { binaryField, concat, sampleEntry } from "../support/export-stream.ts";
import { FakeVictoriaLogs } from "../support/fake-victorialogs.ts";
import { hasSystemd, JOURNAL_REMOTE, makeJournal, sampleExport } from "../support/journal-tools.ts";
import { freePort } from "../support/ports.ts";
import type { Receiver } from "../support/receiver.ts";
import { ReceiverProcess } from "../support/receiver-process.ts";
import { run } from "../support/run-agent.ts";
import { makeSealedJournal } from "../support/sealed-journal.ts";
import { exportSet, openSet } from "../support/set-export.ts";
import { SilentNetwork } from "../support/silent-network.ts";
import {
  type ExportedEntry,
  journalctlExport,
  journalFiles,
  parseExport,
} from "../support/stored-journals.ts";
import { remoteArgs } from "../support/tree-programs.ts";
import { until } from "../support/until.ts";
import { useUploadRig } from "../support/upload-rig.ts";
import { UploaderProcess } from "../support/uploader-process.ts";
import {
  expectSameContents,
  expectSameEntries,
  expectSameStream,
  uploadAll,
  uploadPatiently,
} from "../support/uploads.ts";
import { range } from "../support/version-samples.ts";

const { AGENT_SHARED_DATA: DATA = join(import.meta.dir, "../../../shared/data") } = Bun.env;
const JOURNAL_UPLOAD = "/lib/systemd/systemd-journal-upload";
const LIMIT_MS = 60_000;

const rig = useUploadRig();
const silence = new SilentNetwork();

afterAll(() => silence[Symbol.dispose]());

describe.skipIf(!existsSync(DATA) || !hasSystemd())("journals of a real machine", () => {
  let journals: string;

  beforeAll(() => {
    journals = rig.newDirectory();
    for (const name of readdirSync(DATA).filter((file) => file.endsWith(".zst"))) {
      const bytes = Bun.zstdDecompressSync(readFileSync(join(DATA, name)));
      writeFileSync(join(journals, name.slice(0, -".zst".length)), bytes);
    }
  });

  test(
    "are the same at agent serve, cursors and order included",
    async () => {
      const output = rig.newDirectory();
      const receiver = await rig.startReceiver(output);
      await uploadAll({ ...toServe(receiver), args: [`--directory=${journals}`] });
      expect(await receiver.stop()).toBe(0);
      expectSameStream(exportOf(output), exportOf(journals));
    },
    LIMIT_MS,
  );

  test.each(["http", "https"] as const)(
    "are the same at systemd-journal-remote over %s",
    async (scheme) => {
      const [port, output] = [await freePort(), join(rig.newDirectory(), "all.journal")];
      const args = remoteArgs({ scheme, port, output, pki: rig.pki });
      await using receiver = new ReceiverProcess([JOURNAL_REMOTE ?? "", ...args]);
      await receiver.listening(port);
      await uploadAll({
        agent: rig.agent,
        url: `${scheme}://localhost:${port}`,
        // It would take it, and store nothing.
        args: [`--directory=${journals}`, "--compression=lz4", "--force-compression=yes"],
        ...(scheme === "https" ? { pki: rig.pki } : {}),
      });
      expect(await receiver.stop()).toBe(0);
      expectSameContents(parseExport(journalctlExport("--file", output)), exportOf(journals));
    },
    LIMIT_MS,
  );
});

describe.skipIf(!hasSystemd() || process.getuid?.() !== 0)("a sealed journal (needs root)", () => {
  test(
    "is read as by journalctl, and the same at agent serve",
    async () => {
      const [journals, output] = [rig.newDirectory(), rig.newDirectory()];
      // A hundred entries a second, of the next twenty seconds: as many tags between them.
      const firstUsec = Date.now() * 1000;
      const stream = sampleExport(2000).replace(/(?<=__REALTIME_TIMESTAMP=).*/g, (text) =>
        String(firstUsec + (Number(text) - 1_700_000_000_000_000) * 10),
      );
      const file = join(journals, "system.journal");
      makeSealedJournal(file, stream);
      const header = Bun.spawnSync(["journalctl", "--header", "--file", file]).stdout.toString();
      expect(Number(/^Tag objects: (\d+)/m.exec(header)?.[1])).toBeGreaterThan(10);

      const { set, problems } = openSet();
      set.rescan(journalFiles(journals));
      expect(exportSet(set) === journalctlExport("--file", file).toString("latin1")).toBe(true);
      set.close();
      expect(problems).toEqual([]);

      const receiver = await rig.startReceiver(output);
      await uploadAll({ ...toServe(receiver), args: [`--directory=${journals}`] });
      expect(await receiver.stop()).toBe(0);
      expectSameStream(exportOf(output), exportOf(journals));
    },
    LIMIT_MS,
  );
});

describe.skipIf(!existsSync(JOURNAL_UPLOAD) || !hasSystemd())(
  "the state file of systemd-journal-upload",
  () => {
    test(
      "is taken over, and handed back",
      async () => {
        const [place, output] = [rig.newDirectory(), rig.newDirectory()];
        const [journal, state] = [join(place, "system.journal"), join(place, "state")];
        const args = [`--file=${journal}`, `--save-state=${state}`];
        const receiver = await rig.startReceiver(output);

        makeJournal(journal, sampleExport(100));
        await runStockUpload(receiver, args);
        makeJournal(journal, sampleExport(50));
        const log = await uploadAll({ ...toServe(receiver), args });
        expect(log).toContain("acknowledged=50 ");
        makeJournal(journal, sampleExport(25));
        await runStockUpload(receiver, args);
        const last = await uploadAll({ ...toServe(receiver), args });
        expect(last).toContain("acknowledged=0 ");

        expect(await receiver.stop()).toBe(0);
        // Stock always repeats the entry it has the cursor of.
        expect(receiver.log).toContain("Finished stored=175 duplicates=1 refused=0");
        expectSameStream(exportOf(output), exportOf(place));
      },
      LIMIT_MS,
    );
  },
);

describe.skipIf(!hasSystemd())("started as systemd-journal-upload", () => {
  let place: string;
  let program: string;
  let options: string[];

  beforeAll(() => {
    place = rig.newDirectory();
    program = join(place, "systemd-journal-upload");
    symlinkSync(rig.agent, program);
    makeJournal(join(place, "system.journal"), sampleExport(10));
    options = ["--key=-", "--cert=-", "--trust=all", "-m", "-D", place];
  });

  test("exits 1 when the connection is refused", async () => {
    const url = `http://127.0.0.1:${await freePort()}`;
    const { status, stderr } = await run([program, "-u", url, ...options]);
    expect(stderr).toContain("giving up");
    expect(status).toBe(1);
  });

  test("exits 1 for what it does not know", async () => {
    const { status, stderr } = await run([program, "--frobnicate"]);
    expect(stderr).toContain('Cannot use "--frobnicate"');
    expect(status).toBe(1);
  });

  test("follows until SIGTERM, then exits 0", async () => {
    using logs = await FakeVictoriaLogs.open();
    await using sender = new UploaderProcess([program, "-u", logs.url, ...options]);
    await until(() => logs.stored.length === 10, LIMIT_MS);
    sender.signal("SIGTERM");
    expect(await sender.ended()).toBe(0);
  });

  test("--follow=no exits 0, also with nothing to send", async () => {
    using logs = await FakeVictoriaLogs.open();
    const state = rig.newState();
    const command = [program, "-u", logs.url, ...options, `--save-state=${state}`, "--follow=no"];
    for (let i = 0; i < 2; i++) {
      expect((await run(command)).status).toBe(0);
      expect(logs.stored.length).toBe(10);
    }
    expect((await run([...command, `--directory=${rig.newDirectory()}`])).status).toBe(0);
  });
});

describe.skipIf(!hasSystemd())("VictoriaLogs", () => {
  test(
    "gets everything but a line that is too long, which goes to the quarantine",
    async () => {
      using logs = await FakeVictoriaLogs.open();
      const place = rig.newDirectory();
      const journal = join(place, "system.journal");
      const tooLong = sampleEntry(1000, { fields: [binaryField("CORE", longLine(300_000))] });
      const stream = concat(
        ...range(0, 1000).map((index) => sampleEntry(index)),
        tooLong,
        ...range(1001, 2000).map((index) => sampleEntry(index)),
      );
      makeJournal(journal, stream);
      const log = await uploadPatiently({
        agent: rig.agent,
        url: logs.url,
        args: [`--file=${journal}`, `--save-state=${join(place, "state")}`],
      });
      expect(log).toContain("acknowledged=2000 ");
      expect(log).toContain("quarantined=1 ");
      const sent = exportOf(place);
      // What was before the culprit in a request that was refused is stored there, and comes again.
      const once = new Map(logs.stored.map((entry) => [entry.cursor, entry]));
      expectSameEntries([...once.values()], sent.toSpliced(1000, 1));
      const quarantine = parseExport(readFileSync(join(place, "quarantine")));
      expectSameEntries(quarantine, sent.slice(1000, 1001));
    },
    LIMIT_MS,
  );

  test(
    "gets everything once, compressed when it has said that it takes that",
    async () => {
      using logs = await FakeVictoriaLogs.open();
      const place = rig.newDirectory();
      makeJournal(join(place, "system.journal"), sampleExport(5000));
      const sent = exportOf(place);
      const size = journalctlExport(`--directory=${place}`).length;
      await uploadAll({ agent: rig.agent, url: logs.url, args: [`--directory=${place}`] });
      expectSameEntries(logs.stored, sent);
      expect(logs.received(undefined)).toBeLessThan(size / 10);
      expect(logs.received("zstd")).toBeLessThan(size / 5);
    },
    LIMIT_MS,
  );

  test(
    "loses nothing to an encoding that it does not know",
    async () => {
      using logs = await FakeVictoriaLogs.open();
      const place = rig.newDirectory();
      makeJournal(join(place, "system.journal"), sampleExport(2000));
      for (const encoding of ["xz", "lz4", "gzip"]) {
        logs.stored.length = 0;
        const args = [`--directory=${place}`, `--compression=${encoding}`];
        const forced = [...args, "--force-compression=yes"];
        await uploadAll({ agent: rig.agent, url: logs.url, args: forced });
        expectSameEntries(logs.stored, exportOf(place));
      }
    },
    LIMIT_MS,
  );
});

describe.skipIf(!hasSystemd() || !silence.isPossible)(
  "a resolver that does not answer (needs network namespaces)",
  () => {
    test(
      "does not hold up the end",
      async () => {
        const place = rig.newDirectory();
        makeJournal(join(place, "system.journal"), sampleExport(10));
        const options = ["--key=-", "--cert=-", `--directory=${place}`];
        const command = [rig.agent, "upload", "--url=http://logs.example.net:19532", ...options];
        await using sender = new UploaderProcess(silence.enter(command));
        // By then it has begun to ask.
        await Bun.sleep(1500);
        const startMs = performance.now();
        sender.signal("SIGTERM");
        expect(await sender.ended()).toBe(0);
        expect(performance.now() - startMs).toBeLessThan(2000);
        expect(sender.log).toContain("Finished");
      },
      LIMIT_MS,
    );
  },
);

function toServe(receiver: Receiver) {
  return { agent: rig.agent, url: `https://127.0.0.1:${receiver.port}`, pki: rig.pki };
}

/** Runs it to its end; throws unless it succeeds. */
async function runStockUpload(receiver: Receiver, args: readonly string[]): Promise<void> {
  const target = [`--url=https://127.0.0.1:${receiver.port}`, ...rig.pki.uploadArgs("web1")];
  const command = [JOURNAL_UPLOAD, ...target, ...args, "--follow=no"];
  const { status, stderr } = await run(command);
  if (status !== 0) throw new Error(`systemd-journal-upload: ${stderr}`);
}

function exportOf(directory: string): ExportedEntry[] {
  return parseExport(journalctlExport(`--directory=${directory}`));
}

function longLine(size: number): Uint8Array {
  return noise(size).map((byte) => byte | 0x80);
}
