/** kill -9 of the receiver at random moments while senders push: issue 2, point 3. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync } from "node:fs";
import { basename, join } from "node:path";
import { useAgentBinary } from "../support/agent-binary.ts";
import { BatchSender } from "../support/batch-sender.ts";
import { seededRandom } from "../support/encoded-bodies.ts";
import { hasSystemd } from "../support/journal-tools.ts";
import { freePort } from "../support/ports.ts";
import { Receiver } from "../support/receiver.ts";
import {
  findDamage,
  journalctlExport,
  journalFiles,
  NO_DIFFERENCE,
  parseExport,
} from "../support/stored-journals.ts";
import { TempDir } from "../support/temp-dir.ts";
import { TestPki } from "../support/tls.ts";

const { AGENT_TEST_LONG, AGENT_TEST_SEED = "1" } = Bun.env;
const ROUNDS = AGENT_TEST_LONG === "1" ? 20 : 6;
const RUN_MS_MAX = 700;
/** Small files, so that some kills hit a rotation. */
const ARGS = ["--max-file-size=512K", "--max-files=0"];
/** Of the second sender there are two journals, as of every machine with users. */
const SENDERS = [
  { name: "db1", seqnumIds: ["d1".repeat(16)], batchEntries: 1 },
  { name: "web1", seqnumIds: ["a0".repeat(16), "a1".repeat(16)], batchEntries: 40 },
  { name: "web2", seqnumIds: ["b0".repeat(16)], batchEntries: 400 },
];

const agent = useAgentBinary();

describe.skipIf(!hasSystemd())("kill -9 (needs systemd-journal-remote)", () => {
  const owned = new DisposableStack();
  let work: TempDir;
  let pki: TestPki;

  beforeAll(() => {
    work = owned.use(new TempDir());
    pki = owned.use(new TestPki());
    for (const { name } of SENDERS) pki.issue(name);
  });
  afterAll(() => owned.dispose());

  test(`${ROUNDS} times while three senders push: each entry once, every file sound or set aside`, async () => {
    const seed = Number(AGENT_TEST_SEED);
    console.log(`seed ${seed}`);
    const random = seededRandom(seed);
    const output = join(work.path, "received");
    mkdirSync(output);
    const port = await freePort();
    const start = () =>
      Receiver.start({ command: [agent.path, "serve"], output, pki, port, args: ARGS });
    let isOver = false;
    using running = new DisposableStack();
    const senders = SENDERS.map((sender) =>
      running.use(new BatchSender({ ...sender, pki, port, lostShare: 0.1, random })),
    );
    const delivered = Promise.all(senders.map((sender) => sender.run(() => isOver)));

    for (let round = 1; round <= ROUNDS; round++) {
      await using receiver = await start();
      await Bun.sleep(random() * RUN_MS_MAX);
      await receiver.kill();
    }
    await using receiver = await start();
    isOver = true;
    await delivered;
    // One more, since all of the last one may have been stored before the last kill.
    await Promise.all(senders.map((sender) => sender.run(() => true)));
    expect(await receiver.stop()).toBe(0);

    for (const sender of senders) {
      const files = journalFiles(output).filter((file) => isOf(file, sender.name));
      const stored = files.flatMap((file) => parseExport(journalctlExport("--file", file)));
      expect(sender.compareWith(stored)).toEqual(NO_DIFFERENCE);
      expect(sender.failures).toBeGreaterThanOrEqual(ROUNDS);
      expect(existsSync(join(output, `remote-${sender.name}.journal`))).toBe(true);
      console.log(`${sender.name}: ${stored.length} entries in ${files.length} files`);
    }
    expect(findDamage(journalFiles(output, ".journal"))).toEqual([]);
    console.log(`${journalFiles(output, ".journal~").length} files set aside`);
  }, 90_000);

  function isOf(file: string, sender: string): boolean {
    return /^remote-(\w+)[@.]/.exec(basename(file))?.[1] === sender;
  }
});
