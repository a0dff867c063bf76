/** The machines of the installation's tests, without anything of ours: what is seen in those tests is not theirs. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { changedFiles } from "../support/file-listing.ts";
import { describeHosts, HOST_SUITES, HostMachine } from "../support/host-machine.ts";
import { HostNetwork } from "../support/host-network.ts";

const LIMIT_MS = 60_000;
const LOST = /timed? ?out|No route to host|Couldn't connect|Could not connect/i;

await describeHosts("two machines", HOST_SUITES, (suite) => {
  const owned = new AsyncDisposableStack();
  let network: HostNetwork;
  let server: HostMachine;
  let client: HostMachine;

  beforeAll(async () => {
    network = owned.use(await HostNetwork.open());
    const boot = async (name: string, address: string): Promise<HostMachine> =>
      owned.use(await HostMachine.boot({ suite, network, name, address }));
    [server, client] = await Promise.all([boot("logs", "192.0.2.10"), boot("web1", "192.0.2.20")]);
  }, LIMIT_MS);
  afterAll(() => owned.disposeAsync(), LIMIT_MS);

  test(
    "change no file of theirs by themselves, beyond what is known, through a reboot",
    async () => {
      const before = client.list();
      await client.reboot();
      expect(changedFiles(before, client.list())).toEqual([]);
    },
    LIMIT_MS,
  );

  test(
    "a stock sender reaches a stock receiver by name",
    async () => {
      await Promise.all([server.installStockPackage(), client.installStockPackage()]);
      const listen = "[Service]\nExecStart=\nExecStart=/lib/systemd/systemd-journal-remote";
      const args = "--listen-http=-3 --output=/var/log/journal/remote/";
      server.write(
        "etc/systemd/system/systemd-journal-remote.service.d/t.conf",
        `${listen} ${args}`,
      );
      client.write(
        "etc/systemd/journal-upload.conf",
        "[Upload]\nURL=http://logs.example.net:19532\n",
      );
      client.write(
        "etc/systemd/system/systemd-journal-upload.service.d/t.conf",
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=always\nRestartSec=100ms\n",
      );
      network.name("logs.example.net", server.address);
      await server.run("systemctl", "daemon-reload");
      await client.run("systemctl", "daemon-reload");
      await server.run("systemctl", "enable", "--now", "systemd-journal-remote.socket");
      await client.run("systemctl", "enable", "--now", "systemd-journal-upload");
      const receives = async (message: string): Promise<void> => {
        await client.run("logger", message);
        await server.until(
          `journalctl --directory=/var/log/journal/remote _HOSTNAME=web1 | grep -q '${message}'`,
        );
      };
      await receives("at first");
    },
    LIMIT_MS,
  );

  test(
    "a machine moves behind its name, is cut off, loses its power, and is there again",
    async () => {
      const ask = async (url: string): Promise<string> =>
        (await client.tryRun(["curl", "-sS", "--connect-timeout", "1", url])).stderr;
      const url = "http://logs.example.net:19532/";
      expect(await ask(url)).toBe("");
      server.moveTo("192.0.2.11");
      expect(await ask(url)).toMatch(LOST);
      network.name("logs.example.net", server.address);
      expect(await ask(url)).toBe("");
      server.cutOff();
      expect(await ask(url)).toMatch(LOST);
      server.reconnect();
      expect(await ask(url)).toBe("");
      await server.kill();
      expect(await ask(url)).toMatch(LOST);
      await server.boot();
      expect(await ask(url)).toBe("");
    },
    LIMIT_MS,
  );

  test("its users are those of a host", async () => {
    const groups = async (user: string) =>
      (await client.tryRun(["groups"], { user })).stdout.trim();
    expect([await groups("alice"), await groups("bob")]).toEqual(["alice systemd-journal", "bob"]);
  });
});
