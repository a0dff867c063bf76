/** Hosts on one network, and what an operator does on them to have one's journal on another. */
import { expect } from "bun:test";
import type { Outcome } from "./container.ts";
import { HostMachine, type HostOptions } from "./host-machine.ts";
import { HostNetwork } from "./host-network.ts";

/** Where the program lies on every host, as if copied there by hand. */
const COPY = "/opt/agent";
/** An installation copies 120 MB, makes keys, starts services and waits for its own check. */
const COMMAND_LIMIT_MS = 60_000;

export const SERVER_NAME = "logs.example.net";
export const SERVER_URL = `https://${SERVER_NAME}:19532`;
export const REMOTE_UNIT = "systemd-journal-remote.service";
export const REMOTE_SOCKET = "systemd-journal-remote.socket";
export const UPLOAD_UNIT = "systemd-journal-upload.service";
export const RECEIVED = "/var/log/journal/remote";

/** All of it ends with it. */
export class HostRig implements AsyncDisposable {
  readonly network: HostNetwork;
  readonly #agent: string;
  readonly #owned = new AsyncDisposableStack();

  private constructor(network: HostNetwork, agent: string) {
    this.network = this.#owned.use(network);
    this.#agent = agent;
  }

  /** @param agent the executable */
  static async open(agent: string): Promise<HostRig> {
    return new HostRig(await HostNetwork.open(), agent);
  }

  /** A host without anything of ours, but for the program. */
  async boot(options: Omit<HostOptions, "network">): Promise<HostMachine> {
    const machine = await this.make(options);
    await machine.boot();
    return machine;
  }

  /** A server that is not one yet, with the name that clients will know it by, and a client. */
  async bootPair(suite: HostOptions["suite"]): Promise<[server: HostMachine, client: HostMachine]> {
    const pair = await Promise.all([
      this.boot({ suite, name: "logs", address: "192.0.2.10" }),
      this.boot({ suite, name: "web1", address: "192.0.2.20" }),
    ]);
    this.network.name(SERVER_NAME, pair[0].address);
    return pair;
  }

  /** A host as `boot()` boots it, not booted yet. */
  async make(options: Omit<HostOptions, "network">): Promise<HostMachine> {
    const bind = { [this.#agent]: COPY, ...options.bind };
    const { network } = this;
    return this.#owned.use(await HostMachine.make({ ...options, network, bind }));
  }

  /** The short path, with further options. Its host has the name {@link SERVER_NAME} from then on. */
  async installServer(machine: HostMachine, options = ""): Promise<string> {
    this.network.name(SERVER_NAME, machine.address);
    const names = `--name=${machine.name} --san=DNS:${SERVER_NAME},IP:${machine.address}`;
    return await install(machine, `--role=server --init-ca ${names} ${options}`);
  }

  /** The short path: what the server makes for it is carried over. */
  async installClient(server: HostMachine, client: HostMachine, options = ""): Promise<string> {
    client.write(`root/${client.name}.bundle`, await makeBundle(server, client.name), 0o600);
    return await install(client, `--role=client --bundle=${client.name}.bundle ${options}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned.disposeAsync();
  }
}

/** Runs it in /root; returns what it printed. Rejects when it fails. */
export async function install(machine: HostMachine, options: string): Promise<string> {
  const { stdout, stderr, exitCode } = await tryInstall(machine, options);
  if (exitCode === 0) return stdout;
  const where = `${machine.name}: agent install ${options}`;
  throw new Error(`${where}: exit ${exitCode}: ${stderr}${stdout}`);
}

export async function tryInstall(machine: HostMachine, options: string): Promise<Outcome> {
  return await sh(machine, `${COPY} install ${options}`);
}

/** A shell command in root's home, or as another user. */
export async function sh(machine: HostMachine, script: string, user?: string): Promise<Outcome> {
  const timeoutMs = COMMAND_LIMIT_MS;
  if (user !== undefined) return await machine.tryRun(["sh", "-c", script], { timeoutMs, user });
  return await machine.tryRun(["sh", "-c", `cd /root && ${script}`], { timeoutMs });
}

/** What a host needs, as `agent certs bundle` writes it. */
export async function makeBundle(server: HostMachine, name: string): Promise<string> {
  await server.run("agent", "certs", "issue", name);
  const file = `/root/${name}.bundle`;
  await server.run("agent", "certs", "bundle", name, `--server=${SERVER_URL}`, `--output=${file}`);
  return server.read(file);
}

/** Logs it on the one host and waits for it on the other. @returns how long that took, in milliseconds */
export async function expectArrival(
  from: HostMachine,
  to: HostMachine,
  message: string,
  limitMs = 30_000,
): Promise<number> {
  const startMs = performance.now();
  await from.run("logger", message);
  const file = `${RECEIVED}/remote-${from.name}*.journal`;
  await to.until(`journalctl --quiet --file='${file}' MESSAGE='${message}' | grep -q .`, limitMs);
  return performance.now() - startMs;
}

/** That nothing was restarted is seen in two of these. */
export async function invocations(machine: HostMachine, ...units: string[]): Promise<string[]> {
  return await Promise.all(units.map((unit) => machine.property(unit, "InvocationID")));
}

export async function expectActive(machine: HostMachine, ...units: string[]): Promise<void> {
  const states = await Promise.all(units.map((unit) => machine.property(unit, "ActiveState")));
  expect(states).toEqual(units.map(() => "active"));
}

/** It logs a line now and then until it is stopped. */
export async function startLoad(machine: HostMachine): Promise<AsyncDisposable> {
  const loop = 'i=0; while true; do logger "load $i"; i=$((i + 1)); sleep 0.05; done';
  // Of a control group of version 1, nobody in a container learns that it is empty.
  const unit = ["--unit=load", "--property=KillMode=process"];
  await machine.run("systemd-run", "--quiet", ...unit, "sh", "-c", loop);
  return {
    [Symbol.asyncDispose]: async () => void (await machine.run("systemctl", "stop", "load")),
  };
}
