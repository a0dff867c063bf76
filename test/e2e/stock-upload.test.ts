/** Debian's systemd-journal-upload as the sender, over mutual TLS: issue 2, point 2. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { useAgentBinary } from "../support/agent-binary.ts";
import { seededRandom } from "../support/encoded-bodies.ts";
import { hasSystemd, makeJournal, sampleExport } from "../support/journal-tools.ts";
import { Receiver } from "../support/receiver.ts";
import {
  compareEntries,
  findDamage,
  journalctlExport,
  journalFiles,
  NO_DIFFERENCE,
  parseExport,
  storedEntries,
} from "../support/stored-journals.ts";
import { TcpProxy } from "../support/tcp-proxy.ts";
import { TempDir } from "../support/temp-dir.ts";
import { TestPki } from "../support/tls.ts";
import { until } from "../support/until.ts";

const JOURNAL_UPLOAD = "/lib/systemd/systemd-journal-upload";
const { AGENT_TEST_SEED = "1" } = Bun.env;
const LIMIT_MS = 60_000;
const ENTRIES = 6_000;
/**
 * The stream is 24 MB, of which the kernel holds up to 10 MB on the way. So when it is cut after at most
 * 8 MB, the sender is in the middle.
 */
const DETAIL_BYTES = 4_000;
const SLOW_BYTES = 20_000_000;

const agent = useAgentBinary();

describe.skipIf(!existsSync(JOURNAL_UPLOAD) || !hasSystemd())(
  "systemd-journal-upload (needs systemd-journal-remote)",
  () => {
    const owned = new DisposableStack();
    let work: TempDir;
    let pki: TestPki;
    let source: string;
    let random: () => number;

    beforeAll(() => {
      console.log(`seed ${AGENT_TEST_SEED}`);
      random = seededRandom(Number(AGENT_TEST_SEED));
      work = owned.use(new TempDir());
      pki = owned.use(new TestPki());
      pki.issue("web1");
      source = join(work.path, "system.journal");
      makeJournal(source, bulkyExport(ENTRIES));
    }, LIMIT_MS);
    afterAll(() => owned.dispose());

    function newOutput(): string {
      const output = join(work.path, crypto.randomUUID());
      mkdirSync(output);
      return output;
    }

    function startReceiver(output: string, port?: number): Promise<Receiver> {
      const args = ["--max-file-size=1M", "--max-files=0"];
      const command = [agent.path, "serve"];
      return Receiver.start({
        command,
        output,
        pki,
        args,
        ...(port === undefined ? {} : { port }),
      });
    }

    /** @param stateFile a new one for each upload from the beginning. */
    function startUpload(journal: string, port: number, stateFile: string) {
      return Bun.spawn(
        [
          JOURNAL_UPLOAD,
          `--url=https://127.0.0.1:${port}`,
          ...pki.uploadArgs("web1"),
          `--file=${journal}`,
          `--save-state=${stateFile}`,
          "--follow=no",
        ],
        { stdio: ["ignore", "ignore", "pipe"] },
      );
    }

    /** Runs it to its end; throws unless it succeeds. */
    async function upload(journal: string, port: number, stateFile: string): Promise<void> {
      await using child = startUpload(journal, port, stateFile);
      const stderr = await new Response(child.stderr).text();
      if ((await child.exited) !== 0) throw new Error(`systemd-journal-upload: ${stderr}`);
    }

    function expectAll(output: string, journal: string): void {
      const sent = parseExport(journalctlExport("--file", journal));
      expect(compareEntries(storedEntries(output), sent)).toEqual(NO_DIFFERENCE);
      expect(findDamage(journalFiles(output))).toEqual([]);
    }

    test(
      "killed five times in the middle: nothing lost, nothing doubled",
      async () => {
        const output = newOutput();
        await using receiver = await startReceiver(output);
        using proxy = await TcpProxy.open(receiver.port);
        const stateFile = join(work.path, "killed.state");
        proxy.rateBytes = SLOW_BYTES;
        for (let kill = 1; kill <= 5; kill++) {
          await using child = startUpload(source, proxy.port, stateFile);
          const enough = proxy.bytesUp + 1_000_000 + random() * 7_000_000;
          await until(() => proxy.bytesUp >= enough, LIMIT_MS);
          expect(child.exitCode).toBe(null);
          child.kill("SIGKILL");
          await child.exited;
          expect(existsSync(stateFile)).toBe(false);
        }
        proxy.rateBytes = Number.POSITIVE_INFINITY;
        await upload(source, proxy.port, stateFile);
        expect(await receiver.stop()).toBe(0);
        const [, stored, duplicates] =
          /stored=(\d+) duplicates=(\d+) refused=0/.exec(receiver.log) ?? [];
        expect(Number(stored)).toBe(ENTRIES);
        expect(Number(duplicates)).toBeGreaterThan(1000);
        expectAll(output, source);
      },
      LIMIT_MS,
    );

    test(
      "cut off by the network, and by kill -9 of the receiver",
      async () => {
        const output = newOutput();
        const stateFile = join(work.path, "cut.state");
        let port: number | undefined;
        for (let cut = 1; cut <= 4; cut++) {
          await using receiver: Receiver = await startReceiver(output, port);
          port = receiver.port;
          using proxy = await TcpProxy.open(port);
          proxy.rateBytes = SLOW_BYTES;
          await using child = startUpload(source, proxy.port, stateFile);
          const enough = 1_000_000 + random() * 7_000_000;
          await until(() => proxy.bytesUp >= enough, LIMIT_MS);
          if (cut % 2 === 0) await receiver.kill();
          else proxy.cut();
          expect(await child.exited).toBe(1);
        }
        await using receiver = await startReceiver(output, port);
        await upload(source, receiver.port, stateFile);
        expect(await receiver.stop()).toBe(0);
        const sent = parseExport(journalctlExport("--file", source));
        expect(compareEntries(storedEntries(output), sent)).toEqual(NO_DIFFERENCE);
        expect(findDamage(journalFiles(output, ".journal"))).toEqual([]);
      },
      LIMIT_MS,
    );

    test(
      "what it sends again after a restart is stored once",
      async () => {
        const output = newOutput();
        const growing = join(work.path, "growing.journal");
        const stateFile = join(work.path, "growing.state");
        await using receiver = await startReceiver(output);
        for (let round = 1; round <= 4; round++) {
          makeJournal(growing, sampleExport(50 * round));
          await upload(growing, receiver.port, stateFile);
        }
        expect(await receiver.stop()).toBe(0);
        // Stock repeats the last entry it has an answer for.
        expect(receiver.log).toContain("Finished stored=500 duplicates=3 refused=0");
        expectAll(output, growing);
      },
      LIMIT_MS,
    );
  },
);

/** Entries with a value of their own that does not compress. */
function bulkyExport(entries: number): string {
  return sampleExport(entries).replace(/^MESSAGE=.*$/gm, (message) => {
    const detail = crypto.getRandomValues(Buffer.alloc((DETAIL_BYTES * 3) / 4)).toString("base64");
    return `${message}\nDETAIL=${detail}`;
  });
}
