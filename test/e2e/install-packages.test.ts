/**
 * Issue 5, "what must hold" 2: beside the distribution's package of the journal programs, and for hosts that keep running
 * these. That the package is not needed is seen in install-short-path.test.ts.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { useAgentBinary } from "../support/agent-binary.ts";
import { describeHosts, type HostMachine } from "../support/host-machine.ts";
import {
  expectActive,
  expectArrival,
  HostRig,
  install,
  makeBundle,
  REMOTE_SOCKET,
  REMOTE_UNIT,
  tryInstall,
  UPLOAD_UNIT,
} from "../support/host-rig.ts";

const LIMIT_MS = 120_000;
const STOCK = /^\{ path=\/(usr\/)?lib\/systemd\/systemd-journal-/;
const OURS = /^\{ path=\/usr\/local\/bin\/agent /;

const agent = useAgentBinary();
await describeHosts("with Debian's package", ["bookworm-host"], () => {
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
    await Promise.all([server.installStockPackage(), client.installStockPackage()]);
  }, LIMIT_MS);
  afterAll(() => owned.disposeAsync(), LIMIT_MS);

  test(
    "its units run our program by drop-ins, and what it had configured stays",
    async () => {
      const config = client.read("etc/systemd/journal-upload.conf");
      await rig.installServer(server);
      await rig.installClient(server, client);
      await expectActive(server, REMOTE_SOCKET, REMOTE_UNIT);
      await expectActive(client, UPLOAD_UNIT);
      for (const [machine, unit] of [
        [server, REMOTE_SOCKET],
        [server, REMOTE_UNIT],
        [client, UPLOAD_UNIT],
      ] as const) {
        expect(await machine.property(unit, "FragmentPath")).toMatch(/^\/(usr\/)?lib\/systemd\//);
        expect(await machine.property(unit, "DropInPaths")).toBe(
          `/etc/systemd/system/${unit}.d/50-agent.conf`,
        );
      }
      const status = await client.run("systemctl", "status", "--no-pager", UPLOAD_UNIT);
      expect(status).toMatch(/^ +Drop-In: \/etc\/systemd\/system\/[^\n]*\n +└─50-agent\.conf$/m);
      expect(await server.property(REMOTE_UNIT, "ExecStart")).toMatch(OURS);
      expect(await client.property(UPLOAD_UNIT, "ExecStart")).toMatch(OURS);
      expect(client.read("etc/systemd/journal-upload.conf")).toBe(config);
      await expectArrival(client, server, "by drop-ins");
    },
    LIMIT_MS,
  );

  test(
    "a host that keeps systemd's own sender is set up by --daemon=systemd",
    async () => {
      const third = await rig.boot({
        suite: "trixie-host",
        name: "third",
        address: "192.0.2.30",
      });
      third.write("root/third.bundle", await makeBundle(server, "third"), 0o600);
      const command = "--role=client --daemon=systemd --bundle=third.bundle";
      const refused = await tryInstall(third, command);
      expect(refused.exitCode).not.toBe(0);
      expect(refused.stderr).toContain("apt install systemd-journal-remote");

      await third.installStockPackage();
      await install(third, command);
      expect(await third.property(UPLOAD_UNIT, "ExecStart")).toMatch(STOCK);
      expect(await third.property(UPLOAD_UNIT, "Restart")).toBe("always");
      await expectArrival(third, server, "from the stock sender");
      await third.reboot();
      await expectArrival(third, server, "and after a reboot");
    },
    LIMIT_MS,
  );

  test(
    "a host that keeps systemd's own receiver is set up so, and receives from us",
    async () => {
      const stock = await rig.boot({
        suite: "bookworm-host",
        name: "stock",
        address: "192.0.2.40",
      });
      await stock.installStockPackage();
      rig.network.name("stock.example.net", stock.address);
      const names = "--name=stock --san=DNS:stock.example.net";
      const said = await tryInstall(stock, `--role=server --daemon=systemd --init-ca ${names}`);
      expect(said.exitCode, `${said.stderr}${said.stdout}`).toBe(0);
      // Debian's is built without GnuTLS.
      expect(`${said.stderr}${said.stdout}`).toMatch(/does not check|cannot check/);
      expect(await stock.property(REMOTE_UNIT, "ExecStart")).toMatch(STOCK);

      const sender = await rig.boot({
        suite: "bookworm-host",
        name: "sender",
        address: "192.0.2.50",
      });
      await stock.run("agent", "certs", "issue", "sender");
      const url = "--server=https://stock.example.net:19532";
      await stock.run("agent", "certs", "bundle", "sender", url, "--output=/root/sender.bundle");
      sender.write("root/sender.bundle", stock.read("root/sender.bundle"), 0o600);
      await install(sender, "--role=client --bundle=sender.bundle");
      await sender.run("logger", "to systemd's own receiver");
      const search = "journalctl -q --directory=/var/log/journal/remote _HOSTNAME=sender";
      await stock.until(`${search} | grep -q "to systemd's own receiver"`);
      await stock.reboot();
      await sender.run("logger", "once more to it");
      await stock.until(`${search} | grep -q "once more to it"`, 60_000);
    },
    LIMIT_MS,
  );
});
