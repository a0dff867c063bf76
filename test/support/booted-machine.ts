/**
 * A container in which a Debian release's systemd runs as PID 1 with its journald and what is put into /etc: real live
 * journals, real units. Its files are in a temporary directory; its network is the host's.
 */
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type DebianTree, TREE_MACHINE_ID } from "./debian-tree.ts";
import { TempDir } from "./temp-dir.ts";
import { until } from "./until.ts";

const BOOT_LIMIT_MS = 30_000;
const RUN_LIMIT_MS = 30_000;

/** Users whose messages go to a journal of their own begin at 1000. */
const PASSWD =
  "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n";
const GROUP = "root:x:0:\nsystemd-journal:x:989:\nalice:x:1000:\nnogroup:x:65534:\n";
/** A value for Audit= would switch the audit of the whole host on or off. */
const JOURNALD = "Storage=persistent\nRateLimitIntervalSec=0\nAudit=\n";
/** It refuses cgroup v1 otherwise, from version 256 on. */
const LEGACY_CGROUPS = "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1";

export interface MachineOptions {
  /** Lines of journald.conf. */
  journald?: string;
  /** Path in the machine → text, there before the first boot. */
  files?: Readonly<Record<string, string>>;
  /** Host path → path in the machine, read-only. */
  bind?: Readonly<Record<string, string>>;
}

export class BootedMachine {
  /** Its root directory, for the host. */
  readonly path: string;
  /** Where its journals are. */
  readonly journals: string;
  readonly #dir = new TempDir();
  readonly #tree: DebianTree;
  readonly #options: MachineOptions;
  #nspawn: Bun.Subprocess | undefined;
  #leader = 0;

