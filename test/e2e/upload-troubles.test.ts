/** `agent upload` where something is wrong with this machine: files it may not read or write, disks that are full. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, cpSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { FakeReceiver } from "../support/fake-receiver.ts";
import { hasSystemd, makeJournal, sampleExport } from "../support/journal-tools.ts";
import { run } from "../support/run-agent.ts";
import { SmallDisk } from "../support/small-disk.ts";
import { journalctlExport, parseExport } from "../support/stored-journals.ts";
import { until } from "../support/until.ts";
import { type RigUpload, useUploadRig } from "../support/upload-rig.ts";
import type { UploaderProcess } from "../support/uploader-process.ts";

const LIMIT_MS = 30_000;
const ENTRIES = 100;
/** As root, whom modes of files do not hold back otherwise. Another user could not reach the test's directory. */
const heldBack = (...words: string[]): string[] => {
  return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", ...words];
};
const IS_ROOT = process.getuid?.() === 0;

describe.skipIf(!hasSystemd())("agent upload (needs systemd-journal-remote)", () => {
  const rig = useUploadRig();
  const owned = new DisposableStack();
  let receiver: FakeReceiver;
  let journals: string;

  beforeAll(async () => {
    receiver = owned.use(await FakeReceiver.open());
    journals = rig.newJournal(sampleExport(ENTRIES));
  }, LIMIT_MS);
  afterAll(() => owned.dispose());

  function command(...args: string[]): string[] {
    const places = args.some((arg) => arg.startsWith("--directory="))
      ? []
      : [`--directory=${journals}`];
    const urls = args.some((arg) => arg.startsWith("--url=")) ? [] : [`--url=${receiver.url}`];
    return [rig.agent, "upload", ...urls, ...places, ...args];
  }

  function start(upload: Partial<RigUpload>): UploaderProcess {
    return rig.startUpload({ url: receiver.url, directory: journals, identity: [], ...upload });
  }

  async function stop(sender: UploaderProcess): Promise<void> {
    sender.signal("SIGTERM");
    expect(await sender.ended()).toBe(0);
  }

  describe("ends at once, and says why, when", () => {
    test.each([
      ["garbage", "what is this\n"],
      ["nothing", ""],
      ["a cursor that is none", "LAST_CURSOR=x\n"],
    ])("there is %s in the state file", async (_, text) => {
      const state = rig.dir.write(`${crypto.randomUUID()}/state`, text);
      const { status, stderr } = await run(command(`--save-state=${state}`));
      expect(stderr).toContain(
        `error: Cannot use state file "${state}": there is no LAST_CURSOR= with a cursor`,
      );
      expect(stderr).toContain(`rm "${state}"`);
      expect(status).toBe(78);
      expect(readFileSync(state, "utf8")).toBe(text);
    });

    test("there is no such directory of journals", async () => {
      const { status, stderr } = await run(command(`--directory=${rig.dir.path}/none`));
      expect(stderr).toContain(`error: Cannot read journals of "${rig.dir.path}/none": ENOENT`);
      expect(status).toBe(78);
    });

    test.each([
      ["so often", "2"],
      ["so long", "1s"],
    ])(
      "the receiver was tried %s as Retry= says",
      async (_, retry) => {
        const { status, stderr } = await run(
          command("--url=http://127.0.0.1:1", `--retry=${retry}`),
        );
        expect(stderr).toContain("127.0.0.1:1 refuses the connection; giving up attempts=");
        expect(stderr).toContain(` acknowledged=0 bytes=0 left=${ENTRIES} `);
        expect(status).toBe(69);
      },
      LIMIT_MS,
    );

    test.skipIf(!IS_ROOT)("the state file's directory cannot be made (needs root)", async () => {
      const parent = rig.newDirectory();
      const directory = join(parent, "none");
      chmodSync(parent, 0o500);
      const { status, stderr } = await run(heldBack(...command(`--save-state=${directory}/state`)));
      expect(stderr).toContain(`error: Cannot make directory "${directory}": EACCES`);
      expect(stderr).toContain("let the service's user write there");
      expect(status).toBe(78);
    });
  });

  describe.skipIf(!IS_ROOT)("goes on, and says what is wrong (needs root), when", () => {
    test(
      "a journal may not be read, and reads it once it may",
      async () => {
        const directory = rig.newDirectory();
        const file = join(directory, "system.journal");
        cpSync(join(journals, "system.journal"), file);
        chmodSync(file, 0);
        const before = receiver.requests.length;
        const sender = start({ directory, within: heldBack });
        await sender.logged(
          `Passing over journal file "${file}": Cannot open journal file "${file}": EACCES`,
        );
        await sender.logged('group "systemd-journal"');
        chmodSync(file, 0o644);
        await until(() => receiver.requests.length > before, 10_000);
        await stop(sender);
      },
      LIMIT_MS,
    );

    test(
      "a directory may not be looked into, and looks once it may",
      async () => {
        const directory = rig.newDirectory();
        const inner = join(directory, "0123456789abcdef0123456789abcdef");
        cpSync(journals, inner, { recursive: true });
        chmodSync(inner, 0);
        const before = receiver.requests.length;
        const sender = start({ directory, within: heldBack });
        await sender.logged(`Cannot look for journals in "${inner}": EACCES`);
        await sender.logged('group "systemd-journal"');
        await sender.logged(`Found no journal files in "${directory}"`);
        chmodSync(inner, 0o755);
        await until(() => receiver.requests.length > before, 10_000);
        await stop(sender);
      },
      LIMIT_MS,
    );

    test(
      "the state file cannot be written for a while",
      async () => {
        const directory = rig.newDirectory();
        chmodSync(directory, 0o500);
        const state = join(directory, "state");
        const sender = start({ state, within: heldBack });
        await sender.logged(`Cannot write state file "${state}": EACCES`);
        chmodSync(directory, 0o700);
        await sender.logged(`State file "${state}" can be written again`);
        expect(readFileSync(state, "utf8")).toContain("LAST_CURSOR=");
        await stop(sender);
      },
      LIMIT_MS,
    );
  });

  test.skipIf(!SmallDisk.isPossible())(
    "the disk of the state file is full for a while: the one that is there stays whole (needs mount)",
    async () => {
      using disk = new SmallDisk(1 << 20);
      const state = join(disk.path, "state");
      const directory = rig.newDirectory();
      makeJournal(join(directory, "a.journal"), sampleExport(20));
      const sender = start({ directory, state });
      await until(() => existsSync(state), 10_000);
      const before = readFileSync(state, "utf8");
      disk.leaveFree(0);
      makeJournal(join(directory, "b.journal"), sampleExport(30));
      await sender.logged(`Cannot write state file "${state}": ENOSPC`);
      expect(readFileSync(state, "utf8")).toBe(before);
      disk.release();
      await sender.logged(`State file "${state}" can be written again`);
      await stop(sender);
      const last = parseExport(journalctlExport("--file", join(directory, "b.journal"))).at(-1);
      expect(readFileSync(state, "utf8")).toContain(`LAST_CURSOR=${last?.cursor}\n`);
    },
    LIMIT_MS,
  );

  test(
    "there are no journals yet, and there are some later",
    async () => {
      const directory = rig.newDirectory();
      const before = receiver.requests.length;
      const sender = start({ directory });
      await sender.logged(`Found no journal files in "${directory}"`);
      makeJournal(join(directory, "system.journal"), sampleExport(10));
      await until(() => receiver.requests.length > before, 10_000);
      await stop(sender);
    },
    LIMIT_MS,
  );

  test("--check-config shows what counts, where it is from, and what is wrong", async () => {
    const config = rig.dir.write(
      "upload.conf",
      `[Upload]\nURL=${receiver.url}\nBatchSize=1M\nTargets=both\n`,
    );
    const env = { SYSTEMD_JOURNAL_UPLOAD_CONFIG_FILE: config };
    const args = ["--check-config", "--batch-delay=2s", `--directory=${rig.dir.path}/none`];
    const { status, stdout } = await run([rig.agent, "upload", ...args], { env });
    expect(stdout).toMatch(new RegExp(`^URL= +${receiver.url} +${config}`, "m"));
    expect(stdout).toMatch(/^BatchSize= +1M/m);
    expect(stdout).toMatch(/^BatchDelaySec= +2s +command line$/m);
    expect(stdout).toContain("Targets");
    expect(stdout).toContain(`${rig.dir.path}/none`);
    expect(status).toBe(78);
  });
});
