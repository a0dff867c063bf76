/** Namespaces of this test's own, held by a process that sleeps: they and what is mounted in them end with it. */
import { readFileSync } from "node:fs";
import { until } from "./until.ts";

export class HeldNamespaces implements Disposable {
  readonly #holder: Bun.Subprocess;

  private constructor(holder: Bun.Subprocess) {
    this.#holder = holder;
  }

  /**
   * @param kinds options of unshare
   * @param setup shell script, run in them first, with `args` as $1 and so on
   * @throws Error when they may not be made
   */
  static async open(
    kinds: readonly ("--net" | "--mount")[],
    setup = "",
    args: readonly string[] = [],
  ): Promise<HeldNamespaces> {
    const script = `set -e\n${setup}\nexec sleep infinity`;
    const holder = Bun.spawn(
      // It ends with whoever started it, however that ends.
      ["setpriv", "--pdeathsig=KILL", "unshare", ...kinds, "sh", "-c", script, "setup", ...args],
      { stdio: ["ignore", "ignore", "pipe"] },
    );
    const held = new HeldNamespaces(holder);
    try {
      // Before that, they are the host's.
      await until(() => holder.exitCode !== null || nameOf(holder.pid) === "sleep");
    } catch (error) {
      held[Symbol.dispose]();
      throw error;
    }
    if (holder.exitCode === null) return held;
    throw new Error(`Cannot make namespaces: ${await new Response(holder.stderr).text()}`);
  }

  get pid(): number {
    return this.#holder.pid;
  }

  /** Runs a command in their network; returns its stdout. Throws when it fails. */
  runInNetwork(...command: string[]): string {
    const words = ["nsenter", `--target=${this.pid}`, "--net", ...command];
    const { exitCode, stdout, stderr } = Bun.spawnSync(words);
    if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${stderr}`);
    return `${stdout}`;
  }

  [Symbol.dispose](): void {
    this.#holder.kill("SIGKILL");
  }
}

function nameOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, "latin1").trim();
  } catch {
    return "";
  }
}
