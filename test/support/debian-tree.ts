/**
 * systemd's journal programs of other Debian releases, each with the libraries of its release: as
 * oracles of what we write, and as peers. And whole systems of a release, to be booted.
 */
import { describe, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const { AGENT_TEST_TREES = join(tmpdir(), "agent-test-trees") } = Bun.env;
const BUILD_LIMIT_MS = 180_000;
const RUN_LIMIT_MS = 60_000;

const PACKAGES = ["systemd", "systemd-journal-remote", "libsystemd-shared", "libsystemd0"];
/** Loaded when they are needed: newer packages do not depend on them. */
const LIBRARIES = ["libzstd1", "liblzma5", "liblz4-1", "zlib1g"];

/** Without this, packages of releases before Debian 13 would bring a /lib beside /usr/lib. */
const MERGE_USR =
  'cd "$1" && for d in bin sbin lib lib64; do mkdir -p usr/$d && ln -s usr/$d $d; done';
const ADD_BACKPORTS =
  'cd "$1"/etc/apt && sed -n "s/ bookworm / bookworm-backports /p" sources.list > sources.list.d/backports.list';
/** A mirror that is not up to date will do, one that does not answer is not waited for. */
const APT_OPTIONS = [
  'Acquire::Check-Valid-Until "false"',
  'Acquire::http::Timeout "20"',
  'Acquire::Retries "1"',
  'Acquire::Languages "none"',
];
/** A tree that is not finished is thrown away; nobody reads in one. */
const DPKG_OPTIONS = [
  "force-unsafe-io",
  ...["man", "doc", "locale"].map((name) => `path-exclude=/usr/share/${name}/*`),
];

interface Recipe {
  release: string;
  /** Unpacked only, or installed as on a host. */
  variant: "extract" | "minbase";
  packages: readonly string[];
  /** Shell scripts with the tree as $1: before anything is there, and when all is. */
  setup?: readonly string[];
  customize?: readonly string[];
}

/** What every host has, and what tests look at it with. */
const HOST_PACKAGES = [
  ...["systemd", "systemd-sysv", "dbus", "login", "passwd", "bsdutils", "util-linux", "kmod"],
  ...["iproute2", "procps", "ca-certificates", "curl"],
];
/** Its package of the journal programs lies in /opt/packages: tests install it without a network. */
const KEEP_STOCK_PACKAGE = `set -e
chroot "$1" apt-get clean
chroot "$1" apt-get install --quiet --yes --no-install-recommends --download-only systemd-journal-remote
mkdir "$1/opt/packages"
mv "$1"/var/cache/apt/archives/*.deb "$1/opt/packages"`;
/** alice may read journals, bob may not; nothing happens in a machine but what a test does. */
const SETTLE = `set -e
chroot "$1" useradd --create-home --uid=1000 --groups=systemd-journal alice
chroot "$1" useradd --create-home --uid=1001 bob
rm "$1"/etc/systemd/system/timers.target.wants/*
for unit in console-getty systemd-networkd-wait-online systemd-firstboot; do
  ln -s /dev/null "$1/etc/systemd/system/$unit.service"
done
touch "$1/etc/.updated" "$1/var/.updated"`;

function host(release: string): Recipe {
  const customize = [KEEP_STOCK_PACKAGE, SETTLE];
  return { release, variant: "minbase", packages: HOST_PACKAGES, customize };
}

const RECIPES = {
  "bookworm-backports": {
    release: "bookworm",
    variant: "extract",
    packages: [...PACKAGES.map((name) => `${name}/bookworm-backports`), ...LIBRARIES],
    setup: [MERGE_USR, ADD_BACKPORTS],
  },
  trixie: {
    release: "trixie",
    variant: "extract",
    packages: [...PACKAGES, ...LIBRARIES],
    setup: [MERGE_USR],
  },
  sid: {
    release: "sid",
    variant: "extract",
    packages: [...PACKAGES, ...LIBRARIES],
    setup: [MERGE_USR],
  },
  /** With what shell scripts need. */
  "trixie-shell": {
    release: "trixie",
    variant: "extract",
    packages: [...PACKAGES, ...LIBRARIES, "dash", "coreutils", "diffutils", "grep", "sed"],
    setup: [MERGE_USR],
  },
  "bookworm-host": host("bookworm"),
  "trixie-host": host("trixie"),
} as const satisfies Record<string, Recipe>;

export type Suite = keyof typeof RECIPES;

/** Of every tree. */
export const TREE_MACHINE_ID = "0123456789abcdef0123456789abcdef";

/**
 * TREE VISIBLE RUN COMMAND...: becomes the command, in a root of its own that is made of TREE/usr
 * and the directory VISIBLE; its /run is RUN, if that is not "". To be run in a mount namespace of
 * its own: all of it ends with the command, however that ends.
 */
const ENTER = `set -e
tree=$1 visible=$2 run=$3
shift 3
mount -t tmpfs tmpfs "$tree/tmp"
cd "$tree/tmp"
mkdir -p usr etc proc sys dev tmp var/tmp "./$visible"
ln -s usr/bin usr/sbin usr/lib usr/lib64 .
mount --bind "$tree/usr" usr
mount --rbind /proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount --bind "$visible" "./$visible"
echo ${TREE_MACHINE_ID} > etc/machine-id
echo root:x:0:0::/:/bin/sh > etc/passwd
if [ -n "$run" ]; then ln -s "$run" run; else mkdir run; fi
exec chroot . "$@"`;

export interface TreeOptions {
  env?: Readonly<Record<string, string>>;
  /** A temporary directory that is to be its /run, for configuration and sockets; default: an empty one. */
  runDir?: string;
}

/** What temporary directories hold has the same path in the tree; of the rest of the host it sees nothing. */
export class DebianTree {
  readonly suite: Suite;
  readonly systemdVersion: number;
  /** Where its files are. */
  readonly path: string;

  constructor(suite: Suite, path: string) {
    this.suite = suite;
    this.path = path;
    const version = this.run(["journalctl", "--version"]).toString();
    this.systemdVersion = Number(/^systemd (\d+)/.exec(version)?.[1]);
  }

  /** Runs it to its end; returns its stdout. Throws when it fails. */
  run(command: readonly string[], options: TreeOptions = {}): Buffer {
    const { stdout, stderr, exitCode } = Bun.spawnSync(this.#enter(command, options), {
      env: environmentOf(options),
      timeout: RUN_LIMIT_MS,
    });
    if (exitCode !== 0) {
      throw new Error(`${command.join(" ")} (${this.suite}): exit ${exitCode}: ${stderr}`);
    }
    return stdout;
  }

  /** Signals reach the command itself. */
  spawn(command: readonly string[], options: TreeOptions = {}) {
    return Bun.spawn(this.#enter(command, options), {
      env: environmentOf(options),
      stdio: ["ignore", "pipe", "pipe"],
    });
  }

  #enter(command: readonly string[], { runDir = "" }: TreeOptions): string[] {
    const enter = ["unshare", "--mount", "sh", "-c", ENTER, "enter"];
    return [...enter, this.path, tmpdir(), runDir, ...command];
  }
}