  private constructor(tree: DebianTree, options: MachineOptions) {
    this.#tree = tree;
    this.#options = options;
    this.path = join(this.#dir.path, "root");
    this.journals = join(this.path, "var/log/journal");
    for (const name of ["usr", "proc", "dev", "tmp", "run", "root", "sys"]) {
      mkdirSync(join(this.path, name), { recursive: true });
    }
    for (const name of ["etc", "var"]) {
      cpSync(join(tree.path, name), join(this.path, name), {
        recursive: true,
        verbatimSymlinks: true,
      });
    }
    for (const name of ["bin", "sbin", "lib", "lib64"])
      symlinkSync(`usr/${name}`, join(this.path, name));
    mkdirSync(this.journals, { recursive: true });
    this.write("etc/passwd", PASSWD);
    this.write("etc/group", GROUP);
    this.write("etc/machine-id", `${TREE_MACHINE_ID}\n`);
    this.write("etc/os-release", "ID=debian\n");
    const journald = `[Journal]\n${JOURNALD}${options.journald ?? ""}\n`;
    this.write("etc/systemd/journald.conf.d/test.conf", journald);
    this.write("etc/systemd/journald@.conf.d/test.conf", journald);
    // Of no use here, and long.
    this.write("etc/ld.so.conf", "");
    for (const unit of [
      "ldconfig",
      "systemd-journal-catalog-update",
      "systemd-hwdb-update",
      "systemd-firstboot",
    ]) {
      this.link(`etc/systemd/system/${unit}.service`, "/dev/null");
    }
    for (const [name, text] of Object.entries(options.files ?? {})) this.write(name, text);
  }

  /** @returns why no machine of this tree can be booted here; undefined = it can */
  static async findObstacle(tree: DebianTree): Promise<string | undefined> {
    for (const program of ["systemd-nspawn", "nsenter", "setpriv", "journalctl"]) {
      if (Bun.which(program) === null) return `needs ${program}`;
    }
    try {
      await using machine = await BootedMachine.boot(tree);
      return machine.leader > 0 ? undefined : "does not boot";
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  /** Resolves when it has booted; rejects where that is not possible. */
  static async boot(tree: DebianTree, options: MachineOptions = {}): Promise<BootedMachine> {
    const machine = new BootedMachine(tree, options);
    try {
      await machine.boot();
    } catch (error) {
      await machine[Symbol.asyncDispose]();
      throw error;
    }
    return machine;
  }

  /** The process that is PID 1 in there. */
  get leader(): number {
    return this.#leader;
  }

  file(name: string): string {
    return join(this.path, name);
  }

  /** With the directories above it. */
  write(name: string, text: string | Uint8Array): void {
    mkdirSync(dirname(this.file(name)), { recursive: true });
    writeFileSync(this.file(name), text);
  }

  link(name: string, target: string): void {
    mkdirSync(dirname(this.file(name)), { recursive: true });
    symlinkSync(target, this.file(name));
  }

  /** Boots it, once more after `shutDown()`. */
  async boot(): Promise<void> {
    const { bind = {} } = this.#options;
    const binds = Object.entries(bind).map(([from, to]) => `--bind-ro=${from}:${to}`);
    const log = join(this.#dir.path, "nspawn.log");
    this.#nspawn = Bun.spawn(
      [
        // All of it ends with whoever started it, however that ends.
        ...[
          "setpriv",
          "--pdeathsig=KILL",
          "unshare",
          "--pid",
          "--fork",
          "--kill-child",
          "--mount-proc",
        ],
        ...["systemd-nspawn", "--quiet", "--boot", `--directory=${this.path}`, "--console=pipe"],
        ...[
          "--register=no",
          "--keep-unit",
          "--timezone=off",
          "--resolv-conf=off",
          "--link-journal=no",
        ],
        ...[`--machine=agent-${crypto.randomUUID().slice(0, 8)}`],
        ...[`--bind-ro=${join(this.#tree.path, "usr")}:/usr`, ...binds],
        ...["systemd.unit=basic.target", LEGACY_CGROUPS],
      ],
      { env: environment(), stdin: "ignore", stdout: Bun.file(log), stderr: Bun.file(log) },
    );
    const deadlineMs = performance.now() + BOOT_LIMIT_MS;
    while (!(await this.#hasBooted())) {
      if (this.#nspawn.exitCode !== null || performance.now() > deadlineMs) {
        throw new Error(`Cannot boot: ${readFileSync(log, "latin1")}`);
      }
      await Bun.sleep(20);
    }
  }

  /** A clean end. */
  async shutDown(): Promise<void> {
    await this.run("systemctl", "poweroff");
    await this.#nspawn?.exited;
  }

  /** Runs a command in it to its end; returns its stdout. Rejects when it fails. */
  async run(...command: string[]): Promise<string> {
    const { stdout, stderr, exitCode } = await this.tryRun(...command);
    if (exitCode !== 0) throw new Error(`${command.join(" ")}: exit ${exitCode}: ${stderr}`);
    return stdout;
  }

  async tryRun(...command: string[]) {
    const child = Bun.spawn(this.enter(...command), {
      env: environment(),
      stdio: ["ignore", "pipe", "pipe"],
      timeout: RUN_LIMIT_MS,
    });
    const { stdout, stderr } = child;
    const texts = Promise.all([new Response(stdout).text(), new Response(stderr).text()]);
    const exitCode = await child.exited;
    const [output, errors] = await texts;
    return { stdout: output, stderr: errors, exitCode };
  }

  /** @param uid who runs it */
  spawn(command: readonly string[], uid = 0) {
    return Bun.spawn(this.enter(`--setuid=${uid}`, ...command), {
      env: environment(),
      stdio: ["pipe", "ignore", "inherit"],
    });
  }

  /** The command that runs a command in it. */
  enter(...command: string[]): string[] {
    return ["nsenter", `--target=${this.#leader}`, "--all", ...command];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#nspawn?.kill("SIGKILL");
    await this.#nspawn?.exited;
    // The last one to go, and to have files open.
    await until(() => read(`/proc/${this.#leader}/status`) === "", 10_000);
    this.#dir[Symbol.dispose]();
  }

  async #hasBooted(): Promise<boolean> {
    this.#leader = findLeader(this.#nspawn?.pid ?? 0);
    if (this.#leader === 0) return false;
    const { exitCode } = await this.tryRun("systemctl", "is-active", "--quiet", "basic.target");
    return exitCode === 0;
  }
}

/** The process that has number 1 in a namespace within nspawn's; 0 = not yet. */
function findLeader(pid: number): number {
  if (/^NSpid:\t\d+(\t\d+)+\t1$/m.test(read(`/proc/${pid}/status`))) return pid;
  for (const task of tasks(pid)) {
    for (const child of read(`${task}/children`).trim().split(" ")) {
      const leader = child === "" ? 0 : findLeader(Number(child));
      if (leader > 0) return leader;
    }
  }
  return 0;
}

function tasks(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map((task) => `/proc/${pid}/task/${task}`);
  } catch {
    return [];
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}

function environment(): Record<string, string> {
  const [name, value] = LEGACY_CGROUPS.split("=") as [string, string];
  return { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C.UTF-8", [name]: value };
}
