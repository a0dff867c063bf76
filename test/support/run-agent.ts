import { symlinkSync } from "node:fs";
import { join } from "node:path";
import { TempDir } from "./temp-dir.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");

export interface RunOptions {
  /** The name to be started under. */
  program?: string;
  env?: Record<string, string>;
  stdin?: string;
}

export interface RunResult {
  status: number;
  stdout: string;
  stderr: string;
}

/** Runs the sources as `agent ARGS`, without a configuration file unless `env` names one. */
export async function runAgent(args: string[], options: RunOptions = {}): Promise<RunResult> {
  using dir = new TempDir();
  // The name is argv[0] of the runtime: a link gives it any.
  const bun = join(dir.path, options.program ?? "agent");
  symlinkSync(process.execPath, bun);
  return await run([bun, MAIN, ...args], options);
}

export async function run(cmd: string[], options: RunOptions & { cwd?: string } = {}) {
  const { PATH } = Bun.env;
  const child = Bun.spawn(cmd, {
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: {
      PATH,
      SYSTEMD_JOURNAL_REMOTE_CONFIG_FILE: "/dev/null",
      SYSTEMD_JOURNAL_UPLOAD_CONFIG_FILE: "/dev/null",
      ...options.env,
    },
    stdin: new Blob([options.stdin ?? ""]),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, status] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { status, stdout, stderr };
}
