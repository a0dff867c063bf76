/**
 * What is known of the machine, or of the image below --root=, before anything is changed. Nothing of an image is run: it
 * may be of another architecture.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { hostname } from "node:os";
import { type RunCommand, runCommand } from "../platform/run.ts";
import { resolveIn } from "./rooted-path.ts";

export interface HostFacts {
  /** "" = this machine; else the directory of an image, without a slash at its end. */
  root: string;
  /** Of the system that is set up: 239 and later; 0 = there is none. */
  systemdVersion: number;
  /** Is it PID 1 here? False below --root=. */
  isSystemdRunning: boolean;
  /** Units that others than us brought, by name: "systemd-journal-remote.socket" → path of the file. */
  foreignUnits: ReadonlyMap<string, string>;
  /** systemd's own programs, where they are installed. */
  stockRemote: StockProgram | undefined;
  stockUpload: StockProgram | undefined;
  /** Short name of the machine. */
  hostName: string;
}

export interface StockProgram {
  path: string;
  /** Can it check certificates? */
  hasGnutls: boolean;
}

/** Where units are, the first that has one wins: systemd.unit(5). Generated and transient ones are nobody's to override. */
const UNIT_DIRECTORIES = [
  "/etc/systemd/system",
  "/run/systemd/system",
  "/usr/local/lib/systemd/system",
  "/usr/lib/systemd/system",
  "/lib/systemd/system",
];
/** Names that we could have a use for. */
const UNIT_NAME = /^(systemd-journal-(remote|upload)|journal-agent-).*\.(service|socket|timer)$/;

const PROGRAM_DIRECTORIES = ["/usr/lib/systemd", "/lib/systemd"];
/** With a directory for each architecture, in Debian and its kin. */
const LIBRARY_ROOTS = ["/usr/lib", "/usr/lib64", "/lib", "/lib64"];
/** "libsystemd-shared-252.so", "libsystemd-shared-254.5-2.fc39.so" */
const SHARED_LIBRARY = /^libsystemd-shared-(\d+).*\.so$/;

/** @param isOurs whether a path, without root, is one that an installation of ours brought */
export async function readHostFacts(
  root: string,
  isOurs: (path: string) => boolean,
  run: RunCommand = runCommand,
): Promise<HostFacts> {
  const library = findSharedLibrary(root);
  return {
    root,
    systemdVersion: (root === "" ? await runningVersion(run) : library?.version) ?? 0,
    // sd_booted(3).
    isSystemdRunning: root === "" && existsSync("/run/systemd/system"),
    foreignUnits: findForeignUnits(root, isOurs),
    stockRemote: findStockProgram(root, "systemd-journal-remote", library?.path),
    stockUpload: findStockProgram(root, "systemd-journal-upload", library?.path),
    hostName: root === "" ? shortName(hostname()) : imageName(root),
  };
}

async function runningVersion(run: RunCommand): Promise<number | undefined> {
  const { stdout } = await run(["systemctl", "--version"]);
  const [, version] = /^systemd (\d+)/.exec(stdout) ?? [];
  return version === undefined ? undefined : Number(version);
}

/** The library that all of systemd's programs share has the version in its name. */
function findSharedLibrary(root: string): { version: number; path: string } | undefined {
  for (const parent of LIBRARY_ROOTS) {
    const triplets = list(root, parent).filter((name) => name.includes("-linux-"));
    for (const within of ["", ...triplets.map((name) => `/${name}`)]) {
      const directory = `${parent}${within}/systemd`;
      for (const name of list(root, directory)) {
        const [, version] = SHARED_LIBRARY.exec(name) ?? [];
        const path = `${directory}/${name}`;
        if (version !== undefined) return { version: Number(version), path };
      }
    }
  }
  return undefined;
}

function findForeignUnits(root: string, isOurs: (path: string) => boolean): Map<string, string> {
  const found = new Map<string, string>();
  for (const directory of UNIT_DIRECTORIES) {
    for (const name of list(root, directory)) {
      const path = `${directory}/${name}`;
      if (UNIT_NAME.test(name) && !found.has(name) && !isOurs(path)) found.set(name, path);
    }
  }
  return found;
}

function findStockProgram(
  root: string,
  name: string,
  library: string | undefined,
): StockProgram | undefined {
  const path = PROGRAM_DIRECTORIES.map((directory) => `${directory}/${name}`).find((candidate) =>
    existsSync(resolveIn(root, candidate, true)),
  );
  if (path === undefined) return undefined;
  // What its --version shows of how it was built is a text of the shared library, or of the program itself.
  const files = [...(library === undefined ? [] : [library]), path];
  const hasGnutls = files.some((file) =>
    readFileSync(resolveIn(root, file, true)).includes("+GNUTLS"),
  );
  return { path, hasGnutls };
}

function imageName(root: string): string {
  try {
    const lines = readFileSync(resolveIn(root, "/etc/hostname", true), "utf8").split("\n");
    const name = lines.map((line) => line.trim()).find((line) => line !== "" && line[0] !== "#");
    return shortName(name ?? "localhost");
  } catch {
    // Named at its first boot.
    return "localhost";
  }
}

function shortName(name: string): string {
  return name.replace(/\..*$/s, "");
}

/** Empty where there is no such directory. */
function list(root: string, directory: string): string[] {
  try {
    return readdirSync(resolveIn(root, directory, true));
  } catch {
    return [];
  }
}
