/** What the plans say, made on booted Debian hosts: whole units, and drop-ins of those of Debian's package. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { clientPlan } from "../../../src/install/roles/client.ts";
import { serverPlan } from "../../../src/install/roles/server.ts";
import { useAgentBinary } from "../../support/agent-binary.ts";
import { describeHosts, HOST_SUITES, HostMachine } from "../../support/host-machine.ts";
import { HostNetwork } from "../../support/host-network.ts";
import {
  certificatePlaces,
  clientOptions,
  findReceived,
  hostFacts,
  LISTS,
  placeCertificates,
  SYSTEMD_VERSIONS,
  serverOptions,
  setUp,
} from "../../support/planned-machine.ts";
import { TestPki } from "../../support/tls.ts";

const LIMIT_MS = 120_000;
const RECEIVER = "systemd-journal-remote.service";
const SERVICES = [
  RECEIVER,
  "systemd-journal-upload.service",
  "systemd-journal-upload@extra.service",
];
/** For lines of the program's own namespace. */
const NAMESPACED = "[Service]\nType=oneshot\nLogNamespace=extra\nExecStart=echo from a namespace\n";
const EXPOSURE_MAX = 1.5;
/** Of less that can be said to systemd 239. */
const OLD_EXPOSURE_MAX = 1.7;
/** What systemd says of any service in a container with cgroups of version 1, not of its unit. */
const CONTAINER_REMARKS = /compat systemd cgroup|kill control group/;

const agent = useAgentBinary();

/** Both roles on one machine. Its units may be those for an older version than runs: newer ones know them as well. */
function testRoles(title: string, exposureMax: number, makeMachine: () => Promise<Rig>): void {
  describe(title, () => {
    const owned = new AsyncDisposableStack();
    let machine: HostMachine;
    beforeAll(async () => {
      const rig = owned.use(await makeMachine());
      machine = rig.machine;
    }, LIMIT_MS);
    afterAll(() => owned.disposeAsync(), LIMIT_MS);

    test(
      "entries of both namespaces arrive",
      async () => {
        await machine.run("systemctl", "start", "namespaced.service");
        await machine.run("logger", "hello from the tests");
        for (const message of ["hello from the tests", "from a namespace"]) {
          await machine.until(findReceived(message));
        }
      },
      LIMIT_MS,
    );

    test(
      "services are up, tell their status, and feed a watchdog",
      async () => {
        for (const unit of SERVICES) {
          const shown = ["ActiveState", "NRestarts", "Type", "WatchdogUSec", "Restart"];
          const values = await Promise.all(shown.map((name) => machine.property(unit, name)));
          expect([unit, ...values]).toEqual([unit, "active", "0", "notify", "3min", "always"]);
          expect(await machine.property(unit, "LimitNOFILE")).toBe("524288");
          expect(await machine.property(unit, "StartLimitIntervalUSec")).toBe("0");
          await machine.until(
            `systemctl show --value --property=StatusText ${unit} | grep -E "connections|up to date"`,
          );
        }
      },
      LIMIT_MS,
    );

    test(
      "the sandbox is what it is to be, as systemd itself finds",
      async () => {
        for (const unit of SERVICES) {
          const analysis = await machine.run("systemd-analyze", "security", "--no-pager", unit);
          const [, exposure] = /exposure level for \S+: (\d+\.\d+)/.exec(analysis) ?? [];
          expect(Number(exposure ?? "NaN")).toBeLessThanOrEqual(exposureMax);
          const pid = await machine.property(unit, "MainPID");
          const status = await machine.run("cat", `/proc/${pid}/status`);
          expect(status).toMatch(/^CapEff:\t0+$/m);
          expect(status).toMatch(/^NoNewPrivs:\t1$/m);
          const users = await machine.run("cat", `/proc/${pid}/uid_map`);
          expect(users.trim().split("\n")).toHaveLength(2);
        }
      },
      LIMIT_MS,
    );

    test(
      "received journals are for members of systemd-journal, keys for nobody",
      async () => {
        const read = "journalctl --quiet --directory=/var/log/journal/remote --lines=1";
        const asUser = async (user: string, script: string) =>
          (await machine.tryRun(["sh", "-c", script], { user })).stdout !== "";
        expect(await asUser("alice", read)).toBe(true);
        expect(await asUser("bob", read)).toBe(false);
        const keys = "cat /etc/ssl/journal-agent/*/key.pem /run/credentials/*/key.pem";
        const copies = "cat /run/systemd-journal-*/key.pem";
        for (const user of ["alice", "bob"]) {
          for (const script of [keys, copies]) expect(await asUser(user, script)).toBe(false);
        }
        const modes = await machine.run("stat", "--format=%a %U %G", "/var/log/journal/remote");
        expect(modes).toBe("2755 systemd-journal-remote systemd-journal\n");
      },
      LIMIT_MS,
    );

    test(
      "systemd has nothing to say about the units",
      async () => {
        const verify = ["systemd-analyze", "verify", "--man=no"];
        const units = ["systemd-journal-remote.socket", ...SERVICES];
        const { stdout, stderr, exitCode } = await machine.tryRun([...verify, ...units]);
        expect([exitCode, `${stdout}${stderr}`]).toEqual([0, ""]);
        const log = await machine.run("journalctl", "--quiet", "--boot", "--output=cat");
        const remarks = log.split("\n").filter((line) => /journal-(remote|upload)/.test(line));
        const complaints = remarks
          .filter((line) => /Failed|Unknown|ignoring|proceeding/i.test(line))
          .filter((line) => !CONTAINER_REMARKS.test(line));
        expect(complaints).toEqual([]);
      },
      LIMIT_MS,
    );

    test(
      "a service that is killed is started again, and senders with it",
      async () => {
        for (const round of [1, 2]) {
          await machine.run("kill", "-KILL", await machine.property(RECEIVER, "MainPID"));
          const restarts = `systemctl show --value --property=NRestarts ${RECEIVER}`;
          await machine.until(`${restarts} | grep --line-regexp ${round}`);
          await machine.until(`systemctl is-active ${RECEIVER}`);
        }
        await machine.run("logger", "after the kill");
        await machine.until(findReceived("after the kill"));
      },
      LIMIT_MS,
    );

    test(
      "the socket takes the service along when it is stopped, and both start again",
      async () => {
        const before = await machine.property(RECEIVER, "MainPID");
        // Not "restart": while clients connect, systemd may find the port still taken by the service.
        await machine.run("systemctl", "stop", "systemd-journal-remote.socket");
        await machine.until(`systemctl is-active ${RECEIVER} | grep -q inactive`);
        await machine.run("systemctl", "start", "systemd-journal-remote.socket", RECEIVER);
        await machine.until(`systemctl is-active ${RECEIVER}`);
        expect(await machine.property(RECEIVER, "MainPID")).not.toBe(before);
      },
      LIMIT_MS,
    );

    test(
      "all is up again after a new boot",
      async () => {
        await machine.reboot();
        for (const unit of SERVICES) await machine.until(`systemctl is-active ${unit}`);
        await machine.run("logger", "after the boot");
        await machine.until(findReceived("after the boot"));
      },
      LIMIT_MS,
    );
  });
}

