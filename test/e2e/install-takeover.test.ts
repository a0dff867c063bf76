/** Issue 5: what systemd's own programs were set up to do, had sent and received, is taken over; `uninstall` gives it back. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { useAgentBinary } from "../support/agent-binary.ts";
import { changedFiles } from "../support/file-listing.ts";
import { describeHosts, HOST_SUITES, type HostMachine } from "../support/host-machine.ts";
import {
  expectActive,
  expectArrival,
  HostRig,
  RECEIVED,
  REMOTE_SOCKET,
  REMOTE_UNIT,
  SERVER_NAME,
  sh,
  UPLOAD_UNIT,
} from "../support/host-rig.ts";
import { storedEntries } from "../support/stored-journals.ts";

const LIMIT_MS = 120_000;
const HTTP = `[Service]
ExecStart=
ExecStart=/lib/systemd/systemd-journal-remote --listen-http=-3 --output=${RECEIVED}/
`;
const RESTART = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=always\nRestartSec=1\n";

const agent = useAgentBinary();
await describeHosts("hosts that use systemd's programs", HOST_SUITES, (suite) => {
  const owned = new AsyncDisposableStack();
  let rig: HostRig;
  let server: HostMachine;
  let client: HostMachine;
  let before: Map<string, string>[];
  let journalsBefore: Record<string, string>;

  beforeAll(async () => {
    rig = owned.use(await HostRig.open(agent.path));
    [server, client] = await rig.bootPair(suite);
    rig.network.name(SERVER_NAME, server.address);
    await Promise.all([server.installStockPackage(), client.installStockPackage()]);
    server.write(`etc/systemd/system/${REMOTE_UNIT}.d/10-http.conf`, HTTP);
    client.write(`etc/systemd/system/${UPLOAD_UNIT}.d/10-restart.conf`, RESTART);
    const url = `http://${SERVER_NAME}:19532`;
    client.write("etc/systemd/journal-upload.conf", `[Upload]\nURL=${url}\n`);
    for (const machine of [server, client]) await machine.run("systemctl", "daemon-reload");
    await server.run("systemctl", "enable", "--now", REMOTE_SOCKET);
    await client.run("systemctl", "enable", "--now", UPLOAD_UNIT);
    await client.run("logger", "by systemd");
    await isReceived("by systemd");
    before = [server.list(), client.list()];
    journalsBefore = accessById(server.file(RECEIVED.slice(1)));
  }, LIMIT_MS);
  afterAll(() => owned.disposeAsync(), LIMIT_MS);

  /** In whatever file. */
  async function isReceived(message: string): Promise<void> {
    await server.until(`journalctl -q --directory=${RECEIVED} MESSAGE='${message}' | grep -q .`);
  }

  /** What is not there exactly once. systemd's receiver numbers entries anew, so cursors say nothing. */
  function difference(): Record<"missing" | "twice", string[]> {
    const sent = identities(client.file(`var/log/journal/${client.machineId}`));
    const received = identities(server.file(RECEIVED.slice(1)));
    const last = sent.lastIndexOf(received.at(-1) ?? "");
    return {
      missing: sent.slice(0, last).filter((one) => !received.includes(one)),
      twice: received.filter((one, index) => received.indexOf(one) !== index),
    };
  }

  test(
    "go on with our program where they were: nothing is sent twice, nothing is missing",
    async () => {
      await rig.installServer(server);
      await rig.installClient(server, client);
      await expectArrival(client, server, "by agent");
      expect(difference()).toEqual({ missing: [], twice: [] });
      // Whom it belonged to does not keep alice from it.
      const { stdout } = await sh(server, `journalctl -q --directory=${RECEIVED}`, "alice");
      expect(stdout).toContain("by systemd");
      expect(stdout).toContain("by agent");
    },
    LIMIT_MS,
  );

  test(
    "are told which drop-in keeps our program from running",
    async () => {
      const file = `/etc/systemd/system/${REMOTE_UNIT}.d/override.conf`;
      const restart = `systemctl daemon-reload && systemctl restart ${REMOTE_UNIT}`;
      server.write(file.slice(1), HTTP);
      await sh(server, restart);
      const { exitCode, stderr } = await sh(server, "agent install --role=server");
      expect(exitCode).toBe(69);
      const problem = `"${REMOTE_UNIT}" runs "/lib/systemd/systemd-journal-remote" instead of "/usr/local/bin/agent": "${file}" sets ExecStart=`;
      expect(stderr).toContain(problem);
      expect((await sh(server, "agent install --status")).stdout).toContain(problem);
      const again = await sh(server, `rm ${file} && ${restart} && agent install --role=server`);
      expect(again.exitCode, again.stderr).toBe(0);
    },
    LIMIT_MS,
  );

  test(
    "are as they were after agent uninstall, and go on where we were",
    async () => {
      for (const machine of [server, client]) {
        const { exitCode, stdout, stderr } = await sh(machine, "agent uninstall");
        expect(exitCode, `${stdout}${stderr}`).toBe(0);
      }
      await client.run("logger", "by systemd again");
      await isReceived("by systemd again");
      await expectActive(server, REMOTE_SOCKET, REMOTE_UNIT);
      await expectActive(client, UPLOAD_UNIT);
      const { missing, twice } = difference();
      expect(missing).toEqual([]);
      // systemd's sender repeats the entry of its cursor when there is none behind it.
      expect(twice.length).toBeLessThanOrEqual(1);
      for (const [index, machine] of [server, client].entries()) {
        const changed = changedFiles(before[index] ?? new Map(), machine.list());
        // Without --purge, certificates, accounts and what was received stay.
        const kept = /^(etc\/(ssl|passwd|shadow|group|gshadow)|var\/|root\/)/;
        expect(changed.filter((path) => !kept.test(path))).toEqual([]);
      }
      const journals = accessById(server.file(RECEIVED.slice(1)));
      expect(Object.keys(journalsBefore)).not.toBeEmpty();
      expect(journals).toMatchObject(journalsBefore);
    },
    LIMIT_MS,
  );
});

/** Mode and owner of each file, by the id in it: rotation renames files. */
function accessById(directory: string): Record<string, string> {
  const lines = readdirSync(directory).map((name) => {
    const path = join(directory, name);
    const { mode, uid, gid } = statSync(path);
    const id = readFileSync(path).toString("hex", 24, 40);
    return [id, `${(mode & 0o7777).toString(8)} ${uid}:${gid}`] as const;
  });
  return Object.fromEntries(lines);
}

/** Of every entry, in the order of time. */
function identities(directory: string): string[] {
  const names = /^(__REALTIME_TIMESTAMP|__MONOTONIC_TIMESTAMP|_BOOT_ID|MESSAGE)=/;
  return storedEntries(directory)
    .map(({ fields }) => fields.filter((field) => names.test(field)))
    .sort((a, b) => timeOf(a) - timeOf(b))
    .map((fields) => fields.join(" "));
}

function timeOf(fields: readonly string[]): number {
  const field = fields.find((each) => each.startsWith("__REALTIME_TIMESTAMP="));
  return Number(field?.split("=")[1]);
}
