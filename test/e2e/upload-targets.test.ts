/** `agent upload` to several receivers, of which some are away for a while. */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { countEntries } from "../support/entry-digests.ts";
import { hasSystemd, makeJournal, sampleExport } from "../support/journal-tools.ts";
import { freePort } from "../support/ports.ts";
import type { Receiver } from "../support/receiver.ts";
import {
  compareEntries,
  journalctlExport,
  journalFiles,
  NO_DIFFERENCE,
  parseExport,
  storedEntries,
} from "../support/stored-journals.ts";
import { until } from "../support/until.ts";
import { useUploadRig } from "../support/upload-rig.ts";

const LIMIT_MS = 60_000;
const PATIENCE_MS = 20_000;
const PART = 400;
const PARTS = 5;

describe.skipIf(!hasSystemd())("several receivers (needs systemd-journal-remote)", () => {
  const rig = useUploadRig();
  const stream = sampleExport(PART * PARTS).split("\n\n");

  /** One that can be stopped and started again. */
  class Site {
    readonly output = rig.newDirectory();
    readonly port: number;
    #receiver: Receiver | undefined;

    private constructor(port: number) {
      this.port = port;
    }

    static async open(): Promise<Site> {
      const site = new Site(await freePort());
      await site.start();
      return site;
    }

    get url(): string {
      return `https://127.0.0.1:${this.port}/upload`;
    }

    get count(): number {
      return countEntries(journalFiles(this.output));
    }

    async start(): Promise<void> {
      const { output, port } = this;
      this.#receiver = await rig.startReceiver(output, { port });
    }

    async stop(): Promise<void> {
      expect(await this.#receiver?.stop()).toBe(0);
    }
  }

  function addPart(directory: string, index: number): void {
    const part = stream.slice(index * PART, (index + 1) * PART);
    makeJournal(join(directory, `${index}.journal`), `${part.join("\n\n")}\n\n`);
  }

  test(
    "mirror: each gets each entry once, at its own pace, whoever was away meanwhile",
    async () => {
      const [directory, state] = [rig.newDirectory(), rig.newState()];
      const near = await Site.open();
      const far = await Site.open();
      addPart(directory, 0);
      const upload = { directory, state, args: ["--targets=mirror"] };
      let sender = rig.startUpload({ url: [near.url, far.url], ...upload });
      await until(() => near.count === PART && far.count === PART, PATIENCE_MS);

      await far.stop();
      addPart(directory, 1);
      await until(() => near.count === 2 * PART, PATIENCE_MS);
      await sender.logged(`127.0.0.1:${far.port} refuses the connection`);
      await far.start();
      await until(() => far.count === 2 * PART, PATIENCE_MS);

      await near.stop();
      addPart(directory, 2);
      await until(() => far.count === 3 * PART, PATIENCE_MS);
      // Each has a position of its own, which lasts.
      await sender.kill();
      addPart(directory, 3);
      sender = rig.startUpload({ url: [far.url, near.url], ...upload });
      await until(() => far.count === 4 * PART, PATIENCE_MS);
      await near.start();
      addPart(directory, 4);
      await until(() => near.count === PARTS * PART && far.count === PARTS * PART, PATIENCE_MS);
      sender.signal("SIGTERM");
      expect(await sender.ended()).toBe(0);
      for (const site of [near, far]) {
        await site.stop();
        const expected = parseExport(journalctlExport(`--directory=${directory}`));
        expect(compareEntries(storedEntries(site.output), expected)).toEqual(NO_DIFFERENCE);
      }
    },
    LIMIT_MS,
  );

  test(
    "failover: the first that works in the order they are named gets what is new",
    async () => {
      const directory = rig.newDirectory();
      const first = await Site.open();
      const second = await Site.open();
      const third = await Site.open();
      const sites = [first, second, third];
      const counts = (): number[] => sites.map(({ count }) => count);
      const reach = (...wanted: number[]): Promise<void> =>
        until(
          () => counts().every((count, index) => count === (wanted[index] ?? 0) * PART),
          PATIENCE_MS,
        );
      addPart(directory, 0);
      const sender = rig.startUpload({ url: sites.map(({ url }) => url), directory });
      await reach(1, 0, 0);
      await first.stop();
      addPart(directory, 1);
      await reach(1, 1, 0);
      await sender.logged(`Uploading to "${second.url}" instead of "${first.url}"`);
      await second.stop();
      addPart(directory, 2);
      await reach(1, 1, 1);
      await sender.logged(`Uploading to "${third.url}" instead of "${second.url}"`);
      await first.start();
      await third.stop();
      addPart(directory, 3);
      await reach(2, 1, 1);
      sender.signal("SIGTERM");
      expect(await sender.ended()).toBe(0);
      await first.stop();
      const stored = sites.flatMap(({ output }) => storedEntries(output));
      const expected = parseExport(journalctlExport(`--directory=${directory}`));
      expect(compareEntries(stored, expected)).toEqual(NO_DIFFERENCE);
    },
    LIMIT_MS,
  );
});
