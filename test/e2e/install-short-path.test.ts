/** Issue 5, "what must hold" 1: one command on the server, one on the client, and the journal is there. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { useAgentBinary } from "../support/agent-binary.ts";
import { describeHosts, HOST_SUITES, type HostMachine } from "../support/host-machine.ts";
import {
  expectActive,
  expectArrival,
  HostRig,
  REMOTE_SOCKET,
  REMOTE_UNIT,
  SERVER_URL,
  sh,
  UPLOAD_UNIT,
} from "../support/host-rig.ts";

const LIMIT_MS = 120_000;
const FIRST_ENTRIES_MS = 30_000;
const ARRIVAL_MS = 2000;
/** Of systemd's own, one or the other fails now and then in a container. */
const OUR_UNITS = ["systemd-journal-remote*", "systemd-journal-upload*", "journal-agent-*"];

const agent = useAgentBinary();
await describeHosts("the short path", HOST_SUITES, (suite) => {
  const owned = new AsyncDisposableStack();
  let server: HostMachine;
  let client: HostMachine;

  beforeAll(async () => {
    const rig = owned.use(await HostRig.open(agent.path));
    [server, client] = await rig.bootPair(suite);
  }, LIMIT_MS);
  afterAll(() => owned.disposeAsync(), LIMIT_MS);

  async function run(machine: HostMachine, command: string): Promise<string> {
    const { stdout, stderr, exitCode } = await sh(machine, command);
    expect({ command, exitCode, stderr }).toEqual({ command, exitCode: 0, stderr: "" });
    return stdout;
  }

  test(
    "a command on the server and one on the client: the client's entries are there",
    async () => {
      const names = "--name=logs --san=DNS:logs.example.net,IP:192.0.2.10";
      const made = await run(server, `/opt/agent install --role=server --init-ca ${names}`);
      expect(made).toContain("agent certs issue");
      await run(server, "agent certs issue web1");
      await run(server, `agent certs bundle web1 --server=${SERVER_URL} --output=web1.bundle`);
      client.write("root/web1.bundle", server.read("root/web1.bundle"), 0o600);
      const startMs = performance.now();
      await run(client, "/opt/agent install --role=client --bundle=web1.bundle");
      const files = "/var/log/journal/remote/remote-web1.journal";
      await server.until(`journalctl -q --file=${files} _HOSTNAME=web1 | grep -q .`);
      const tookMs = performance.now() - startMs;
      expect(tookMs).toBeLessThan(FIRST_ENTRIES_MS);
      const lagMs = await expectArrival(client, server, "the first message");
      expect(lagMs).toBeLessThan(ARRIVAL_MS);
      console.log(
        `${suite}: client's entries there after ${tookMs | 0} ms; then logger: ${lagMs | 0} ms`,
      );
    },
    LIMIT_MS,
  );

  async function expectStatus(): Promise<void> {
    // It complains when a process ends while it lists them.
    const remote = await server.run("systemctl", "status", "--no-pager", "systemd-journal-remote");
    expect(remote).toMatch(/^ +Active: active \(running\)/m);
    expect(remote).toMatch(/^TriggeredBy: ● systemd-journal-remote\.socket$/m);
    const upload = await client.run("systemctl", "status", "--no-pager", "systemd-journal-upload");
    expect(upload).toMatch(/^ +Active: active \(running\)/m);
    await expectActive(server, REMOTE_UNIT, REMOTE_SOCKET);
    for (const machine of [server, client]) {
      const failed = ["systemctl", "list-units", "--state=failed", "--no-legend", ...OUR_UNITS];
      expect(await machine.run(...failed)).toBe("");
    }
    expect(await client.property(UPLOAD_UNIT, "NRestarts")).toBe("0");
    expect(await server.property(REMOTE_UNIT, "NRestarts")).toBe("0");
  }

  test("their status is that of a service and its socket", expectStatus, LIMIT_MS);

  test(
    "both come up again after a reboot of each, and what is logged appears at once",
    async () => {
      await server.reboot();
      await client.reboot();
      const startMs = performance.now();
      await expectArrival(client, server, "after the reboots", FIRST_ENTRIES_MS);
      const backMs = performance.now() - startMs;
      await expectStatus();
      const lagMs = await expectArrival(client, server, "and again");
      expect(lagMs).toBeLessThan(ARRIVAL_MS);
      console.log(`${suite}: after reboots: ${backMs | 0} ms; then logger: ${lagMs | 0} ms`);
    },
    LIMIT_MS,
  );
});
