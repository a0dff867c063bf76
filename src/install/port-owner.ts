/** Who listens on a TCP port of this machine, from the kernel's tables. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { printable } from "../bytes/printable.ts";
import type { RunCommand } from "../platform/run.ts";

export interface PortOwner {
  /** 0 where no process of ours to see holds the socket: another container's. */
  pid: number;
  /** "nginx", or "" */
  program: string;
  /** "nginx.service"; the socket unit where it is the service manager that listens; undefined = none. */
  unit: string | undefined;
}

/** st of /proc/net/tcp: TCP_LISTEN. */
const LISTEN = "0A";
const INIT = 1;

/** Each process that holds a socket that listens on the port, on any address. */
export async function portOwners(port: number, run: RunCommand): Promise<PortOwner[]> {
  const inodes = listeningInodes(port);
  if (inodes.size === 0) return [];
  const owners: PortOwner[] = [];
  const unowned = new Set(inodes);
  for (const pid of processIds()) {
    const held = socketsOf(pid).filter((inode) => inodes.has(inode));
    if (held.length === 0) continue;
    for (const inode of held) unowned.delete(inode);
    const unit = pid === INIT ? await socketUnit(port, run) : unitOf(pid);
    // A process of whoever it is has named itself.
    owners.push({ pid, program: printable(readText(`/proc/${pid}/comm`).trim()), unit });
  }
  return unowned.size === 0 ? owners : [...owners, { pid: 0, program: "", unit: undefined }];
}

function listeningInodes(port: number): Set<string> {
  const inodes = new Set<string>();
  for (const table of ["tcp", "tcp6"]) {
    for (const line of readText(`/proc/self/net/${table}`).split("\n")) {
      const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
      if (local === undefined || state !== LISTEN || inode === undefined) continue;
      if (Number.parseInt(local.replace(/^.*:/, ""), 16) === port) inodes.add(inode);
    }
  }
  return inodes;
}

function processIds(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** Inodes of the sockets that a process has open; empty when it is gone, or not ours to look into. */
function socketsOf(pid: number): string[] {
  let names: string[];
  try {
    names = readdirSync(`/proc/${pid}/fd`);
  } catch {
    return [];
  }
  return names.flatMap((name) => {
    try {
      const [, inode] = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${name}`)) ?? [];
      return inode === undefined ? [] : [inode];
    } catch {
      return [];
    }
  });
}

/** "0::/system.slice/nginx.service": the innermost unit. */
function unitOf(pid: number): string | undefined {
  const names = readText(`/proc/${pid}/cgroup`).match(/[^/\n]+\.service(?=\/|\n|$)/g);
  const name = names?.at(-1);
  return name === undefined ? undefined : printable(name);
}

/** "[::]:19532 systemd-journal-remote.socket systemd-journal-remote.service" */
async function socketUnit(port: number, run: RunCommand): Promise<string | undefined> {
  const { stdout } = await run(["systemctl", "list-sockets", "--all", "--no-legend", "--full"]);
  for (const line of stdout.split("\n")) {
    const [address = "", unit] = line.trim().split(/\s+/);
    if (address === `${port}` || address.endsWith(`:${port}`)) return unit;
  }
  return undefined;
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
