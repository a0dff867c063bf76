/** Issue 5, "what must hold" 4 and 6: who may read what, and what systemd finds in our units. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { useAgentBinary } from "../support/agent-binary.ts";
import { describeHosts, HOST_SUITES, type HostMachine } from "../support/host-machine.ts";
import {
  expectArrival,
  HostRig,
  install,
  RECEIVED,
  REMOTE_SOCKET,
  REMOTE_UNIT,
  sh,
  UPLOAD_UNIT,
} from "../support/host-rig.ts";

const LIMIT_MS = 120_000;
const EXPOSURE_MAX = 1.5;

const agent = useAgentBinary();
await describeHosts("who may do what", HOST_SUITES, (suite) => {
  const owned = new AsyncDisposableStack();
  let server: HostMachine;
  let client: HostMachine;

  beforeAll(async () => {
    const rig = owned.use(await HostRig.open(agent.path));
    [server, client] = await rig.bootPair(suite);
    await rig.installServer(server, "--enroll");
    await rig.installClient(server, client);
    // A server may send its own, too.
    await install(server, `--role=client --server=https://logs.example.net:19532 --name=logs`);
    await expectArrival(client, server, "it works");
  }, LIMIT_MS);
  afterAll(() => owned.disposeAsync(), LIMIT_MS);

  test("a member of systemd-journal reads what was received, another user does not", async () => {
    const read = (user: string) =>
      sh(server, `journalctl -q --directory=${RECEIVED} MESSAGE='it works'`, user);
    const mine = await read("alice");
    expect([mine.exitCode, mine.stderr]).toEqual([0, ""]);
    expect(mine.stdout).toContain("it works");
    expect((await read("bob")).stdout).toBe("");
    expect((await sh(server, `cat ${RECEIVED}/*`, "bob")).exitCode).not.toBe(0);
    expect((await sh(server, `touch ${RECEIVED}/x`, "alice")).exitCode).not.toBe(0);
  });

  test("neither of them reads a private key, on either host, wherever it is", async () => {
    const search = "grep -rl -a 'PRIVATE KEY' /etc /var /run /root /opt/p* /usr/local/etc /home";
    for (const machine of [server, client]) {
      const keys = (await sh(machine, `${search} 2>/dev/null`)).stdout;
      expect(keys).toContain("/etc/ssl/");
      for (const user of ["alice", "bob"]) {
        expect((await sh(machine, `${search} 2>/dev/null`, user)).stdout).toBe("");
        const { stdout } = await sh(machine, `cat /proc/[0-9]*/environ 2>/dev/null`, user);
        expect(stdout).not.toContain("PRIVATE KEY");
      }
    }
  });

  test("the services run as users of their own, who are in no group that matters", async () => {
    const identity = async (machine: HostMachine, unit: string): Promise<string[]> => {
      const pid = await machine.property(unit, "MainPID");
      const words = await machine.run("ps", "-o", "uid=,supgrp:100=", "-p", pid);
      return words.trim().split(/[\s,]+/);
    };
    const [remoteId, ...remoteGroups] = await identity(server, REMOTE_UNIT);
    expect(remoteId).toBe((await server.run("id", "-u", "systemd-journal-remote")).trim());
    expect(remoteGroups).not.toContain("systemd-journal");
    const [uploadId, ...uploadGroups] = await identity(client, UPLOAD_UNIT);
    // Those of DynamicUser=.
    expect(Number(uploadId)).toBeGreaterThanOrEqual(61_184);
    expect(Number(uploadId)).toBeLessThanOrEqual(65_519);
    expect(uploadGroups).toContain("systemd-journal");
  });

  test(
    "systemd finds them little exposed, and nothing wrong with them",
    async () => {
      for (const [machine, unit] of [
        [server, REMOTE_UNIT],
        [client, UPLOAD_UNIT],
      ] as const) {
        const report = await machine.run("systemd-analyze", "security", "--no-pager", unit);
        const [, exposure = "none"] =
          /Overall exposure level for \S+: ([0-9.]+) /.exec(report) ?? [];
        console.log(`${suite}: exposure of ${unit}: ${exposure}`);
        expect(Number(exposure), report).toBeLessThanOrEqual(EXPOSURE_MAX);
      }
      for (const machine of [server, client]) {
        const units = (await machine.run("sh", "-c", OWN_UNITS)).trim().split("\n");
        expect(units).toContain(machine === server ? REMOTE_SOCKET : UPLOAD_UNIT);
        const { stdout, stderr, exitCode } = await machine.tryRun([
          "systemd-analyze",
          "verify",
          ...units,
        ]);
        expect([units, stdout, stderr, exitCode]).toEqual([units, "", "", 0]);
      }
    },
    LIMIT_MS,
  );
});

/** Instances of templates, since a template cannot be verified. */
const OWN_UNITS = `cd /etc/systemd/system
ls -d systemd-journal-* journal-agent-* | sed -E 's/\\.d$//; s/@\\./@1./' | grep -vE '\\.wants$' | sort -u`;
