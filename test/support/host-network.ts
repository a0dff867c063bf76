/** A switch that hosts are plugged into, and the names they know each other by. Addresses are of 192.0.2.0/24. */
import { writeFileSync } from "node:fs";
import { HeldNamespaces } from "./held-namespaces.ts";
import { TempDir } from "./temp-dir.ts";

const SETUP = `ip link add name switch type bridge
ip link set switch up`;

export class HostNetwork implements Disposable {
  /** The /etc/hosts of all. */
  readonly hostsFile: string;
  readonly #dir = new TempDir();
  readonly #switch: HeldNamespaces;
  readonly #names = new Map<string, string>();
  #ports = 0;

  private constructor(held: HeldNamespaces) {
    this.#switch = held;
    this.hostsFile = this.#dir.write("hosts", "");
    this.name("localhost", "127.0.0.1");
  }

  /** @throws Error when it may not be made. */
  static async open(): Promise<HostNetwork> {
    return new HostNetwork(await HeldNamespaces.open(["--net"], SETUP));
  }

  /** From now on, this is the address that the name has for all. */
  name(name: string, address: string): void {
    this.#names.set(name, address);
    // In place: it is mounted where they look.
    const lines = Array.from(this.#names, ([known, where]) => `${where} ${known}\n`);
    writeFileSync(this.hostsFile, lines.join(""));
  }

  /** A cable to the host with this network. */
  plugIn(host: HeldNamespaces): Cable {
    const port = `port${this.#ports++}`;
    const { pid } = host;
    const peer = ["peer", "name", "eth0", "netns", `${pid}`];
    this.#switch.runInNetwork("ip", "link", "add", "name", port, "type", "veth", ...peer);
    host.runInNetwork("ip", "link", "set", "eth0", "up");
    const set = (...words: string[]) =>
      this.#switch.runInNetwork("ip", "link", "set", port, ...words);
    set("master", "switch", "up");
    return { cut: () => void set("nomaster"), mend: () => void set("master", "switch") };
  }

  [Symbol.dispose](): void {
    this.#switch[Symbol.dispose]();
    this.#dir[Symbol.dispose]();
  }
}

/** Both ends stay up: when it is cut, packets get lost and nobody is told. */
export interface Cable {
  cut(): void;
  mend(): void;
}
