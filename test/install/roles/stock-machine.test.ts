/** --daemon=systemd, made on booted Debian hosts: systemd's own programs send and receive over https. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { clientPlan } from "../../../src/install/roles/client.ts";
import { serverPlan } from "../../../src/install/roles/server.ts";
import { describeHosts, HOST_SUITES, HostMachine } from "../../support/host-machine.ts";
import { HostNetwork } from "../../support/host-network.ts";
import {
  clientOptions,
  findReceived,
  hostFacts,
  placeCertificates,
  SYSTEMD_VERSIONS,
  serverOptions,
  setUp,
} from "../../support/planned-machine.ts";
import { TestPki } from "../../support/tls.ts";

const LIMIT_MS = 120_000;

await describeHosts("stock programs", HOST_SUITES, (suite) => {
  const owned = new AsyncDisposableStack();
  let machine: HostMachine;

  beforeAll(async () => {
    const pki = owned.use(new TestPki());
    const network = owned.use(await HostNetwork.open());
    const address = "192.0.2.1";
    machine = owned.use(await HostMachine.boot({ suite, network, name: "web1", address }));
    await machine.installStockPackage();
    placeCertificates(machine, pki);
    const facts = hostFacts(SYSTEMD_VERSIONS[suite], true);
    await setUp(machine, serverPlan(serverOptions({ daemon: "systemd" }), facts));
    await setUp(machine, clientPlan(clientOptions({ daemon: "systemd" }), facts));
  }, LIMIT_MS);
  afterAll(() => owned.disposeAsync(), LIMIT_MS);

  test(
    "entries arrive",
    async () => {
      await machine.run("logger", "hello from the stock sender");
      await machine.until(findReceived("hello from the stock sender"), 30_000);
      const command = await machine.property("systemd-journal-upload.service", "ExecStart");
      expect(command).toContain("path=/usr/lib/systemd/systemd-journal-upload ;");
    },
    LIMIT_MS,
  );

  test(
    "a sender whose receiver is away is started again and again, until it is back",
    async () => {
      await machine.run("systemctl", "stop", "systemd-journal-remote.socket");
      const restarts = "systemctl show --value --property=NRestarts systemd-journal-upload";
      await machine.run("logger", "while it is away");
      await machine.until(`test $(${restarts}) -ge 2`, 30_000);
      await machine.run("systemctl", "start", "systemd-journal-remote.socket");
      await machine.until(findReceived("while it is away"), 60_000);
    },
    LIMIT_MS,
  );

  test("systemd has nothing to say about the drop-ins", async () => {
    const units = ["systemd-journal-remote.socket", "systemd-journal-upload.service"];
    const verify = ["systemd-analyze", "verify", "--man=no", ...units];
    const { stdout, stderr, exitCode } = await machine.tryRun(verify);
    expect([exitCode, `${stdout}${stderr}`]).toEqual([0, ""]);
  });
});
