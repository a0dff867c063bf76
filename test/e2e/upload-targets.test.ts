/** `agent upload` to several receivers, of which some are away for a while. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { useAgentBinary } from "../support/agent-binary.ts";
import { countEntries } from "../support/entry-digests.ts";
import { hasSystemd, makeJournal, sampleExport } from "../support/journal-tools.ts";
import { freePort, Receiver } from "../support/receiver.ts";
import {
  compareEntries,
  journalctlExport,
  journalFiles,
  NO_DIFFERENCE,
  parseExport,
  storedEntries,
} from "../support/stored-journals.ts";
import { TempDir } from "../support/temp-dir.ts";
import { TestPki } from "../support/tls.ts";
import { until } from "../support/until.ts";
import { UploaderProcess } from "../support/uploader-process.ts";

const LIMIT_MS = 60_000;
const PATIENCE_MS = 20_000;
const PART = 400;
const PARTS = 5;

const agent = useAgentBinary();

describe.skipIf(!hasSystemd())("several receivers (needs systemd-journal-remote)", () => {
  const owned = new DisposableStack();
  const stream = sampleExport(PART * PARTS).split("\n\n");
  let work: TempDir;
  let pki: TestPki;

  beforeAll(() => {
    work = owned.use(new TempDir());
    pki = owned.use(new TestPki());
    pki.issue("web1");
  }, LIMIT_MS);
  afterAll(() => owned.dispose());

  function newDirectory(): string {
    const path = join(work.path, crypto.randomUUID());
    mkdirSync(path);
    return path;
  }

  /** One that can be stopped and started again. */
  class Site implements AsyncDisposable {
    readonly output = newDirectory();
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
      this.#receiver = await Receiver.start({ command: [agent.path, "serve"], output, pki, port });
    }

    async stop(): Promise<void> {
      expect(await this.#receiver?.stop()).toBe(0);
    }

    async [Symbol.asyncDispose](): Promise<void> {
      await this.#receiver?.kill();
    }
  }

  function addPart(directory: string, index: number): void {
    const part = stream.slice(index * PART, (index + 1) * PART);
    makeJournal(join(directory, `${index}.journal`), `${part.join("\n\n")}\n\n`);
  }

  function startUpload(
    sites: readonly Site[],
    directory: string,
    ...args: string[]
  ): UploaderProcess {
    return new UploaderProcess([
      ...[
        agent.path,
        "upload",
        ...sites.map(({ url }) => `--url=${url}`),
        `--directory=${directory}`,
      ],
      ...[`--key=${pki.path("web1.key")}`, `--cert=${pki.path("web1.pem")}`],
      ...[`--trust=${pki.path("ca.pem")}`, ...args],
    ]);
  }

  test(
    "mirror: each gets each entry once, at its own pace, whoever was away meanwhile",
    async () => {
      const [directory, state] = [newDirectory(), join(newDirectory(), "state")];
      await using near = await Site.open();
      await using far = await Site.open();
      const args = ["--targets=mirror", `--save-state=${state}`];
      addPart(directory, 0);
      await using started = new AsyncDisposableStack();
      let sender = started.use(startUpload([near, far], directory, ...args));
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
      sender = started.use(startUpload([far, near], directory, ...args));
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
      const directory = newDirectory();
      await using first = await Site.open();
      await using second = await Site.open();
      await using third = await Site.open();
      const sites = [first, second, third];
      const counts = (): number[] => sites.map(({ count }) => count);
      const reach = (...wanted: number[]): Promise<void> =>
        until(
          () => counts().every((count, index) => count === (wanted[index] ?? 0) * PART),
          PATIENCE_MS,
        );
      addPart(directory, 0);
      await using sender = startUpload(
        sites,
        directory,
        `--save-state=${join(newDirectory(), "state")}`,
      );
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
