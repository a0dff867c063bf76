import { describe, expect, test } from "bun:test";
import { copyFileSync, mkdirSync, readFileSync, symlinkSync, truncateSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import type { AgentError } from "../../src/errors.ts";
import type { HostFacts } from "../../src/install/host-facts.ts";
import { mountOf } from "../../src/install/mounts.ts";
import { portOwners } from "../../src/install/port-owner.ts";
import {
  type PreflightOptions,
  preflight,
  relabelCommand,
  tryBinary,
} from "../../src/install/preflight.ts";
import { type RunCommand, runCommand } from "../../src/platform/run.ts";
import { SmallDisk } from "../support/small-disk.ts";
import { TempDir } from "../support/temp-dir.ts";

const FACTS: HostFacts = {
  root: "",
  systemdVersion: 252,
  isSystemdRunning: true,
  foreignUnits: new Map(),
  stockRemote: undefined,
  stockUpload: undefined,
  hostName: "web1",
};

/** Any real program will do where its answer is ours. */
const PROGRAM = Bun.which("true") ?? "";
const answering =
  (stdout: string, status = 0, stderr = ""): RunCommand =>
  async () => ({ status, stdout, stderr });
const agent = answering("agent 1.2.3 (commit abc, Bun 1.4.5)\n");

async function problemsOf(
  facts: Partial<HostFacts>,
  options: Partial<PreflightOptions> = {},
): Promise<AgentError[]> {
  const { problems } = await preflight({
    facts: { ...FACTS, ...facts },
    prefix: "/usr/local",
    binary: PROGRAM,
    port: undefined,
    unitNames: [],
    run: agent,
    ...options,
  });
  return problems;
}

async function messagesOf(...args: Parameters<typeof problemsOf>): Promise<string[]> {
  return (await problemsOf(...args)).map(({ message }) => message);
}

const isRoot = process.getuid?.() === 0;
const canMount = SmallDisk.isPossible();

test.skipIf(!isRoot)("nothing stands in the way of a usual machine", async () => {
  expect(await messagesOf({})).toEqual([]);
});

test.skipIf(!isRoot)("all that stands in the way is told of, with what to do", async () => {
  const problems = await problemsOf(
    { systemdVersion: 219, foreignUnits: new Map() },
    { binary: "/etc/passwd" },
  );
  expect(problems.map(({ message }) => message)).toEqual([
    "Cannot install: this machine has systemd 219, need 239 or later",
    expect.stringContaining('"/etc/passwd"'),
  ]);
  expect(problems.every(({ hint }) => hint !== undefined)).toBeTrue();
});

test.skipIf(!isRoot)("systemd has to run, but for an image", async () => {
  using image = new TempDir();
  expect(await messagesOf({ isSystemdRunning: false })).toEqual([
    "Cannot install: systemd does not run on this machine, need it as PID 1",
  ]);
  expect(await messagesOf({ isSystemdRunning: false, root: image.path })).toEqual([]);
  expect(await messagesOf({ systemdVersion: 0, root: image.path })).toEqual([
    `Cannot install: no systemd found in "${image.path}"`,
  ]);
});

test.skipIf(!isRoot)(
  "a masked unit of ours is not unmasked behind the operator's back",
  async () => {
    using image = new TempDir();
    const path = "/etc/systemd/system/systemd-journal-remote.socket";
    mkdirSync(join(image.path, "etc/systemd/system"), { recursive: true });
    symlinkSync("/dev/null", image.path + path);
    const foreignUnits = new Map([["systemd-journal-remote.socket", path]]);
    const facts = { root: image.path, foreignUnits };
    const [problem] = await problemsOf(facts, { unitNames: ["systemd-journal-remote.socket"] });
    expect(problem?.message).toBe(
      `Cannot install "systemd-journal-remote.socket": it is masked by "${path}", need it free`,
    );
    expect(problem?.hint).toBe("systemctl unmask systemd-journal-remote.socket");
    expect(await messagesOf(facts, { unitNames: ["systemd-journal-upload.service"] })).toEqual([]);
  },
);

describe.skipIf(!canMount)("the place of the binary", () => {
  const remount = (path: string, option: string): void => {
    Bun.spawnSync(["mount", "-o", `remount,${option}`, path]);
  };

  test("is read-only", async () => {
    using disk = new SmallDisk(1 << 20);
    remount(disk.path, "ro");
    const prefix = join(disk.path, "opt/agent");
    const [problem, ...others] = await problemsOf({}, { prefix });
    expect(problem?.message).toBe(
      `Cannot install into "${prefix}/bin": it is read-only, need to write there`,
    );
    expect(problem?.hint).toBe("Choose another place with --prefix=");
    expect(others).toEqual([]);
    remount(disk.path, "rw");
  });

  test("is noexec, which is of no matter in an image", async () => {
    using disk = new SmallDisk(64 << 20);
    remount(disk.path, "noexec");
    expect(await messagesOf({}, { prefix: disk.path })).toEqual([
      `Cannot install into "${disk.path}/bin": "${disk.path}" is mounted noexec, need a place where programs may run`,
    ]);
    expect(await messagesOf({ root: disk.path })).toEqual([]);
  });

  test("has no room for it", async () => {
    using disk = new SmallDisk(5 << 20);
    const binary = join(disk.path, "download");
    copyFileSync(PROGRAM, binary);
    const big = join(disk.path, "big");
    copyFileSync(PROGRAM, big);
    truncateSync(big, 3 << 20);
    const [problem] = await problemsOf({}, { prefix: disk.path, binary: big });
    expect(problem?.message).toBe(
      `Cannot install into "${disk.path}/bin": 5 MiB are free, need 7 MiB`,
    );
    expect(problem?.code).toBe("E_NO_SPACE");
    // Sparse, and there already.
    mkdirSync(join(disk.path, "bin"));
    copyFileSync(big, join(disk.path, "bin/agent"));
    const there = join(disk.path, "bin/agent");
    expect(await messagesOf({}, { prefix: disk.path, binary: there })).toEqual([]);
  });

  test("the mount of a path is the innermost one", () => {
    using disk = new SmallDisk(1 << 20);
    remount(disk.path, "noexec");
    expect(mountOf(join(disk.path, "a/b"))).toEqual({ point: disk.path, isNoexec: true });
    expect(mountOf(`${disk.path}-other`)?.point).not.toBe(disk.path);
  });
});

describe("the binary", () => {
  const refusal = async (path: string, run: RunCommand = runCommand, root = "") => {
    try {
      await tryBinary(path, root, run);
      return undefined;
    } catch (error) {
      return error as AgentError;
    }
  };

  test("is for another machine", async () => {
    using dir = new TempDir();
    const head = readFileSync(PROGRAM).subarray(0, 64);
    head.writeUInt16LE(process.arch === "arm64" ? 62 : 183, 18);
    const path = dir.write("agent", head);
    const [is, need] = process.arch === "arm64" ? ["x86-64", "aarch64"] : ["aarch64", "x86-64"];
    expect((await refusal(path))?.message).toBe(
      `Cannot install "${path}": wrong architecture: ${is}, need ${need}`,
    );
  });

  test("is for the machine of the image, and not tried here then", async () => {
    using image = new TempDir();
    const head = readFileSync(PROGRAM).subarray(0, 64);
    head.writeUInt16LE(243, 18);
    image.write("usr/lib/systemd/systemd", head);
    const path = image.write("agent", head);
    expect(await tryBinary(path, image.path, runCommand)).toBeUndefined();
    expect((await refusal(PROGRAM, agent, image.path))?.message).toEndWith("need riscv64");
  });

  test("is no program", async () => {
    using dir = new TempDir();
    for (const content of ["", "#!/bin/sh\necho agent 1.2.3\n", "<html>Not found</html>"]) {
      expect((await refusal(dir.write("agent", content)))?.message).toEndWith(
        "it is no program, need an executable in ELF form",
      );
    }
    expect((await refusal(join(dir.path, "none")))?.message).toContain("ENOENT");
  });

  test("is another program", async () => {
    const other = Bun.which("cat") ?? "";
    expect((await refusal(other))?.message).toMatch(
      /^Cannot install ".*": "--version" says "cat .*", need a working agent$/,
    );
  });

  test("does not run", async () => {
    const old = await refusal(PROGRAM, answering("", 132, ""));
    expect(old?.message).toContain("it does not run (status 132");
    expect(old?.hint).toContain("baseline");
  });

  test("says its version", async () => {
    expect(await tryBinary(PROGRAM, "", agent)).toBe("1.2.3");
  });
});

describe.skipIf(!isRoot)("the port", () => {
  test("belongs to another program", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as AddressInfo;
    try {
      const [problem] = await problemsOf({}, { port });
      expect(problem?.message).toMatch(
        new RegExp(
          `^Cannot listen on port ${port}: process ${process.pid} \\("[^"]+".*\\) does, need it free$`,
        ),
      );
      expect(problem?.hint).toEndWith("or choose another one with --port=");
      using image = new TempDir();
      expect(await messagesOf({ root: image.path }, { port })).toEqual([]);
    } finally {
      server.close();
    }
    expect(await portOwners(port, agent)).toEqual([]);
  });

  test("of IPv6 counts as well", async () => {
    const server = createServer().listen(0, "::1");
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as AddressInfo;
    const [owner] = await portOwners(port, agent);
    server.close();
    expect(owner?.pid).toBe(process.pid);
  });
});

