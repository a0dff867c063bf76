/** A small system to install into: a directory as root, units that only have a state, and commands that do what systemd's do. */
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { AgentError } from "../../src/errors.ts";
import type { ApplyOptions, ApplyResult } from "../../src/install/apply.ts";
import { applyPlan } from "../../src/install/apply.ts";
import type { InstallHost } from "../../src/install/host.ts";
import type { Plan, PlanItem, Role } from "../../src/install/plan.ts";
import { type RestoreOptions, type RestoreResult, restore } from "../../src/install/restore.ts";
import type { ServiceManager } from "../../src/install/service-manager.ts";
import type { CommandResult } from "../../src/platform/run.ts";
import type { DyingDisk } from "./dying-disk.ts";
import { listFiles } from "./file-listing.ts";
import { TempDir } from "./temp-dir.ts";

export const DROP_IN = "/etc/systemd/system/systemd-journal-remote.service.d/50-agent.conf";
export const BINARY = "/usr/local/bin/agent";
export const KEY = "/etc/ssl/journal-agent/server/key.pem";
export const RECEIVED = "/var/log/journal/remote";
export const SERVICE = "systemd-journal-remote.service";
export const SOCKET = "systemd-journal-remote.socket";
const SYSUSERS = "/etc/sysusers.d/journal-agent.conf";
const TMPFILES = "/etc/tmpfiles.d/journal-agent.conf";
const USER = "systemd-journal-remote";

const ACCOUNTS = {
  passwd: "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\n",
  group: "root:x:0:\nadm:x:4:joe\n",
  shadow: "root:*:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n",
  gshadow: "root:*::\nadm:*::joe\n",
};
const ACCOUNT_LINES = {
  passwd: `${USER}:!*:998:998::/:/usr/sbin/nologin\n`,
  group: `${USER}:!*:998:\n`,
  shadow: `${USER}:!*:19000::::::\n`,
  gshadow: `${USER}:!*::\n`,
};

export class InstallRig implements Disposable {
  readonly #dir = new TempDir(existsSync("/dev/shm") ? "/dev/shm" : undefined);
  readonly root: string;
  readonly manager: RecordedManager;
  readonly host: InstallHost;
  /** Commands that were run. */
  readonly commands: string[] = [];
  /** Set to have the next commands fail. */
  commandFails = false;
  /** What may fail below it. */
  disk: DyingDisk | undefined;
  readonly binary: string;

  constructor() {
    this.root = join(this.#dir.path, "root");
    this.binary = this.#dir.write("agent", "the program, version 1");
    for (const [name, text] of Object.entries(ACCOUNTS)) this.write(`/etc/${name}`, text);
    for (const path of ["/usr/local/bin", "/var/lib", "/etc/systemd/system"]) {
      mkdirSync(this.path(path), { recursive: true });
    }
    this.manager = new RecordedManager(() => this.disk);
    this.host = {
      root: this.root,
      manager: this.manager,
      run: (argv): Promise<CommandResult> => this.#run(argv),
    };
  }

  path(path: string): string {
    return join(this.root, path);
  }

  read(path: string): string {
    return readFileSync(this.path(path), "utf8");
  }

  has(path: string): boolean {
    return existsSync(this.path(path));
  }

  write(path: string, content: string | Uint8Array, mode = 0o644): void {
    mkdirSync(join(this.path(path), ".."), { recursive: true });
    writeFileSync(this.path(path), content);
    chmodSync(this.path(path), mode);
  }

  /** All but times. */
  listing(): Record<string, string> {
    const lines = [...listFiles(this.root)].map(([path, line]) => [
      path,
      line.replace(/^(file \S+ \S+) \S+/, "$1"),
    ]);
    return Object.fromEntries(lines);
  }

  /** But for what the installation remembers. */
  installedListing(): Record<string, string> {
    const lines = Object.entries(this.listing());
    return Object.fromEntries(lines.filter(([path]) => !path.startsWith("var/lib/journal-agent/")));
  }

  apply(
    plan: Plan,
    options: Partial<ApplyOptions> = {},
    host: InstallHost = this.host,
  ): Promise<ApplyResult> {
    const defaults = { options: {}, force: false, dryRun: false, start: true };
    return applyPlan(plan, host, { ...defaults, ...options });
  }

  restore(options: Partial<RestoreOptions> = {}): Promise<RestoreResult> {
    const roles: readonly Role[] = ["server", "client"];
    return restore(this.host, { roles, purge: true, force: false, dryRun: false, ...options });
  }

  [Symbol.dispose](): void {
    this.#dir[Symbol.dispose]();
  }

  async #run(argv: readonly string[]): Promise<CommandResult> {
    this.disk?.step(`${argv[0]}`);
    this.commands.push(argv.join(" ").replaceAll(this.root, "ROOT"));
    if (this.commandFails) return { status: 1, stdout: "", stderr: "it does not work\n" };
    if (argv[0] === "systemd-sysusers") this.#addUser();
    else if (!this.has(RECEIVED)) mkdirSync(this.path(RECEIVED), { recursive: true });
    if (argv[0] === "systemd-tmpfiles") chmodSync(this.path(RECEIVED), 0o2755);
    return { status: 0, stdout: "", stderr: "" };
  }

