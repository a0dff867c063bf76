/**
 * Two hosts with a cable between them that can be made to lose every packet, silently: network namespaces of their own,
 * which needs root. Near is 192.0.2.1, far is 192.0.2.2; 192.0.2.9 is an address at which nobody is.
 */
import { readFileSync } from "node:fs";
import { until } from "./until.ts";

const SETUP = `set -e
near=$1 far=$2
ip() { nsenter --target=$1 --net ip $2; }
ip $near "link add cable type veth peer name cable netns $far"
ip $near "address add 192.0.2.1/24 dev cable"
ip $far "address add 192.0.2.2/24 dev cable"
for side in $near $far; do
  ip $side "link set lo up"
  ip $side "link set cable up"
done
ip $near "neighbour add 192.0.2.9 lladdr 02:00:00:00:00:09 dev cable nud permanent"
`;
/** Frames to this address are nobody's. */
const NOWHERE = "02:00:00:00:00:09";

export class SeverableNetwork implements Disposable {
  readonly #near: Bun.Subprocess;
  readonly #far: Bun.Subprocess;

  private constructor() {
    [this.#near, this.#far] = [holdNamespace(), holdNamespace()];
  }

  /** @throws Error when it may not be made. */
  static async open(): Promise<SeverableNetwork> {
    const network = new SeverableNetwork();
    try {
      await until(() => [network.#near, network.#far].every(isReady));
      command("sh", "-c", SETUP, "setup", `${network.#near.pid}`, `${network.#far.pid}`);
      return network;
    } catch (error) {
      network[Symbol.dispose]();
      throw error;
    }
  }

  static async isPossible(): Promise<boolean> {
    try {
      (await SeverableNetwork.open())[Symbol.dispose]();
      return true;
    } catch {
      return false;
    }
  }

  /** The command that runs a command on that side. */
  near(...words: string[]): string[] {
    return enter(this.#near, words);
  }

  far(...words: string[]): string[] {
    return enter(this.#far, words);
  }

  /** Neither side gets anything from the other any more. */
  cut(): void {
    this.#neighbours("replace", NOWHERE, NOWHERE);
  }

  mend(): void {
    this.#neighbours("replace", this.#address(this.#far), this.#address(this.#near));
  }

  [Symbol.dispose](): void {
    this.#near.kill("SIGKILL");
    this.#far.kill("SIGKILL");
  }

  #neighbours(verb: string, far: string, near: string): void {
    const entry = (address: string, link: string): string[] => {
      return ["ip", "neighbour", verb, address, "lladdr", link, "dev", "cable", "nud", "permanent"];
    };
    command(...this.near(...entry("192.0.2.2", far)));
    command(...this.far(...entry("192.0.2.1", near)));
  }

  #address(side: Bun.Subprocess): string {
    return command(...enter(side, ["cat", "/sys/class/net/cable/address"])).trim();
  }
}

/** Before that, it would be the host's network that is set up. */
function isReady({ pid }: Bun.Subprocess): boolean {
  return readFileSync(`/proc/${pid}/comm`, "latin1") === "sleep\n";
}

/** A namespace lives as long as the process. */
function holdNamespace(): Bun.Subprocess {
  const hold = ["setpriv", "--pdeathsig=KILL", "unshare", "--net", "--mount", "sh", "-c"];
  // What is in /sys belongs to the namespace it was mounted in.
  return Bun.spawn([...hold, "mount -t sysfs sysfs /sys && exec sleep infinity"], {
    stdio: ["ignore", "ignore", "ignore"],
  });
}

function enter({ pid }: Bun.Subprocess, words: readonly string[]): string[] {
  return ["nsenter", `--target=${pid}`, "--net", "--mount", "--wdns=/", ...words];
}

function command(...words: string[]): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync(words);
  if (exitCode !== 0) throw new Error(`${words.join(" ")}: ${stderr}`);
  return `${stdout}`;
}
