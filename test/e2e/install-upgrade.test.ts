/** Issue 5: another program in the place of the installed one, and the former one back when it does not work. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { useAgentBinary } from "../support/agent-binary.ts";
import { describeHosts, type HostMachine } from "../support/host-machine.ts";
import { expectArrival, HostRig, REMOTE_UNIT, sh, UPLOAD_UNIT } from "../support/host-rig.ts";
import { TempDir } from "../support/temp-dir.ts";

const LIMIT_MS = 120_000;
/** ELF's e_ident: padding, which nobody reads. */
const PADDING_OFFSET = 15;
/** Says what an agent says, and does nothing. */
const IMPOSTOR =
  'if (process.argv[2] === "--version") console.log("agent 9.9.9"); else process.exit(1);';

const agent = useAgentBinary();
await describeHosts("an upgrade", ["bookworm-host"], (suite) => {
  const owned = new AsyncDisposableStack();
  let server: HostMachine;
  let client: HostMachine;

  beforeAll(async () => {
    const rig = owned.use(await HostRig.open(agent.path));
    [server, client] = await rig.bootPair(suite);
    await rig.installServer(server);
    await rig.installClient(server, client);
  }, LIMIT_MS);
  afterAll(() => owned.disposeAsync(), LIMIT_MS);

  async function hashOf(machine: HostMachine, path: string): Promise<string> {
    return (await machine.run("sha256sum", path)).slice(0, 64);
  }

  test(
    "to another build restarts what runs it, and keeps the former one",
    async () => {
      const other = readFileSync(agent.path);
      other[PADDING_OFFSET] = 1;
      for (const [machine, unit] of [
        [server, REMOTE_UNIT] as const,
        [client, UPLOAD_UNIT] as const,
      ]) {
        machine.write("root/other", other, 0o700);
        const before = await hashOf(machine, "/usr/local/bin/agent");
        const invocation = await machine.property(unit, "InvocationID");
        const first = await sh(machine, "agent install --upgrade ./other");
        expect(first.exitCode).toBe(0);
        expect(first.stdout).toContain("Upgraded");
        expect(first.stdout).not.toContain("FAILED");
        expect(await hashOf(machine, "/usr/local/bin/agent.previous")).toBe(before);
        expect(await hashOf(machine, "/usr/local/bin/agent")).toBe(
          await hashOf(machine, "/root/other"),
        );
        const running = await machine.property(unit, "InvocationID");
        expect(running).not.toBe(invocation);
        const second = await sh(machine, "agent install --upgrade ./other");
        expect(second.stdout).toContain("Nothing to do");
        expect(await machine.property(unit, "InvocationID")).toBe(running);
      }
      await expectArrival(client, server, "after the upgrade");
    },
    LIMIT_MS,
  );

  test(
    "to a program that does not work is taken back",
    async () => {
      using dir = new TempDir();
      const [source, program] = [join(dir.path, "impostor.ts"), join(dir.path, "impostor")];
      writeFileSync(source, IMPOSTOR);
      const build = [process.execPath, "build", "--compile", source, `--outfile=${program}`];
      expect(Bun.spawnSync(build).exitCode).toBe(0);
      server.write("root/impostor", readFileSync(program), 0o700);
      const before = await hashOf(server, "/usr/local/bin/agent");
      const { exitCode, stderr } = await sh(server, "agent install --upgrade ./impostor");
      expect(exitCode).not.toBe(0);
      expect(stderr).toContain("9.9.9 does not work");
      expect(await hashOf(server, "/usr/local/bin/agent")).toBe(before);
      expect(await server.property(REMOTE_UNIT, "ActiveState")).toBe("active");
      await expectArrival(client, server, "after it was taken back");
    },
    LIMIT_MS,
  );

  test(
    "goes with the rest",
    async () => {
      await server.run("agent", "uninstall", "--purge");
      const left = await sh(server, "ls /usr/local/bin /var/lib/journal-agent");
      expect(left.stdout).not.toContain("agent");
    },
    LIMIT_MS,
  );
});
