/** A disk that is full, and one that is shared: issue 2, point 8. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { basename, join } from "node:path";
import { useAgentBinary } from "../support/agent-binary.ts";
import { BatchSender } from "../support/batch-sender.ts";
import { seededRandom } from "../support/encoded-bodies.ts";
import { hasSystemd } from "../support/journal-tools.ts";
import { diskUse } from "../support/process-usage.ts";
import { Receiver } from "../support/receiver.ts";
import { SmallDisk } from "../support/small-disk.ts";
import {
  type ExportedEntry,
  findDamage,
  journalctlExport,
  journalFiles,
  NO_DIFFERENCE,
  parseExport,
} from "../support/stored-journals.ts";
import { TestPki } from "../support/tls.ts";
import { until } from "../support/until.ts";

const { AGENT_TEST_SEED = "1" } = Bun.env;
const LIMIT_MS = 60_000;
const MIB = 1024 * 1024;
/** Nothing is deleted to make room, and nothing is kept free. */
const NO_RETENTION = ["--max-use=0", "--max-files=0", "--keep-free=0", "--max-file-size=1M"];

const agent = useAgentBinary();

describe.skipIf(!hasSystemd() || !SmallDisk.isPossible())(
  "on a tmpfs of 24 MiB (needs root and systemd-journal-remote)",
  () => {
    const owned = new DisposableStack();
    let pki: TestPki;
    let random: () => number;
    let disk: SmallDisk;
    let output: string;
    let receiver: Receiver | undefined;
    let senders: DisposableStack;

    beforeAll(() => {
      console.log(`seed ${AGENT_TEST_SEED}`);
      random = seededRandom(Number(AGENT_TEST_SEED));
      pki = owned.use(new TestPki());
      for (const name of ["web1", "web2", "db1"]) pki.issue(name);
    }, LIMIT_MS);
    afterAll(() => owned.dispose());
    beforeEach(() => {
      senders = new DisposableStack();
      disk = new SmallDisk(24 * MIB);
      output = join(disk.path, "received");
      mkdirSync(output);
    });
    afterEach(async () => {
      senders.dispose();
      await receiver?.kill();
      receiver = undefined;
      disk[Symbol.dispose]();
    });

    async function start(args: string[]): Promise<Receiver> {
      receiver = await Receiver.start({ command: [agent.path, "serve"], output, pki, args });
      return receiver;
    }

    function newSender(name: string, port: number, batchEntries: number): BatchSender {
      const seqnumIds = [Buffer.from(name.padEnd(16)).toString("hex")];
      return senders.use(new BatchSender({ pki, name, port, seqnumIds, batchEntries, random }));
    }

    function stored(sender: string): ExportedEntry[] {
      return journalFiles(output)
        .filter((file) => /^remote-(\w+)/.exec(basename(file))?.[1] === sender)
        .flatMap((file) => parseExport(journalctlExport("--file", file)));
    }

    /** Three senders push; the disk is filled, then emptied. */
    async function fillAndFree(args: string[], freeBytes: number): Promise<void> {
      const { port } = await start(args);
      const pushing = [
        newSender("db1", port, 1),
        newSender("web1", port, 50),
        newSender("web2", port, 300),
      ];
      let isOver = false;
      const delivered = Promise.all(pushing.map((sender) => sender.run(() => isOver)));
      await until(() => pushing.every(({ acknowledged }) => acknowledged.size > 0), LIMIT_MS);

      disk.leaveFree(freeBytes);
      await until(() => pushing.every(({ refusals }) => refusals.length >= 5), LIMIT_MS);
      expect(receiver?.isRunning).toBe(true);
      for (const sender of pushing) {
        for (const { status, headers } of sender.refusals) {
          expect([status, headers.get("retry-after")]).toEqual([503, "30"]);
        }
        expect(sender.failures).toBe(0);
      }

      disk.release();
      const goals = new Map(pushing.map((sender) => [sender, sender.acknowledged.size + 600]));
      const isServed = (sender: BatchSender) =>
        sender.acknowledged.size >= (goals.get(sender) ?? 0) || sender.name === "db1";
      await until(() => pushing.every(isServed), LIMIT_MS);
      isOver = true;
      await delivered;
      expect(await receiver?.stop()).toBe(0);
      for (const sender of pushing) {
        expect(sender.compareWith(stored(sender.name))).toEqual(NO_DIFFERENCE);
      }
      expect(findDamage(journalFiles(output, ".journal"))).toEqual([]);
    }

    test(
      "full to the last byte: 503 and Retry-After, and it goes on when space returns",
      async () => {
        await fillAndFree(NO_RETENTION, 512 * 1024);
      },
      LIMIT_MS,
    );

    test(
      "less than KeepFree= is free: the same",
      async () => {
        await fillAndFree(["--max-use=0", "--max-files=0", "--max-file-size=1M"], 512 * 1024);
      },
      LIMIT_MS,
    );

    test(
      "full several times over: nothing acknowledged is lost, nothing is doubled",
      async () => {
        const { port } = await start(NO_RETENTION);
        const sender = newSender("web1", port, 100);
        let isOver = false;
        const running = sender.run(() => isOver);
        for (let round = 1; round <= 8; round++) {
          disk.leaveFree(Math.floor(random() * MIB));
          const refused = sender.refusals.length;
          await until(() => sender.refusals.length > refused + 2, LIMIT_MS);
          disk.release();
          const goal = sender.acknowledged.size + 200;
          await until(() => sender.acknowledged.size >= goal, LIMIT_MS);
        }
        isOver = true;
        await running;
        expect(await receiver?.stop()).toBe(0);
        expect(sender.compareWith(stored("web1"))).toEqual(NO_DIFFERENCE);
        expect(findDamage(journalFiles(output, ".journal"))).toEqual([]);
      },
      LIMIT_MS,
    );

    test(
      "stopped while it is full: what was acknowledged is there",
      async () => {
        const { port } = await start(NO_RETENTION);
        const sender = newSender("web1", port, 100);
        let isOver = false;
        const running = sender.run(() => isOver);
        disk.leaveFree(MIB);
        await until(() => sender.refusals.length >= 3, LIMIT_MS);
        isOver = true;
        expect(await receiver?.stop()).toBe(0);
        const { missing } = sender.compareWith(stored("web1"));
        expect(missing).toEqual([]);

        disk.release();
        receiver = await Receiver.start({
          command: [agent.path, "serve"],
          args: NO_RETENTION,
          output,
          pki,
          port,
        });
        await running;
        expect(await receiver.stop()).toBe(0);
        expect(sender.compareWith(stored("web1"))).toEqual(NO_DIFFERENCE);
        expect(findDamage(journalFiles(output, ".journal"))).toEqual([]);
      },
      LIMIT_MS,
    );

    test(
      "MaxUse= holds, and a quiet sender keeps its history",
      async () => {
        const { port } = await start(["--max-use=6M", "--max-file-size=1M", "--keep-free=0"]);
        const quiet = newSender("db1", port, 20);
        await quiet.run(() => true);
        const noisy = newSender("web1", port, 500);
        let mostBytes = 0;
        await noisy.run(() => {
          mostBytes = Math.max(mostBytes, diskUse(output));
          return noisy.acknowledged.size >= 40_000;
        });
        expect(await receiver?.stop()).toBe(0);
        console.log(`at most ${mostBytes} bytes on disk`);
        expect(mostBytes).toBeLessThan(9 * MIB);
        expect(diskUse(output)).toBeLessThan(7 * MIB);
        expect(quiet.compareWith(stored("db1"))).toEqual(NO_DIFFERENCE);
        const { missing, ...others } = noisy.compareWith(stored("web1"));
        expect(others).toEqual({ unexpected: [], twice: [], changed: [] });
        // The oldest are gone, and nothing between what is left.
        const kept = noisy.acknowledged.size - missing.length;
        expect(missing).toEqual([...noisy.acknowledged].slice(0, -kept));
        expect(missing.length).toBeGreaterThan(1000);
        expect(kept).toBeGreaterThan(1000);
        expect(findDamage(journalFiles(output))).toEqual([]);
      },
      LIMIT_MS,
    );
  },
);
