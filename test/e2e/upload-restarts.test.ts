/** `agent upload` to `agent serve`, both stopped, killed and cut off at bad moments: issue 3, points 3 and 6. */
import { beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { seededRandom } from "../support/encoded-bodies.ts";
import { FakeReceiver } from "../support/fake-receiver.ts";
import { hasSystemd, makeJournal, sampleExport } from "../support/journal-tools.ts";
import { freePort } from "../support/ports.ts";
import {
  compareEntries,
  type ExportedEntry,
  journalctlExport,
  NO_DIFFERENCE,
  parseExport,
  storedEntries,
} from "../support/stored-journals.ts";
import { until } from "../support/until.ts";
import { useUploadRig } from "../support/upload-rig.ts";

const { AGENT_TEST_LONG, AGENT_TEST_SEED = "1" } = Bun.env;
const KILLS = AGENT_TEST_LONG === "1" ? 20 : 10;
const LIMIT_MS = 120_000;
const ENTRIES = 20_000;

describe.skipIf(!hasSystemd())("agent upload (needs systemd-journal-remote)", () => {
  const rig = useUploadRig();
  let journals: string;
  let entries: ExportedEntry[];

  beforeAll(() => {
    journals = rig.newJournal(sampleExport(ENTRIES));
    entries = parseExport(journalctlExport(`--directory=${journals}`));
  }, LIMIT_MS);

  test(
    `both killed ${KILLS} times under load: the same entries on both sides`,
    async () => {
      console.log(`seed ${AGENT_TEST_SEED}`);
      const random = seededRandom(Number(AGENT_TEST_SEED));
      const [output, port, state] = [rig.newDirectory(), await freePort(), rig.newState()];
      const url = `https://127.0.0.1:${port}`;
      const slow = {
        ...{ url, directory: journals, state },
        args: ["--batch-size=32K", "--rate-limit-bytes=60K", "--follow=no"],
      };
      let receiver = await rig.startReceiver(output, { port });
      let sender = rig.startUpload(slow);
      let kills = 0;
      for (; kills < 2 * KILLS && sender.isRunning; kills++) {
        await Bun.sleep(50 + random() * 250);
        if (kills % 2 === 0) {
          await sender.kill();
          sender = rig.startUpload(slow);
        } else {
          await receiver.kill();
          receiver = await rig.startReceiver(output, { port });
        }
      }
      expect(kills).toBe(2 * KILLS);
      await sender.kill();
      sender = rig.startUpload({ ...slow, args: ["--follow=no"] });
      expect(await sender.ended()).toBe(0);
      expect(await receiver.stop()).toBe(0);
      expect(compareEntries(storedEntries(output), entries)).toEqual(NO_DIFFERENCE);
    },
    LIMIT_MS,
  );

  test(
    "a receiver that is frozen, and away for a while, and a sender that starts again",
    async () => {
      const [output, port, state] = [rig.newDirectory(), await freePort(), rig.newState()];
      const [url, directory] = [`https://127.0.0.1:${port}`, rig.newDirectory()];
      const stream = sampleExport(400).split("\n\n");
      const addEntries = (name: string, from: number, to: number): void => {
        makeJournal(
          join(directory, `${name}.journal`),
          `${stream.slice(from, to).join("\n\n")}\n\n`,
        );
      };
      addEntries("a", 0, 100);
      let receiver = await rig.startReceiver(output, { port });
      let sender = rig.startUpload({ url, directory, state });
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
      receiver = await rig.startReceiver(output, { port });
      await until(() => isStored(300), 20_000);

      sender.signal("SIGTERM");
      expect(await sender.ended()).toBe(0);
      addEntries("d", 300, 400);
      sender = rig.startUpload({ url, directory, state, args: ["--follow=no"] });
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
      using server = await FakeReceiver.open({ onConnection: (socket) => void socket.pause() });
      const { port } = server;
      const state = rig.newState();
      const trouble = [
        [`http://127.0.0.1:${port}`, 300],
        [`https://127.0.0.1:${port}`, 300],
        // Documentation addresses lead nowhere, or are refused at once.
        ["https://192.0.2.1:19532", 300],
      ] as const;
      for (const [url, delayMs] of trouble) {
        const sender = rig.startUpload({ url, directory: journals, state });
        await Bun.sleep(delayMs + 500);
        const startMs = performance.now();
        sender.signal("SIGTERM");
        expect(await sender.ended()).toBe(0);
        expect(performance.now() - startMs).toBeLessThan(2000);
      }
      expect(() => readFileSync(state)).toThrow("ENOENT");
    },
    LIMIT_MS,
  );
});