  /** As systemd-sysusers does, which leaves what it replaces as `passwd-`. */
  #addUser(): void {
    this.write("/etc/.pwd.lock", "", 0o600);
    for (const [name, line] of Object.entries(ACCOUNT_LINES)) {
      const text = this.read(`/etc/${name}`);
      if (text.includes(`${USER}:`)) continue;
      this.write(`/etc/${name}-`, text);
      this.write(`/etc/${name}`, `${text}${line}`);
    }
  }
}

/** Units that are running or not. */
export class RecordedManager implements ServiceManager {
  /** "start a.service", since the last look. */
  readonly log: string[] = [];
  readonly active = new Set<string>();
  /** Units that do not start. */
  readonly broken = new Set<string>();
  onStart: ((unit: string) => void) | undefined;
  #connection: { socket: string; service: string } | undefined;
  readonly #disk: () => DyingDisk | undefined;

  constructor(disk: () => DyingDisk | undefined) {
    this.#disk = disk;
  }

  /** From now on: as soon as a service is stopped whose socket listens, it is started again, as by a client. */
  clientsConnect(socket: string, service: string): void {
    this.#connection = { socket, service };
  }

  /** What was done since the last call. */
  takeLog(): string[] {
    return this.log.splice(0);
  }

  async daemonReload(): Promise<void> {
    this.#note("daemon-reload");
  }

  async start(unit: string): Promise<void> {
    this.#note(`start ${unit}`);
    this.#launch(unit);
  }

  async restart(unit: string): Promise<void> {
    this.#note(`restart ${unit}`);
    this.#launch(unit);
  }

  async stop(unit: string): Promise<void> {
    this.#note(`stop ${unit}`);
    this.active.delete(unit);
    const { socket, service } = this.#connection ?? {};
    if (service !== undefined && unit === service && this.active.has(`${socket}`)) {
      this.active.add(service);
    }
  }

  async state(unit: string): Promise<{ active: string; problem: undefined }> {
    return { active: this.active.has(unit) ? "active" : "inactive", problem: undefined };
  }

  #launch(unit: string): void {
    if (this.broken.has(unit)) throw new AgentError("E_CONFIG", `Cannot start "${unit}": broken`);
    const { socket, service } = this.#connection ?? {};
    if (unit === socket && this.active.has(`${service}`)) {
      throw new AgentError("E_CONFIG", `Cannot start "${unit}": Address already in use`);
    }
    this.onStart?.(unit);
    this.active.add(unit);
  }

  #note(what: string): void {
    this.#disk()?.step(what);
    this.log.push(what);
  }
}

/** A receiver's, with something of each kind. */
export function serverPlan(
  rig: InstallRig,
  changes: { dropIn?: string; without?: string } = {},
): Plan {
  const { dropIn = "[Service]\nRestart=always\n", without } = changes;
  const link = "/etc/systemd/system/multi-user.target.wants/systemd-journal-remote.service";
  const items: PlanItem[] = [
    {
      kind: "file",
      path: BINARY,
      mode: 0o755,
      data: { copyOf: rig.binary },
      purpose: "the program",
    },
    {
      kind: "directory",
      path: "/etc/ssl/journal-agent/server",
      mode: 0o755,
      purpose: "certificates",
    },
    { kind: "file", path: KEY, mode: 0o600, data: "secret", purpose: "key", isSecret: true },
    { kind: "file", path: DROP_IN, mode: 0o644, data: dropIn, purpose: "the unit's drop-in" },
    {
      kind: "link",
      path: link,
      target: "/lib/systemd/system/systemd-journal-remote.service",
      purpose: "starts it",
    },
    { kind: "file", path: SYSUSERS, mode: 0o644, data: `u ${USER} - "x"\n`, purpose: "user" },
    { kind: "file", path: TMPFILES, mode: 0o644, data: "d /x\n", purpose: "directory" },
  ];
  return {
    role: "server",
    items: items.filter(({ path }) => path !== without),
    commands: [
      {
        argv: ["systemd-sysusers", "--root=%ROOT%", "journal-agent.conf"],
        purpose: "makes the user",
        after: [SYSUSERS],
        changes: ["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"],
      },
      {
        argv: ["systemd-tmpfiles", "--root=%ROOT%", "journal-agent.conf"],
        purpose: "makes the directory",
        after: [TMPFILES],
        changes: [],
      },
    ],
    units: [
      { name: SOCKET, activation: "start", dependsOn: [] },
      { name: SERVICE, activation: "start", dependsOn: [BINARY, DROP_IN] },
    ],
    byproducts: [RECEIVED, "/var/lib/private/state/cursor"],
    warnings: [],
  };
}

/** Shares the program with the receiver. */
export function clientPlan(rig: InstallRig): Plan {
  const conf = "/etc/systemd/journal-upload.conf.d/50-agent.conf";
  return {
    role: "client",
    items: [
      { kind: "file", path: BINARY, mode: 0o755, data: { copyOf: rig.binary }, purpose: "program" },
      { kind: "file", path: conf, mode: 0o644, data: "[Upload]\nURL=x\n", purpose: "settings" },
    ],
    commands: [],
    units: [
      { name: "systemd-journal-upload.service", activation: "start", dependsOn: [BINARY, conf] },
    ],
    byproducts: ["/var/lib/systemd/journal-upload"],
    warnings: [],
  };
}
