/** Issue 5: an image that is not running, several servers, several namespaces. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { useAgentBinary } from "../support/agent-binary.ts";
import { changedFiles } from "../support/file-listing.ts";
import { describeHosts, type HostMachine } from "../support/host-machine.ts";
import {
  expectActive,
  expectArrival,
  HostRig,
  install,
  makeBundle,
  SERVER_URL,
  UPLOAD_UNIT,
} from "../support/host-rig.ts";

const LIMIT_MS = 120_000;

const agent = useAgentBinary();
await describeHosts("other ways", ["trixie-host"], (suite) => {
  let rig: HostRig;
  let server: HostMachine;
  let second: HostMachine;
  beforeAll(async () => {
    rig = await HostRig.open(agent.path);
    [server, second] = await Promise.all([
      rig.boot({ suite, name: "logs", address: "192.0.2.10" }),
      rig.boot({ suite, name: "logs2", address: "192.0.2.11" }),
    ]);
    await rig.installServer(server);
  }, LIMIT_MS);
  afterAll(() => rig[Symbol.asyncDispose](), LIMIT_MS);

  test(
    "an image is set up with --root, boots, and sends; and is as before after uninstall",
    async () => {
      const image = await rig.make({
        suite,
        name: "image",
        address: "192.0.2.20",
        files: { "root/image.bundle": await makeBundle(server, "image") },
      });
      const before = image.list();
      const here = async (...words: string[]) => {
        const command = image.outside(agent.path, ...words, `--root=${image.rootPath}`);
        const child = Bun.spawn(command, { stdio: ["ignore", "ignore", "pipe"] });
        const stderr = await new Response(child.stderr).text();
        expect(await child.exited, `${words.join(" ")}: ${stderr}`).toBe(0);
      };
      const bundle = `--bundle=${image.rootPath}/root/image.bundle`;
      await here("install", "--role=client", bundle);
      expect(changedFiles(before, image.list())).toContain("usr/local/bin/agent");
      await here("uninstall", "--purge");
      expect(changedFiles(before, image.list())).toEqual([]);
      await here("install", "--role=client", bundle);
      await image.boot();
      await expectActive(image, UPLOAD_UNIT);
      await expectArrival(image, server, "from an image");
    },
    LIMIT_MS,
  );

  test(
    "a client sends to two servers, and the journals of namespaces, too",
    async () => {
      // One authority for both.
      await server.run("agent", "certs", "issue", "logs2", "logs2.example.net", "--role=server");
      rig.network.name("logs2.example.net", second.address);
      second.write("root/logs2.bundle", await readBundle(server, "logs2"), 0o600);
      await install(second, "--role=server --bundle=logs2.bundle");

      const client = await rig.boot({
        suite,
        name: "web1",
        address: "192.0.2.21",
        files: { "etc/systemd/system/extra.service": EXTRA },
      });
      client.write("root/web1.bundle", await makeBundle(server, "web1"), 0o600);
      const servers = `--server=${SERVER_URL} --server=https://logs2.example.net:19532`;
      const more = `${servers} --targets=mirror --namespace=extra`;
      await install(client, `--role=client --bundle=web1.bundle ${more}`);
      await expectArrival(client, server, "to both");
      const search = "journalctl -q --file='/var/log/journal/remote/remote-web1*.journal'";
      await second.until(`${search} MESSAGE='to both' | grep -q .`);
      await client.run("systemctl", "start", "extra");
      for (const each of [server, second]) {
        await each.until(
          `journalctl -q --directory=/var/log/journal/remote | grep -q 'from extra'`,
        );
      }
      await client.reboot();
      await expectActive(client, UPLOAD_UNIT, "systemd-journal-upload@extra.service");

      await install(client, "--role=client --no-namespace");
      await expectActive(client, UPLOAD_UNIT);
      const units = await client.run("systemctl", "list-units", "--all", "--plain", "--no-legend");
      expect(units).not.toContain("systemd-journal-upload@extra");
      await expectArrival(client, server, "without the namespace");
    },
    LIMIT_MS,
  );
});

const EXTRA = `[Service]
Type=oneshot
LogNamespace=extra
ExecStart=echo from extra
`;

async function readBundle(server: HostMachine, name: string): Promise<string> {
  const file = `/root/${name}.bundle`;
  await server.run("agent", "certs", "bundle", name, `--output=${file}`);
  return server.read(file);
}
