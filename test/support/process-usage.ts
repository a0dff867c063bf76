/** What a process takes, read from /proc (proc(5)); -1 and 0 once it is gone. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

/** Resident memory now, in bytes. */
export function readRss(pid: number): number {
  return readStatus(pid, "VmRSS");
}

/** The most resident memory it ever had. The rusage of wait4(2) would count the parent's too. */
export function readPeakRss(pid: number): number {
  return readStatus(pid, "VmHWM");
}

export function countDescriptors(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return 0;
  }
}

/** User and system time so far, in seconds. The kernel counts them in ticks of 10 ms. */
export function readCpuSeconds(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The second column is the program's name, in parentheses, and may hold anything.
    const columns = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(columns[11]) + Number(columns[12])) / 100;
  } catch {
    return 0;
  }
}

/** What the files of a directory take on disk, in bytes. */
export function diskUse(directory: string): number {
  const names = readdirSync(directory);
  return names.reduce((sum, name) => {
    // A receiver that is at work may have renamed or deleted it meanwhile.
    const blocks = statSync(join(directory, name), { throwIfNoEntry: false })?.blocks ?? 0;
    return sum + blocks * 512;
  }, 0);
}

function readStatus(pid: number, key: string): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "latin1");
    return Number(new RegExp(`^${key}:\\s+(\\d+) kB$`, "m").exec(status)?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}