interface Rig extends AsyncDisposable {
  machine: HostMachine;
}

await describeHosts("plans of roles", HOST_SUITES, (suite) => {
  const make = (hasPackage: boolean, systemdVersion: number) => async (): Promise<Rig> => {
    await using owned = new AsyncDisposableStack();
    const pki = owned.use(new TestPki());
    const network = owned.use(await HostNetwork.open());
    const machine = owned.use(
      await HostMachine.boot({
        suite,
        network,
        name: "web1",
        address: "192.0.2.1",
        bind: { [agent.path]: "/opt/bin/agent" },
        files: { "etc/systemd/system/namespaced.service": NAMESPACED },
      }),
    );
    if (hasPackage) await machine.installStockPackage();
    placeCertificates(machine, pki);
    const facts = hostFacts(systemdVersion, hasPackage);
    const certificates = { ...certificatePlaces("server"), lists: LISTS };
    await setUp(machine, serverPlan(serverOptions({ certificates }), facts));
    await setUp(machine, clientPlan(clientOptions({ namespaces: ["extra"] }), facts));
    const kept = owned.move();
    return { machine, [Symbol.asyncDispose]: () => kept.disposeAsync() };
  };
  const version = SYSTEMD_VERSIONS[suite];
  testRoles(`whole units, systemd ${version}`, EXPOSURE_MAX, make(false, version));
  testRoles(`drop-ins, systemd ${version}`, EXPOSURE_MAX, make(true, version));
  if (suite === "trixie-host") {
    testRoles("whole units as for systemd 239", OLD_EXPOSURE_MAX, make(false, 239));
  }
});
