/**
 * A Debian host of the test's own, as if just installed: all of its files may change, it has a network of its own that is
 * plugged into a {@link HostNetwork}, and it boots to multi-user.target in a container. Users: alice, who is in the
 * group systemd-journal, and bob, who is not.
 */
import { describe } from "bun:test";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Container, missingProgram, type Outcome, type RunOptions } from "./container.ts";
import { openDebianTree } from "./debian-tree.ts";
import { listFiles } from "./file-listing.ts";
import { HeldNamespaces } from "./held-namespaces.ts";
import { type Cable, HostNetwork } from "./host-network.ts";
import { TempDir } from "./temp-dir.ts";

export const HOST_SUITES = ["bookworm-host", "trixie-host"] as const;
export type HostSuite = (typeof HOST_SUITES)[number];

/** DIR LOWER: what changes is in memory, and goes with the namespace; so does what systemd-nspawn leaves in /run. */
const MOUNT = `mkdir -p /run/systemd/nspawn
mount -t tmpfs tmpfs /run/systemd/nspawn
mount -t tmpfs tmpfs "$1"
cd "$1"
mkdir upper work root
mount -t overlay overlay -o "lowerdir=$2,upperdir=upper,workdir=work" root
touch net
mount --bind /proc/self/ns/net net
ip link set lo up`;

/** A value for Audit= would switch the audit of the whole host on or off. */
const JOURNALD = "[Journal]\nRateLimitIntervalSec=0\nAudit=\n";

/** Not part of a listing: what is mounted, temporary, or written at any time by what runs anyway. */
const UNLISTED = [
  ...["proc", "sys", "dev", "run", "tmp", "var/tmp", "opt/agent"],
  ...["var/log/wtmp", "var/log/btmp", "var/log/lastlog"],
];

export interface HostOptions {
  suite: HostSuite;
  network: HostNetwork;
  /** Its host name. */
  name: string;
  address: string;
  /** Path → text, there before the first boot. */
  files?: Readonly<Record<string, string>>;
  /** Path on this host → path in the machine, read-only. */
  bind?: Readonly<Record<string, string>>;
}

export class HostMachine {
  readonly name: string;
  readonly machineId: string = crypto.randomUUID().replaceAll("-", "");
  /** Its root directory, for the host; what is mounted while it runs is not there. */
  readonly path: string;
  readonly #dir: TempDir;
  readonly #held: HeldNamespaces;
  readonly #cable: Cable;
  readonly #container: Container;
  #address: string;

