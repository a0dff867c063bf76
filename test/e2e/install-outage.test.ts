/**
 * Issue 5, "what must hold" 3: the server is rebooted, stopped for two minutes, loses its power, moves to another address
 * behind the same name. Clients come back by themselves, and nothing is missing or there twice.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { useAgentBinary } from "../support/agent-binary.ts";
import { compareJournals } from "../support/entry-digests.ts";
import { describeHosts, type HostMachine } from "../support/host-machine.ts";
import {
  expectActive,
  expectArrival,
  HostRig,
  REMOTE_SOCKET,
  REMOTE_UNIT,
  UPLOAD_UNIT,
} from "../support/host-rig.ts";

const LIMIT_MS = 240_000;
const STOPPED_MS = 120_000;
/** A client that waits tries again within a minute. */
const BACK_MS = 90_000;
/** NAME: a line now and then, until it is killed. */
const LOAD = `i=0; while true; do logger -t "load" "$1 $i"; i=$((i + 1)); sleep 0.05; done`;

const agent = useAgentBinary();
await describeHosts("a server that is away", ["bookworm-host"], () => {
  const owned = new AsyncDisposableStack();
  let rig: HostRig;
  let server: HostMachine;
  let client: HostMachine;

  beforeAll(async () => {
    rig = owned.use(await HostRig.open(agent.path));
    [server, client] = await Promise.all([
      rig.boot({ suite: "bookworm-host", name: "logs", address: "192.0.2.10" }),
      rig.boot({ suite: "trixie-host", name: "web1", address: "192.0.2.20" }),
    ]);
    await rig.installServer(server);
    await rig.installClient(server, client);
    await expectArrival(client, server, "it works");
    await client.run("systemd-run", "--unit=load", "sh", "-c", LOAD, "load", "message");
  }, LIMIT_MS);
  afterAll(() => owned.disposeAsync(), LIMIT_MS);

  /** @returns how long it took until what was logged after the return arrived, in milliseconds */
  async function comesBack(what: string): Promise<void> {
    const tookMs = await expectArrival(client, server, `back: ${what}`, BACK_MS);
    console.log(`after ${what}: back within ${tookMs | 0} ms`);
  }

  test(
    "rebooted",
    async () => {
      await server.reboot();
      await comesBack("a reboot");
    },
    LIMIT_MS,
  );

  test(
    "moved to another address behind the same name",
    async () => {
      server.moveTo("192.0.2.11");
      rig.network.name("logs.example.net", server.address);
      await comesBack("a move");
    },
    LIMIT_MS,
  );

  test(
    "without power for a moment",
    async () => {
      await server.kill();
      await Bun.sleep(3000);
      await server.boot();
      await comesBack("a loss of power");
    },
    LIMIT_MS,
  );

  test(
    "stopped for two minutes",
    async () => {
      await server.run("systemctl", "stop", REMOTE_SOCKET, REMOTE_UNIT);
      await Bun.sleep(STOPPED_MS);
      await server.run("systemctl", "start", REMOTE_SOCKET);
      await comesBack("two minutes");
    },
    LIMIT_MS,
  );

  test(
    "in the end, both ends have the same entries",
    async () => {
      await client.run("systemctl", "stop", "load");
      await expectActive(client, UPLOAD_UNIT);
      expect(await client.property(UPLOAD_UNIT, "NRestarts")).toBe("0");
      await expectArrival(client, server, "the end");
      // systemd may say something meanwhile.
      await client.run("systemctl", "stop", "--no-block", UPLOAD_UNIT);
      await client.until(`! systemctl is-active --quiet ${UPLOAD_UNIT}`);
      await client.run("systemctl", "start", UPLOAD_UNIT);
      const differences = (): string[] =>
        compareJournals(
          server.file("var/log/journal/remote"),
          client.file(`var/log/journal/${client.machineId}`),
        );
      const deadlineMs = performance.now() + 10_000;
      while (differences().length > 0 && performance.now() < deadlineMs) await Bun.sleep(500);
      expect(differences()).toEqual([]);
    },
    LIMIT_MS,
  );
});
