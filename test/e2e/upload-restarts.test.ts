/** `agent upload` to `agent serve`, both stopped, killed and cut off at bad moments: issue 3, points 3 and 6. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { useAgentBinary } from "../support/agent-binary.ts";
import { seededRandom } from "../support/encoded-bodies.ts";
import { hasSystemd, makeJournal, sampleExport } from "../support/journal-tools.ts";
import { freePort, Receiver } from "../support/receiver.ts";
import {
  compareEntries,
  type ExportedEntry,
  journalctlExport,
  NO_DIFFERENCE,
  parseExport,
  storedEntries,
} from "../support/stored-journals.ts";
import { TempDir } from "../support/temp-dir.ts";
import { TestPki } from "../support/tls.ts";
import { until } from "../support/until.ts";
import { UploaderProcess } from "../support/uploader-process.ts";

const { AGENT_TEST_LONG, AGENT_TEST_SEED = "1" } = Bun.env;
const KILLS = AGENT_TEST_LONG === "1" ? 20 : 10;
const LIMIT_MS = 120_000;
const ENTRIES = 20_000;

const agent = useAgentBinary();

describe.skipIf(!hasSystemd())("agent upload (needs systemd-journal-remote)", () => {
  const owned = new DisposableStack();
  let work: TempDir;
  let pki: TestPki;
  let journals: string;
  let entries: ExportedEntry[];

  beforeAll(() => {
    work = owned.use(new TempDir());
    pki = owned.use(new TestPki());
    pki.issue("web1");
    journals = newDirectory();
    makeJournal(join(journals, "system.journal"), sampleExport(ENTRIES));
    entries = parseExport(journalctlExport(`--directory=${journals}`));
  }, LIMIT_MS);
  afterAll(() => owned.dispose());

  function newDirectory(): string {
    const path = join(work.path, crypto.randomUUID());
    mkdirSync(path);
    return path;
  }

  function startReceiver(output: string, port: number): Promise<Receiver> {
    return Receiver.start({ command: [agent.path, "serve"], output, pki, port });
  }

  function startUpload(
    url: string,
    directory: string,
    state: string,
    ...args: string[]
  ): UploaderProcess {
    return new UploaderProcess([
      ...[
        agent.path,
        "upload",
        `--url=${url}`,
        `--directory=${directory}`,
        `--save-state=${state}`,
      ],
      ...[`--key=${pki.path("web1.key")}`, `--cert=${pki.path("web1.pem")}`],
      ...[`--trust=${pki.path("ca.pem")}`, ...args],
    ]);
  }

  test(
    `both killed ${KILLS} times under load: the same entries on both sides`,
    async () => {
      console.log(`seed ${AGENT_TEST_SEED}`);
      const random = seededRandom(Number(AGENT_TEST_SEED));
      const [output, port, state] = [
        newDirectory(),
        await freePort(),
        join(newDirectory(), "state"),
      ];
      const url = `https://127.0.0.1:${port}`;
      const slow = ["--batch-size=32K", "--rate-limit-bytes=60K", "--follow=no"];
      let receiver = await startReceiver(output, port);
      let sender = startUpload(url, journals, state, ...slow);
      let kills = 0;
      for (; kills < 2 * KILLS && sender.isRunning; kills++) {
        await Bun.sleep(50 + random() * 250);
        if (kills % 2 === 0) {
          await sender.kill();
          sender = startUpload(url, journals, state, ...slow);
        } else {
          await receiver.kill();
          receiver = await startReceiver(output, port);
        }
      }
      expect(kills).toBe(2 * KILLS);
      await sender.kill();
      sender = startUpload(url, journals, state, "--follow=no");
      expect(await sender.ended()).toBe(0);
      expect(await receiver.stop()).toBe(0);
      expect(compareEntries(storedEntries(output), entries)).toEqual(NO_DIFFERENCE);
    },
    LIMIT_MS,
  );

  test(
    "a receiver that is frozen, and away for a while, and a sender that starts again",
    async () => {
      const [output, port, state] = [
        newDirectory(),
        await freePort(),
        join(newDirectory(), "state"),
      ];
      const [url, directory] = [`https://127.0.0.1:${port}`, newDirectory()];
      const stream = sampleExport(400).split("\n\n");
      const addEntries = (name: string, from: number, to: number): void => {
        makeJournal(
          join(directory, `${name}.journal`),
          `${stream.slice(from, to).join("\n\n")}\n\n`,
        );
      };
      addEntries("a", 0, 100);
      let receiver = await startReceiver(output, port);
      let sender = startUpload(url, directory, state);
      const isStored = (count: number): boolean => storedEntries(output).length === count;
      await until(() => isStored(100), 20_000);

      receiver.signal("SIGSTOP");
      addEntries("b", 100, 200);
      await Bun.sleep(1500);
      receiver.signal("SIGCONT");
      await until(() => isStored(200), 20_000);

      await receiver.stop();
      addEntries("c", 200, 300);
      await sender.logged("refuses the connection");
      receiver = await startReceiver(output, port);
      await until(() => isStored(300), 20_000);

      sender.signal("SIGTERM");
      expect(await sender.ended()).toBe(0);
      addEntries("d", 300, 400);
      sender = startUpload(url, directory, state, "--follow=no");
      expect(await sender.ended()).toBe(0);
      // What was acknowledged is not sent again, not even to be recognised.
      expect(sender.log).toContain("acknowledged=100 ");
      await receiver.stop();
      const expected = parseExport(journalctlExport(`--directory=${directory}`));
      expect(compareEntries(storedEntries(output), expected)).toEqual(NO_DIFFERENCE);
    },
    LIMIT_MS,
  );

  test(
    "stops within two seconds when the receiver takes connections and nothing else",
    async () => {
      const server = await silentServer();
      const address = server.address();
      const port = address !== null && typeof address === "object" ? address.port : 0;
      const state = join(newDirectory(), "state");
      const trouble = [
        [`http://127.0.0.1:${port}`, 300],
        [`https://127.0.0.1:${port}`, 300],
        // Documentation addresses lead nowhere, or are refused at once.
        ["https://192.0.2.1:19532", 300],
      ] as const;
      for (const [url, delayMs] of trouble) {
        const sender = startUpload(url, journals, state);
        await Bun.sleep(delayMs + 500);
        const startMs = performance.now();
        sender.signal("SIGTERM");
        expect(await sender.ended()).toBe(0);
        expect(performance.now() - startMs).toBeLessThan(2000);
      }
      expect(() => readFileSync(state)).toThrow("ENOENT");
      server.close();
    },
    LIMIT_MS,
  );
});

/** Takes connections, reads nothing and says nothing. */
async function silentServer(): Promise<Server> {
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.pause();
  });
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(0, "127.0.0.1", resolve);
  await promise;
  return server;
}
