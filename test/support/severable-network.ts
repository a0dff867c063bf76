/**
 * Two hosts with a cable between them that can be made to lose every packet, silently: network namespaces of their own,
 * which needs root. Near is 192.0.2.1, far is 192.0.2.2; 192.0.2.9 is an address at which nobody is.
 */
import { HeldNamespaces } from "./held-namespaces.ts";

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

/** What is in /sys belongs to the namespace it was mounted in. */
const OWN_SYS = "mount -t sysfs sysfs /sys";

export class SeverableNetwork implements Disposable {
  readonly #near: HeldNamespaces;
  readonly #far: HeldNamespaces;

  private constructor(near: HeldNamespaces, far: HeldNamespaces) {
    [this.#near, this.#far] = [near, far];
  }

  /** @throws Error when it may not be made. */
  static async open(): Promise<SeverableNetwork> {
    using owned = new DisposableStack();
    const hold = async (): Promise<HeldNamespaces> =>
      owned.use(await HeldNamespaces.open(["--net", "--mount"], OWN_SYS));
    const [near, far] = [await hold(), await hold()];
    command("sh", "-c", SETUP, "setup", `${near.pid}`, `${far.pid}`);
    owned.move();
    return new SeverableNetwork(near, far);
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
    this.#near[Symbol.dispose]();
    this.#far[Symbol.dispose]();
  }

  #neighbours(verb: string, far: string, near: string): void {
    const entry = (address: string, link: string): string[] => {
      return ["ip", "neighbour", verb, address, "lladdr", link, "dev", "cable", "nud", "permanent"];
    };
    command(...this.near(...entry("192.0.2.2", far)));
    command(...this.far(...entry("192.0.2.1", near)));
  }

  #address(side: HeldNamespaces): string {
    return command(...enter(side, ["cat", "/sys/class/net/cable/address"])).trim();
  }
}

function enter({ pid }: HeldNamespaces, words: readonly string[]): string[] {
  return ["nsenter", `--target=${pid}`, "--net", "--mount", "--wdns=/", ...words];
}

function command(...words: string[]): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync(words);
  if (exitCode !== 0) throw new Error(`${words.join(" ")}: ${stderr}`);
  return `${stdout}`;
}
