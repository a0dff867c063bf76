/**
 * A container in which a Debian release's systemd runs as PID 1 with its journald and what is put into /etc: real live
 * journals, real units. Its files are in a temporary directory; its network is the host's.
 */
import { describe } from "bun:test";
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Container, missingProgram } from "./container.ts";
import { type DebianTree, openDebianTree, TREE_MACHINE_ID } from "./debian-tree.ts";
import { TempDir } from "./temp-dir.ts";

/** Users whose messages go to a journal of their own begin at 1000. */
const PASSWD =
  "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n";
const GROUP = "root:x:0:\nsystemd-journal:x:989:\nalice:x:1000:\nnogroup:x:65534:\n";
/** A value for Audit= would switch the audit of the whole host on or off. */
const JOURNALD = "Storage=persistent\nRateLimitIntervalSec=0\nAudit=\n";

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
  readonly #container: Container;

  private constructor(tree: DebianTree, options: MachineOptions) {
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
    const binds = Object.entries(options.bind ?? {});
    this.#container = new Container({
      root: this.path,
      log: join(this.#dir.path, "nspawn.log"),
      target: "basic.target",
      nspawn: [
        `--bind-ro=${join(tree.path, "usr")}:/usr`,
        ...binds.map(([from, to]) => `--bind-ro=${from}:${to}`),
      ],
    });
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
    await this.#container.boot();
  }

  /** A clean end. */
  async shutDown(): Promise<void> {
    await this.#container.shutDown();
  }

  /** Runs a command in it to its end; returns its stdout. Rejects when it fails. */
  async run(...command: string[]): Promise<string> {
    return await this.#container.run(...command);
  }

  /** @param uid who runs it */
  spawn(command: readonly string[], uid = 0) {
    return this.#container.spawn(command, uid);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#container[Symbol.asyncDispose]();
    this.#dir[Symbol.dispose]();
  }
}

/** Tests with such machines; where none can be booted they are skipped, by a name that says why. */
export async function describeMachines(
  name: string,
  tests: (boot: (options: MachineOptions) => Promise<BootedMachine>) => void,
): Promise<void> {
  const tree = await openDebianTree("trixie-shell");
  const obstacle = typeof tree === "string" ? tree : await findObstacle(tree);
  describe.skipIf(obstacle !== undefined)(`${name} (${obstacle ?? "systemd-nspawn"})`, () =>
    tests((options) => {
      if (typeof tree === "string") throw new Error(tree);
      return BootedMachine.boot(tree, options);
    }),
  );
}

/** Why no machine of this tree can be booted here; undefined = it can. */
async function findObstacle(tree: DebianTree): Promise<string | undefined> {
  const missing = missingProgram();
  if (missing !== undefined) return `needs ${missing}`;
  try {
    const machine = await BootedMachine.boot(tree);
    await machine[Symbol.asyncDispose]();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