/**
 * Tests with the tree of each of these suites. Where no trees can be made they are skipped, by a name that says why; where
 * they can, a tree that is missing is a test that fails.
 */
export async function describeTrees(
  suites: readonly Suite[],
  tests: (tree: DebianTree) => void,
): Promise<void> {
  const trees = await Promise.allSettled(suites.map(openDebianTree));
  for (const [index, outcome] of trees.entries()) {
    const suite = suites[index];
    const why = outcome.status === "fulfilled" ? outcome.value : outcome.reason;
    if (why instanceof DebianTree) {
      describe(`systemd ${why.systemdVersion} of ${suite}`, () => tests(why));
    } else {
      test.skipIf(typeof why === "string")(`programs of ${suite}: ${why}`, () => {
        throw why;
      });
    }
  }
}

/**
 * The tree of a suite: a kept one, or one made now. A directory AGENT_TEST_TREES/SUITE, by default
 * below the temporary directory, is to be removed for a newer one.
 * @returns instead of a tree, why this machine cannot have one. Throws when it can, and there is none all the same.
 */
export async function openDebianTree(suite: Suite): Promise<DebianTree | string> {
  if (process.getuid?.() !== 0) return "needs root";
  const mount = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", tmpdir()];
  if (Bun.which("unshare") === null || !Bun.spawnSync(mount).success) {
    return "needs mount namespaces";
  }
  const path = join(AGENT_TEST_TREES, suite);
  if (!existsSync(path)) {
    if (Bun.which("mmdebstrap") === null) return "needs mmdebstrap";
    await build(suite, path);
  }
  return new DebianTree(suite, path);
}

/** All of it or nothing. */
async function build(suite: Suite, path: string): Promise<void> {
  mkdirSync(AGENT_TEST_TREES, { recursive: true });
  const unfinished = mkdtempSync(`${path}.`);
  try {
    const recipe: Recipe = RECIPES[suite];
    const { release, variant, packages, setup = [], customize = [] } = recipe;
    const child = Bun.spawn(
      [
        // What it mounts ends with it: the removal below must not find the host's /dev.
        ...["unshare", "--mount", "mmdebstrap", "--quiet", "--mode=root"],
        ...[`--variant=${variant}`, "--format=directory", `--include=${packages.join(",")}`],
        ...APT_OPTIONS.map((option) => `--aptopt=${option}`),
        ...DPKG_OPTIONS.map((option) => `--dpkgopt=${option}`),
        ...setup.map((hook) => `--setup-hook=${hook}`),
        ...customize.map((hook) => `--customize-hook=${hook}`),
        ...[release, unfinished],
      ],
      { stdio: ["ignore", "ignore", "pipe"], timeout: BUILD_LIMIT_MS },
    );
    const stderr = await new Response(child.stderr).text();
    if ((await child.exited) !== 0) {
      const why = stderr.split("\n").filter((line) => /^E: /.test(line));
      throw new Error(`Cannot fetch ${suite}: ${why.join(" ") || `exit ${child.exitCode}`}`);
    }
    rename(unfinished, path);
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
}

function rename(unfinished: string, path: string): void {
  try {
    renameSync(unfinished, path);
  } catch (error) {
    // Another process may have been faster.
    if (!existsSync(path)) throw error;
  }
}

function environmentOf({ env }: TreeOptions): Record<string, string> {
  return { PATH: "/usr/sbin:/usr/bin", LC_ALL: "C.UTF-8", ...env };
}
