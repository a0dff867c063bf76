/** `agent serve`: command line and files → settings → the server, with what a daemon needs. */
import { statSync } from "node:fs";
import { ExitStatus, reasonOf } from "../errors.ts";
import { log } from "../log.ts";
import { type LoadedConfig, loadConfig } from "../platform/config-files.ts";
import {
  feedWatchdog,
  type InheritedSocket,
  inheritedSockets,
  openNotifier,
  ServiceSignals,
} from "../platform/service.ts";
import { serve } from "../serve/server.ts";
import type { ServeSettings } from "../serve/settings.ts";
import { findFileProblems, formatConfigReport } from "./check-config.ts";
import { command, print } from "./command.ts";
import { type CommandLine, hasOption } from "./options.ts";
import { Progress } from "./progress.ts";
import { ALL_SERVE_SETTINGS, CHECK_CONFIG_OPTION } from "./serve-options.ts";
import { listViolations, resolveServeSettings, type ServeSetup } from "./serve-settings.ts";
import { formatProblem } from "./setting.ts";

export const serveCommand = command({
  program: "agent serve",
  words: "[FILE|-]...",
  description:
    "Receive journals over HTTPS with client certificates and write native journal files; or import export streams from files, commands and systemd-journal-gatewayd.",
  options: [...ALL_SERVE_SETTINGS, CHECK_CONFIG_OPTION],
  notes: [
    "Keys are those of section [Remote] in journal-remote.conf and journal-remote.conf.d/*.conf below /etc/systemd, /run/systemd, /usr/local/lib/systemd and /usr/lib/systemd. The command line wins.",
    "BYTES take K, M, G, T, to the base of 1024. TIME is like 30s or 1month 2d.",
    "Environment: SYSTEMD_LOG_LEVEL; SYSTEMD_JOURNAL_COMPRESS, SYSTEMD_JOURNAL_COMPACT and SYSTEMD_JOURNAL_KEYED_HASH for the format of the files; SYSTEMD_JOURNAL_REMOTE_CONFIG_FILE to read that file alone.",
    "Example: agent serve --listen-https=19532 --trust=/etc/ssl/systemd-journal/ca.pem",
  ],
  run: runServe,
});

/** @throws AgentError E_USAGE, E_CONFIG before anything was opened. */
export async function runServe(line: CommandLine): Promise<ExitStatus | 0> {
  const { SYSTEMD_JOURNAL_REMOTE_CONFIG_FILE: onlyFile } = process.env;
  const config = loadConfig({ name: "journal-remote", onlyFile });
  const setup = resolveServeSettings(config, line, process.env);
  if (hasOption(line, CHECK_CONFIG_OPTION.name)) return checkConfig(config, setup, line);
  const inherited = takeInheritedSockets();
  for (const problem of setup.problems) log.warn(formatProblem(problem));
  const [violation] = listViolations(setup.settings, { line, inheritedCount: inherited.length });
  if (violation !== undefined) throw violation;
  return await runDaemon(setup.settings, inherited);
}

function checkConfig(config: LoadedConfig, setup: ServeSetup, line: CommandLine): ExitStatus | 0 {
  const problems = [
    ...setup.problems,
    ...listViolations(setup.settings, { line, inheritedCount: undefined }).map((violation) => {
      return { where: undefined, message: violation.message };
    }),
    ...findFileProblems(setup.settings, Date.now()),
  ];
  print(formatConfigReport({ files: config.files, setup, problems }));
  return problems.length === 0 ? 0 : ExitStatus.config;
}

async function runDaemon(
  settings: ServeSettings,
  inherited: readonly InheritedSocket[],
): Promise<ExitStatus | 0> {
  const signals = new ServiceSignals();
  const notify = await openNotifier(process.env, { onError: onceOnly(warnOfNotify) });
  let isHealthy = (): boolean => true;
  const stopWatchdog = feedWatchdog(notify, process.env, process.pid, () => isHealthy());
  try {
    return await serve(settings, {
      signal: signals.signal,
      onReload: (reload) => signals.onReload(reload),
      onHealthCheck(check) {
        isHealthy = check;
      },
      notify,
      inherited,
      progress: openProgress(settings.files),
    });
  } finally {
    stopWatchdog();
    await notify.close();
    signals.close();
  }
}

function warnOfNotify(error: unknown): void {
  log.warn(`The service manager cannot be told how it goes: ${reasonOf(error)}`);
}

/** Status goes out every few seconds: one warning is enough. */
function onceOnly(call: (error: unknown) => void): (error: unknown) => void {
  let isCalled = false;
  return (error) => {
    if (!isCalled) call(error);
    isCalled = true;
  };
}

/** Once taken they are not announced to child processes. */
function takeInheritedSockets(): InheritedSocket[] {
  const inherited = inheritedSockets(process.env, process.pid);
  for (const name of ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]) delete process.env[name];
  return inherited;
}

/** For regular files, whose size is known, before somebody's eyes. */
function openProgress(files: readonly string[]): Progress | undefined {
  if (process.stderr.isTTY !== true || files.length === 0) return undefined;
  const stats = files.map((file) => statSync(file, { throwIfNoEntry: false }));
  if (!stats.every((stat) => stat?.isFile())) return undefined;
  const totalBytes = stats.reduce((sum, stat) => sum + (stat?.size ?? 0), 0);
  return new Progress({ totalBytes, stream: process.stderr, now: () => performance.now() });
}