describe.skipIf(!isRoot)("SELinux", () => {
  const selinux = async (
    enforce: string,
    port: number | undefined,
    findProgram: (name: string) => string | null = () => "/usr/sbin/restorecon",
  ) => {
    using kernel = new TempDir();
    kernel.write("enforce", enforce);
    return await preflight({
      facts: FACTS,
      prefix: "/usr/local",
      binary: PROGRAM,
      port,
      unitNames: [],
      run: agent,
      selinuxDirectory: kernel.path,
      findProgram,
    });
  };

  test("enforcing wants labels, and to know of another port", async () => {
    expect(await selinux("1", 29_532)).toEqual({
      problems: [],
      warnings: [
        "SELinux is enforcing and may forbid port 29532; allow it with: semanage port -a -t journal_remote_port_t -p tcp 29532",
      ],
      isSelinuxEnforcing: true,
    });
    expect((await selinux("1", 19_532)).warnings).toEqual([]);
    expect((await selinux("1", undefined)).warnings).toEqual([]);
  });

  test("enforcing without the command that restores labels is in the way", async () => {
    const { problems } = await selinux("1", undefined, () => null);
    expect(problems.map(({ message }) => message)).toEqual([
      'Cannot install: SELinux is enforcing and "restorecon" is not there, need it for the labels of files',
    ]);
  });

  test("permissive wants nothing", async () => {
    expect(await selinux("0", 29_532, () => null)).toEqual({
      problems: [],
      warnings: [],
      isSelinuxEnforcing: false,
    });
  });

  test("labels are restored by its own command", () => {
    expect(relabelCommand(["/usr/local/bin/agent"])).toMatchObject({
      argv: ["restorecon", "-R", "-F", "/usr/local/bin/agent"],
      after: ["/usr/local/bin/agent"],
    });
  });
});
