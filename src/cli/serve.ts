/** `agent serve`: command line and files → settings → the server, with what a daemon needs. */
import { statSync } from "node:fs";
import { ExitStatus } from "../errors.ts";
import { log } from "../log.ts";
import { type LoadedConfig, loadConfig } from "../platform/config-files.ts";
import { type InheritedSocket, inheritedSockets } from "../platform/service.ts";
import { type ImportProgress, serve } from "../serve/server.ts";
import { CHECK_CONFIG_OPTION, formatConfigReport } from "./check-config.ts";
import { command, print } from "./command.ts";
import { runDaemon } from "./daemon.ts";
import { type CommandLine, hasOption } from "./options.ts";
import { openProgressBar } from "./progress.ts";
import { findServeProblems, serveRows } from "./serve-check.ts";
import { ALL_SERVE_SETTINGS } from "./serve-options.ts";
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
  const progress = openProgress(setup.settings.files);
  return await runDaemon((daemon) => serve(setup.settings, { ...daemon, inherited, progress }));
}

function checkConfig(config: LoadedConfig, setup: ServeSetup, line: CommandLine): ExitStatus | 0 {
  const problems = [
    ...setup.problems,
    ...listViolations(setup.settings, { line, inheritedCount: undefined }).map((violation) => {
      return { where: undefined, message: violation.message };
    }),
    ...findServeProblems(setup.settings, Date.now()),
  ];
  print(formatConfigReport({ files: config.files, rows: serveRows(setup), problems }));
  return problems.length === 0 ? 0 : ExitStatus.config;
}

/** Once taken they are not announced to child processes. */
function takeInheritedSockets(): InheritedSocket[] {
  const inherited = inheritedSockets(process.env, process.pid);
  for (const name of ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]) delete process.env[name];
  return inherited;
}

/** For regular files, whose size is known, before somebody's eyes. */
function openProgress(files: readonly string[]): ImportProgress | undefined {
  const bar = files.length === 0 ? undefined : openProgressBar(process.stderr);
  const stats = files.map((file) => statSync(file, { throwIfNoEntry: false }));
  if (bar === undefined || !stats.every((stat) => stat?.isFile())) return undefined;
  const totalBytes = stats.reduce((sum, stat) => sum + (stat?.size ?? 0), 0);
  return {
    update(bytesDone, entries): void {
      bar.update(entries, totalBytes === 0 ? 1 : bytesDone / totalBytes);
    },
    done: (): void => bar.done(),
  };
}
