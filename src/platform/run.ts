/** Commands of the system: run to their end, captured, with a time limit. */
import { errnoOf, reasonOf } from "../errors.ts";

export interface CommandResult {
  /** As shells have it: 126 = may not be run, 127 = no such program, 124 = took too long, 128 + n = ended by signal n. */
  status: number;
  stdout: string;
  stderr: string;
}

export interface CommandOptions {
  /** For its stdin. */
  input?: string;
  timeoutMs?: number;
}

/** Never rejects: a command that cannot be run has a status, and the reason on its stderr. */
export type RunCommand = (
  argv: readonly string[],
  options?: CommandOptions,
) => Promise<CommandResult>;

/** Starting a unit may wait for all it needs. */
const TIMEOUT_MS = 120_000;

/** Output in plain English, whatever the operator's locale and terminal. */
const ENVIRONMENT = { LC_ALL: "C.UTF-8", SYSTEMD_COLORS: "0", SYSTEMD_PAGER: "" };

export const runCommand: RunCommand = async (argv, options = {}) => {
  const { input = "", timeoutMs = TIMEOUT_MS } = options;
  try {
    const child = Bun.spawn([...argv], {
      env: { ...process.env, ...ENVIRONMENT },
      stdin: new Blob([input]),
      stdout: "pipe",
      stderr: "pipe",
      timeout: timeoutMs,
      killSignal: "SIGKILL",
    });
    const startMs = performance.now();
    const [stdout, stderr, status] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    const isLate = child.signalCode === "SIGKILL" && performance.now() - startMs >= timeoutMs;
    return isLate
      ? { status: 124, stdout, stderr: `${stderr}not done within ${timeoutMs / 1000} s` }
      : { status, stdout, stderr };
  } catch (error) {
    const isMissing = errnoOf(error) === "ENOENT";
    return { status: isMissing ? 127 : 126, stdout: "", stderr: reasonOf(error) };
  }
};
