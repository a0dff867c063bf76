/**
 * A Debian system whose files can be changed and looked at: /usr of a {@link DebianTree}, /etc and /var copied from there
 * into a temporary directory. Nothing runs in it but what a test starts.
 */
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { DebianTree } from "./debian-tree.ts";
import { listFiles } from "./file-listing.ts";
import { TempDir } from "./temp-dir.ts";

/** ROOT USR COMMAND...: becomes the command; what is mounted ends with it. */
const ENTER = `set -e
root=$1 usr=$2
shift 2
mount --bind "$usr" "$root/usr"
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
exec chroot "$root" "$@"`;

/** As the packages' installation makes them; 0:0 is not to be taken for a daemon's. */
const PASSWD = `root:x:0:0::/root:/bin/sh
systemd-journal-remote:x:990:990::/:/usr/sbin/nologin
`;
const GROUP = `root:x:0:
systemd-journal:x:989:
systemd-journal-remote:x:990:
`;

export interface RootRun {
  status: number;
  /** stdout and stderr. */
  output: string;
}

export class DebianRoot {
  readonly dir = new TempDir();
  readonly path: string = join(this.dir.path, "root");
  readonly #usr: string;

  constructor(tree: DebianTree) {
    this.#usr = join(tree.path, "usr");
    for (const name of ["usr", "proc", "dev", "tmp", "run", "root"]) {
      mkdirSync(join(this.path, name), { recursive: true });
    }
    for (const name of ["etc", "var"]) {
      cpSync(join(tree.path, name), join(this.path, name), {
        recursive: true,
        verbatimSymlinks: true,
      });
    }
    for (const name of ["bin", "sbin", "lib", "lib64"]) {
      symlinkSync(`usr/${name}`, join(this.path, name));
    }
    this.write("etc/passwd", PASSWD);
    this.write("etc/group", GROUP);
    this.write("etc/machine-id", "0123456789abcdef0123456789abcdef\n");
  }

  file(name: string): string {
    return join(this.path, name);
  }

  /** With the directories above it. */
  write(name: string, text: string | Uint8Array): void {
    mkdirSync(join(this.file(name), ".."), { recursive: true });
    writeFileSync(this.file(name), text);
  }

  run(command: readonly string[], env: Record<string, string> = {}): RootRun {
    const { exitCode, stdout, stderr } = Bun.spawnSync(this.#enter(command), {
      env: environment(env),
      stderr: "pipe",
      timeout: 30_000,
    });
    return { status: exitCode, output: `${stdout}${stderr}` };
  }

  /** Signals reach the command itself. */
  spawn(command: readonly string[]) {
    return Bun.spawn(this.#enter(command), {
      env: environment({}),
      stdio: ["ignore", "ignore", "pipe"],
    });
  }

  /** All that a script may change: without what is mounted or temporary. */
  list(): Map<string, string> {
    const parts = ["etc", "var", "root", "run"].map((name) => {
      return [...listFiles(this.file(name))].map(
        ([path, line]) => [`${name}/${path}`, line] as const,
      );
    });
    return new Map(parts.flat());
  }

  [Symbol.dispose](): void {
    this.dir[Symbol.dispose]();
  }

  #enter(command: readonly string[]): string[] {
    return ["unshare", "--mount", "sh", "-c", ENTER, "enter", this.path, this.#usr, ...command];
  }
}

function environment(env: Record<string, string>): Record<string, string> {
  return { PATH: "/usr/sbin:/usr/bin", LC_ALL: "C.UTF-8", ...env };
}