  private constructor(options: HostOptions, dir: TempDir, held: HeldNamespaces) {
    const { network, name, address, files = {}, bind = {} } = options;
    this.name = name;
    this.#dir = dir;
    this.#held = held;
    this.path = join(`/proc/${held.pid}/root`, dir.path, "root");
    this.#cable = network.plugIn(held);
    this.#address = address;
    held.runInNetwork("ip", "address", "add", `${address}/24`, "dev", "eth0");
    network.name(name, address);
    this.write("etc/machine-id", `${this.machineId}\n`);
    this.write("etc/hostname", `${name}\n`);
    this.write("etc/systemd/journald.conf.d/test.conf", JOURNALD);
    this.write("etc/systemd/journald@.conf.d/test.conf", JOURNALD);
    for (const [path, text] of Object.entries(files)) this.write(path, text);
    const binds = Object.entries({ [network.hostsFile]: "/etc/hosts", ...bind });
    this.#container = new Container({
      root: join(dir.path, "root"),
      log: join(`/proc/${held.pid}/root`, dir.path, "nspawn.log"),
      target: "multi-user.target",
      nspawn: [
        `--hostname=${name}`,
        // As a host has; without it, there is no PrivateNetwork= for services.
        "--capability=CAP_NET_ADMIN",
        `--network-namespace-path=${join(dir.path, "net")}`,
        ...binds.map(([from, to]) => `--bind-ro=${from}:${to}`),
      ],
      within: ["nsenter", `--target=${held.pid}`, "--mount"],
    });
  }

  /** Not booted yet. Rejects where that is not possible. */
  static async make(options: HostOptions): Promise<HostMachine> {
    using owned = new DisposableStack();
    const tree = await openDebianTree(options.suite);
    if (typeof tree === "string") throw new Error(tree);
    const dir = owned.use(new TempDir());
    const held = owned.use(
      await HeldNamespaces.open(["--mount", "--net"], MOUNT, [dir.path, tree.path]),
    );
    const machine = new HostMachine(options, dir, held);
    owned.move();
    return machine;
  }

  /** Resolves when it has booted; rejects where that is not possible. */
  static async boot(options: HostOptions): Promise<HostMachine> {
    const machine = await HostMachine.make(options);
    try {
      await machine.boot();
      return machine;
    } catch (error) {
      await machine[Symbol.asyncDispose]();
      throw error;
    }
  }

  get address(): string {
    return this.#address;
  }

  /** Takes another address, instead of the one it had. Names that led there do so no more. */
  moveTo(address: string): void {
    const ip = (verb: string, which: string) =>
      this.#held.runInNetwork("ip", "address", verb, `${which}/24`, "dev", "eth0");
    // In this order: the first address of a network takes the others with it.
    ip("del", this.#address);
    ip("add", address);
    this.#address = address;
  }

  /** Packets from and to it are lost from now on. */
  cutOff(): void {
    this.#cable.cut();
  }

  reconnect(): void {
    this.#cable.mend();
  }

  /** Boots it, once more after an end. */
  async boot(): Promise<void> {
    this.#cable.mend();
    await this.#container.boot();
  }

  async shutDown(): Promise<void> {
    await this.#container.shutDown();
    this.#cable.cut();
  }

  async reboot(): Promise<void> {
    await this.shutDown();
    await this.boot();
  }

  /** As if the power went. */
  async kill(): Promise<void> {
    this.#cable.cut();
    await this.#container.kill();
  }

  /** Runs a command in it to its end; returns its stdout. Rejects when it fails. */
  async run(...command: string[]): Promise<string> {
    return await this.#container.run(...command);
  }

  async tryRun(command: readonly string[], options: RunOptions = {}): Promise<Outcome> {
    return await this.#container.tryRun(command, options);
  }

  /** Resolves when the shell's command succeeds, with its stdout. */
  async until(script: string, limitMs = 15_000): Promise<string> {
    const deadlineMs = performance.now() + limitMs;
    for (;;) {
      const { stdout, stderr, exitCode } = await this.tryRun(["sh", "-c", script]);
      if (exitCode === 0) return stdout;
      if (performance.now() > deadlineMs) {
        throw new Error(`${this.name}: not so within ${limitMs} ms: ${script}: ${stdout}${stderr}`);
      }
      await Bun.sleep(50);
    }
  }

  /** A command that runs a command of this host where {@link rootPath} is the machine's root directory. */
  outside(...command: string[]): string[] {
    return ["nsenter", `--target=${this.#held.pid}`, "--mount", ...command];
  }

  get rootPath(): string {
    return join(this.#dir.path, "root");
  }

  /** A property of a unit. */
  async property(unit: string, name: string): Promise<string> {
    return (await this.run("systemctl", "show", "--value", `--property=${name}`, unit)).trim();
  }

  /** Debian's package of the journal programs, as `apt install` would. */
  async installStockPackage(): Promise<void> {
    await this.run("sh", "-c", "dpkg --install /opt/packages/*.deb");
  }

  /** For this host, as long as it is not in what the machine mounts. */
  file(path: string): string {
    return join(this.path, path);
  }

  read(path: string): string {
    return readFileSync(this.file(path), "utf8");
  }

  /** With the directories above it. */
  write(path: string, text: string | Uint8Array, mode = 0o644): void {
    mkdirSync(dirname(this.file(path)), { recursive: true });
    writeFileSync(this.file(path), text);
    chmodSync(this.file(path), mode);
  }

  /** Kind, mode, owner and content of every file, by path; without its own journal. */
  list(): Map<string, string> {
    const own = `var/log/journal/${this.machineId}`;
    return listFiles(this.path, { without: [...UNLISTED, own], times: false });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#container[Symbol.asyncDispose]();
    this.#held[Symbol.dispose]();
    this.#dir[Symbol.dispose]();
  }
}

/** Tests with such machines; where none can be booted they are skipped, by a name that says why. */
export async function describeHosts(
  name: string,
  suites: readonly HostSuite[],
  tests: (suite: HostSuite) => void,
): Promise<void> {
  for (const suite of suites) {
    const tree = await openDebianTree(suite);
    const obstacle = typeof tree === "string" ? tree : await findObstacle(suite);
    describe.skipIf(obstacle !== undefined)(`${name} (${obstacle ?? suite})`, () => tests(suite));
  }
}

/** Why no machine of this tree can be booted here; undefined = it can. */
async function findObstacle(suite: HostSuite): Promise<string | undefined> {
  const missing = missingProgram();
  if (missing !== undefined) return `needs ${missing}`;
  try {
    using network = await HostNetwork.open();
    await using _ = await HostMachine.boot({ suite, network, name: "probe", address: "192.0.2.1" });
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
