/** A network in which no name is resolved and nobody answers: packets go out and nothing comes back. */
import { join } from "node:path";
import { TempDir } from "./temp-dir.ts";

/** RESOLV.CONF COMMAND...: in a mount and a network namespace. */
const ENTER = `set -e
ip link add out type veth peer name nowhere
ip addr add 192.0.2.2/24 dev out
ip link set lo up && ip link set out up && ip link set nowhere up
ip neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 dev out
mount --bind "$1" /etc/resolv.conf
shift
exec "$@"`;

export class SilentNetwork implements Disposable {
  readonly #dir = new TempDir();

  constructor() {
    this.#dir.write("resolv.conf", "nameserver 192.0.2.1\n");
  }

  /** What to run instead of `command` to run it there; a signal reaches the command itself. */
  enter(command: readonly string[]): string[] {
    const resolvConf = join(this.#dir.path, "resolv.conf");
    return ["unshare", "--mount", "--net", "sh", "-c", ENTER, "enter", resolvConf, ...command];
  }

  /** Whether this host lets us have one. */
  get isPossible(): boolean {
    return Bun.spawnSync(this.enter(["true"])).success;
  }

  [Symbol.dispose](): void {
    this.#dir[Symbol.dispose]();
  }
}
