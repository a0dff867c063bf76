/** systemd as PID 1 of a container that systemd-nspawn makes of a directory: how it starts, runs commands and ends. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { until } from "./until.ts";

const BOOT_LIMIT_MS = 30_000;
const STOP_LIMIT_MS = 60_000;
const RUN_LIMIT_MS = 30_000;
/** It refuses cgroup v1 otherwise, from version 256 on. */
const LEGACY_CGROUPS = "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1";
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

export interface ContainerOptions {
  /** Its root directory, for systemd-nspawn. */
  root: string;
  /** A file for what systemd says while it boots. */
  log: string;
  /** The unit to boot to: it is up when this one is. */
  target: string;
  /** Further options of systemd-nspawn. */
  nspawn: readonly string[];
  /** What runs systemd-nspawn elsewhere: a command that a command is added to. */
  within?: readonly string[];
}

export interface Outcome {
  stdout: string;
  stderr: string;
  exitCode: number;
}

export interface RunOptions {
  /** The user who runs it, with the groups it has; default: root. */
  user?: string;
  stdin?: string | Uint8Array;
  timeoutMs?: number;
}

/** Ended by `await using`, however far it came. */
export class Container {
  readonly #options: ContainerOptions;
  #nspawn: Bun.Subprocess | undefined;
  /** The process that is PID 1 in there. */
  #leader = 0;

  constructor(options: ContainerOptions) {
    this.#options = options;
  }

  /** Resolves when it has booted, once more after an end; rejects where that is not possible. */
  async boot(): Promise<void> {
    const { root, log, target, nspawn, within = [] } = this.#options;
    this.#nspawn = Bun.spawn(
      [
        // All of it ends with whoever started it, however that ends.
        ...["setpriv", "--pdeathsig=KILL", ...within],
        ...["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"],
        ...["systemd-nspawn", "--quiet", "--boot", `--directory=${root}`, "--console=pipe"],
        ...["--register=no", "--keep-unit", "--timezone=off", "--resolv-conf=off"],
        ...["--link-journal=no", `--machine=agent-${crypto.randomUUID().slice(0, 8)}`],
        ...[...nspawn, `systemd.unit=${target}`, LEGACY_CGROUPS],
      ],
      { env: environment(), stdin: "ignore", stdout: Bun.file(log), stderr: Bun.file(log) },
    );
    const deadlineMs = performance.now() + BOOT_LIMIT_MS;
    while (!(await this.#hasBooted(target))) {
      if (this.#nspawn.exitCode !== null || performance.now() > deadlineMs) {
        throw new Error(`Cannot boot: ${readFileSync(log, "latin1")}`);
      }
      await Bun.sleep(20);
    }
  }

  /** A clean end. */
  async shutDown(): Promise<void> {
    await this.run("systemctl", "poweroff");
    await this.#ended();
  }

  /** As if the power went. */
  async kill(): Promise<void> {
    this.#nspawn?.kill("SIGKILL");
    await this.#ended();
  }

  get isRunning(): boolean {
    return this.#leader > 0 && existsSync(`/proc/${this.#leader}`);
  }

  /** Its files with all that is mounted there, for the host. Only while it runs. */
  get livePath(): string {
    return `/proc/${this.#leader}/root`;
  }

  /** Runs a command in it to its end; returns its stdout. Rejects when it fails. */
  async run(...command: string[]): Promise<string> {
    const { stdout, stderr, exitCode } = await this.tryRun(command);
    if (exitCode !== 0) {
      throw new Error(`${command.join(" ")}: exit ${exitCode}: ${stderr}${stdout}`);
    }
    return stdout;
  }

  async tryRun(command: readonly string[], options: RunOptions = {}): Promise<Outcome> {
    const { user, stdin = "", timeoutMs = RUN_LIMIT_MS } = options;
    // Not runuser: that logs its command.
    const become =
      user === undefined ? [] : ["setpriv", `--reuid=${user}`, `--regid=${user}`, "--init-groups"];
    const child = Bun.spawn(this.enter(...become, ...command), {
      env: environment(),
      stdio: [new Blob([stdin]), "pipe", "pipe"],
      timeout: timeoutMs,
    });
    const texts = Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
    ]);
    const exitCode = await child.exited;
    const [stdout, stderr] = await texts;
    return { stdout, stderr, exitCode };
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
    await this.kill();
  }

  async #ended(): Promise<void> {
    // The last one to go, and to have files open.
    await until(() => statusOf(this.#leader) === "", STOP_LIMIT_MS);
    await this.#nspawn?.exited;
  }

  async #hasBooted(target: string): Promise<boolean> {
    this.#leader = findLeader(this.#nspawn?.pid ?? 0);
    if (this.#leader === 0) return false;
    const { exitCode } = await this.tryRun(["systemctl", "is-active", "--quiet", target]);
    return exitCode === 0;
  }
}

/** Which of the programs it takes is missing here; undefined = none. */
export function missingProgram(): string | undefined {
  return ["systemd-nspawn", "nsenter", "setpriv", "journalctl"].find(
    (name) => Bun.which(name) === null,
  );
}

/** The process that has number 1 in a namespace within nspawn's; 0 = not yet. */
function findLeader(pid: number): number {
  if (/^NSpid:\t\d+(\t\d+)+\t1$/m.test(statusOf(pid))) return pid;
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

function statusOf(pid: number): string {
  return read(`/proc/${pid}/status`);
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
  return { PATH, LC_ALL: "C.UTF-8", [name]: value };
}
