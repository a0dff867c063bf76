/** systemd's own tools as an oracle, and journal files made by them. */
import { existsSync, rmSync, writeFileSync } from "node:fs";

/** Of this host; undefined where it is not installed. */
export const JOURNAL_REMOTE = [
  "/usr/lib/systemd/systemd-journal-remote",
  "/lib/systemd/systemd-journal-remote",
].find((file) => existsSync(file));

/** True where journalctl and systemd-journal-remote are installed. */
export function hasSystemd(): boolean {
  return JOURNAL_REMOTE !== undefined && Bun.which("journalctl") !== null;
}

interface ToolResult {
  ok: boolean;
  /** stdout and stderr. */
  output: string;
}

/** Runs a command to its end, at most 60 seconds. */
function runTool(command: string[], env: Record<string, string> = {}): ToolResult {
  const result = Bun.spawnSync(command, {
    env: { ...Bun.env, ...env },
    stdout: "pipe",
    stderr: "pipe",
    timeout: 60_000,
  });
  return { ok: result.exitCode === 0, output: `${result.stdout}${result.stderr}` };
}

export function journalctlVerify(file: string): ToolResult {
  return runTool(["journalctl", "--verify", "--file", file]);
}

/** The entries of a file as `journalctl --output=export` shows them. */
export function journalctlExport(file: string): ToolResult {
  return runTool(["journalctl", "--quiet", "--output=export", "--file", file]);
}

export interface JournalVariant {
  /** Default: compact. */
  compact?: boolean;
  /** Default: keyed (SipHash). */
  keyed?: boolean;
}

/** Has systemd-journal-remote write `file`, whose name must end in ".journal". */
export function makeJournal(
  file: string,
  exportStream: string | Uint8Array,
  variant: JournalVariant = {},
): void {
  if (JOURNAL_REMOTE === undefined) throw new Error("systemd-journal-remote is not installed");
  const input = `${file}.export`;
  writeFileSync(input, exportStream);
  const result = runTool([JOURNAL_REMOTE, "-o", file, input], {
    SYSTEMD_JOURNAL_COMPACT: variant.compact === false ? "0" : "1",
    SYSTEMD_JOURNAL_KEYED_HASH: variant.keyed === false ? "0" : "1",
  });
  rmSync(input);
  if (!result.ok) throw new Error(`systemd-journal-remote failed: ${result.output}`);
}

const BOOT_IDS = ["6c7c6013a26343b29e964691ff25d04c", "0d2e5d3d2f5c4d3f9b4f7c1d7f1b9a10"];
const START_USEC = 1_700_000_000_000_000;

/** Entries like a host's: repeated and unique values, two boots, values long enough to compress. */
export function sampleExport(entries: number): string {
  let stream = "";
  for (let i = 0; i < entries; i++) {
    const boot = BOOT_IDS[i * 2 < entries ? 0 : 1] as string;
    stream += `__REALTIME_TIMESTAMP=${START_USEC + i * 1000}\n`;
    stream += `__MONOTONIC_TIMESTAMP=${1_000_000 + i * 1000}\n`;
    stream += `_BOOT_ID=${boot}\n`;
    stream += "_MACHINE_ID=c1f0b6f0aa8d4e6e9d5b8f3f7a2c1d0e\n_HOSTNAME=host.example.net\n";
    stream += `PRIORITY=${i % 8}\n_PID=${1000 + (i % 17)}\nSYSLOG_IDENTIFIER=unit-${i % 5}\n`;
    stream += `MESSAGE=message number ${i}\n`;
    if (i % 10 === 0) stream += `CODE_FILE=${`path/to/file-${i}/`.repeat(60)}\n`;
    stream += "\n";
  }
  return stream;
}
