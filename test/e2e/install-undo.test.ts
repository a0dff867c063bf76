/**
 * Issue 5, "what must hold" 5: what was there before is there after `agent uninstall --purge`, and nothing else; and what
 * a second, another and a dry run change.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { useAgentBinary } from "../support/agent-binary.ts";
import { changedFiles } from "../support/file-listing.ts";
import { describeHosts, HOST_SUITES, type HostMachine } from "../support/host-machine.ts";
import {
  expectActive,
  expectArrival,
  HostRig,
  install,
  invocations,
  REMOTE_SOCKET,
  REMOTE_UNIT,
  SERVER_URL,
  sh,
  tryInstall,
  UPLOAD_UNIT,
} from "../support/host-rig.ts";

const LIMIT_MS = 120_000;

const agent = useAgentBinary();
await describeHosts("nothing is left", HOST_SUITES, (suite) => {
  let rig: HostRig;
  beforeAll(async () => {
    rig = await HostRig.open(agent.path);
  });
  afterAll(() => rig[Symbol.asyncDispose](), LIMIT_MS);

  const uninstall = async (machine: HostMachine, options: string): Promise<string> => {
    const { stdout, stderr, exitCode } = await sh(machine, `/opt/agent uninstall ${options}`);
    expect(exitCode, `${stdout}${stderr}`).toBe(0);
    return stderr;
  };
  const users = (machine: HostMachine) => machine.run("sh", "-c", "getent passwd; getent group");
  const loaded = (machine: HostMachine) =>
    machine.run("systemctl", "list-unit-files", "--no-legend");

  test.each([["without"], ["with"]])(
    "of a server and a client %s Debian's package",
    async (which) => {
      await using both = new AsyncDisposableStack();
      const own = both.use(await HostRig.open(agent.path));
      const [server, client] = await Promise.all([
        own.boot({ suite, name: "logs", address: "192.0.2.10" }),
        own.boot({ suite, name: "web1", address: "192.0.2.20" }),
      ]);
      if (which === "with") await server.installStockPackage();
      if (which === "with") await client.installStockPackage();
      // A home of root's own is not ours to clean.
      client.write("root/web1.bundle", "", 0o600);
      const look = async (machine: HostMachine) =>
        [machine.list(), await users(machine), await loaded(machine)] as const;
      const before = [await look(server), await look(client)] as const;
      await own.installServer(server, "--enroll");
      await own.installClient(server, client);
      await expectArrival(client, server, "before its end");
      await client.reboot();
      await server.reboot();
      await expectArrival(client, server, "after a reboot");
      await server.run("rm", "-f", "/root/web1.bundle");
      await uninstall(client, "--purge");
      await uninstall(server, "--purge");
      client.write("root/web1.bundle", "", 0o600);
      const after = [await look(server), await look(client)] as const;
      for (const [index, machine] of [server, client].entries()) {
        const [was, is] = [before[index as 0], after[index as 0]];
        const changed = changedFiles(was[0], is[0]).map(
          (path) => `${machine.name}: ${path}: ${was[0].get(path)} → ${is[0].get(path)}`,
        );
        expect(changed).toEqual([]);
        expect([is[1], is[2]]).toEqual([was[1], was[2]]);
      }
    },
    LIMIT_MS,
  );

  describe("of a server that is also a client", () => {
    let server: HostMachine;
    let bystander: HostMachine;

    beforeAll(async () => {
      [server, bystander] = await Promise.all([
        rig.boot({ suite, name: "logs", address: "192.0.2.60" }),
        rig.boot({ suite, name: "web1", address: "192.0.2.61" }),
      ]);
    }, LIMIT_MS);

    const ALL = [REMOTE_SOCKET, REMOTE_UNIT, UPLOAD_UNIT];

    test(
      "--dry-run shows what would be, and changes nothing",
      async () => {
        const before = server.list();
        const shown = await rig.installServer(server, "--dry-run");
        expect(changedFiles(before, server.list())).toEqual([]);
        for (const what of [
          "/usr/local/bin/agent",
          "0755",
          "/etc/systemd/journal-remote.conf.d/50-agent.conf",
          "0644",
          "systemd-sysusers",
          "systemd-tmpfiles",
          "daemon-reload",
        ])
          expect(shown).toContain(what);
        expect(shown).not.toContain("PRIVATE KEY");
      },
      LIMIT_MS,
    );

    test(
      "a second run changes nothing, says so, and restarts nothing",
      async () => {
        await rig.installServer(server);
        await install(server, `--role=client --server=${SERVER_URL}`);
        await expectActive(server, ...ALL);
        await expectArrival(server, server, "to itself");
        const [before, running] = [server.list(), await invocations(server, ...ALL)];
        const again = [
          await install(server, "--role=server"),
          await rig.installServer(server),
          await install(server, "--role=client"),
        ];
        for (const said of again) expect(said).toMatch(/[Nn]othing (to change|changed|to do)/);
        expect(await invocations(server, ...ALL)).toEqual(running);
        // The check's own entry is received, and the state of the sender goes on.
        const changed = changedFiles(before, server.list());
        expect(
          changed.filter(
            (path) => !/^var\/(log\/journal\/remote|lib\/(private\/)?systemd)/.test(path),
          ),
        ).toEqual([]);
      },
      LIMIT_MS,
    );

    test(
      "changed options change what they must",
      async () => {
        const before = server.list();
        const running = await invocations(server, UPLOAD_UNIT);
        await install(server, "--role=server --port=19533 --no-check");
        const changed = changedFiles(before, server.list());
        expect(changed.filter((path) => path.startsWith("etc/"))).toEqual([
          `etc/systemd/system/${REMOTE_SOCKET}`,
        ]);
        expect(await invocations(server, UPLOAD_UNIT)).toEqual(running);
        const url = "https://logs.example.net:19533";
        await install(server, `--role=client --server=${url}`);
        await expectArrival(server, server, "at another port");
      },
      LIMIT_MS,
    );

    test(
      "the port is changed while clients connect to either",
      async () => {
        await server.run("systemd-run", "--quiet", "--unit=clients", "sh", "-c", CLIENTS);
        for (const port of [19532, 19533, 19532, 19533, 19532, 19533]) {
          await install(server, `--role=server --port=${port} --no-check`);
        }
        await server.run("systemctl", "stop", "clients");
        await expectActive(server, REMOTE_SOCKET, REMOTE_UNIT);
      },
      LIMIT_MS,
    );

    test(
      "a file that was edited by hand stays, but for --force, and then there is a copy",
      async () => {
        const file = "etc/systemd/journal-upload.conf.d/50-agent.conf";
        const mine = `${server.read(file)}# mine\n`;
        server.write(file, mine);
        const options = `--role=client --server=${SERVER_URL} --no-check`;
        const refused = await tryInstall(server, options);
        expect(server.read(file)).toBe(mine);
        expect(`${refused.stderr}${refused.stdout}`).toContain(`/${file}`);
        expect(`${refused.stderr}${refused.stdout}`).toContain("--force");
        await install(server, `${options} --force`);
        expect(server.read(file)).not.toContain("# mine");
        const copies = await server.run("grep", "-rl", "^# mine", "/etc", "/var/lib");
        expect(copies.trim()).not.toBe("");
      },
      LIMIT_MS,
    );

    test(
      "without --purge, what was received is kept, and the rest is gone",
      async () => {
        const kept = await uninstall(server, "");
        expect(kept).toContain("Kept: /var/log/journal/remote (--purge removes it)");
        // It is the distribution's.
        expect(kept).not.toMatch(/account systemd-journal /);
        const received = await sh(server, "ls /var/log/journal/remote/*.journal");
        expect(received.exitCode).toBe(0);
        const left = await sh(server, "ls -d /usr/local/bin/agent /etc/systemd/*/50-agent.conf");
        expect(left.stdout).toBe("");
        await server.run("systemctl", "daemon-reload");
        expect(await server.property(REMOTE_SOCKET, "LoadState")).toBe("not-found");
      },
      LIMIT_MS,
    );

    test(
      "refuses what cannot work, and leaves nothing half-done",
      async () => {
        const before = bystander.list();
        bystander.write("root/broken.bundle", "not a bundle\n", 0o600);
        await bystander.run("systemd-run", "--unit=busy", "sh", "-c", BUSY);
        await bystander.until("ss -ltn | grep -q :19532");
        const cases: [options: string, says: RegExp][] = [
          ["", /need --role=/],
          ["--role=client", /certificate|--bundle|--server/],
          ["--role=client --bundle=broken.bundle", /bundle/],
          ["--role=client --bundle=missing.bundle", /missing\.bundle/],
          ["--role=server --init-ca --name=web1", /19532/],
          ["--role=server --init-ca --name=web1 --port=19540 --prefix=/proc/x", /\/proc\/x/],
        ];
        for (const [options, says] of cases) {
          const { stderr, exitCode } = await tryInstall(bystander, options);
          expect([options, exitCode === 0]).toEqual([options, false]);
          expect(stderr).toMatch(says);
          expect(stderr).not.toMatch(/^ +at /m);
        }
        const asBob = await sh(bystander, "/opt/agent install --role=server --init-ca", "bob");
        expect(asBob.stderr).toMatch(/root/);
        await bystander.run("systemctl", "stop", "busy");
        await bystander.run("rm", "/root/broken.bundle");
        expect(changedFiles(before, bystander.list())).toEqual([]);
      },
      LIMIT_MS,
    );
  });
});

/** Two at a time, over and over, at each port. */
const CLIENTS = `while true; do
  for port in 19532 19533; do
    for n in 1 2; do curl -sk -m 1 -o /dev/null https://127.0.0.1:$port/ & done
  done
  wait
done`;

/** Whoever has it listens at the port. */
const BUSY = "exec systemd-socket-activate --listen=19532 sleep infinity";
