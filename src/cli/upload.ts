/** `agent upload`: command line and files → settings → the uploader, with what a daemon needs. */
import { ExitStatus } from "../errors.ts";
import { log } from "../log.ts";
import { type LoadedConfig, loadConfig } from "../platform/config-files.ts";
import type { UploadProgress } from "../upload/run-types.ts";
import type { UploadSettings } from "../upload/settings.ts";
import { CHECK_CONFIG_OPTION, formatConfigReport } from "./check-config.ts";
import { command, print } from "./command.ts";
import { runDaemon } from "./daemon.ts";
import { type CommandLine, hasOption } from "./options.ts";
import { openProgressBar } from "./progress.ts";
import { formatProblem } from "./setting.ts";
import { findUploadProblems, uploadRows } from "./upload-check.ts";
import { ALL_UPLOAD_SETTINGS } from "./upload-options.ts";
import { listViolations, resolveUploadSettings, type UploadSetup } from "./upload-settings.ts";

export const uploadCommand = command({
  program: "agent upload",
  words: "[FIELD=value|+]... | {FILE|-}...",
  description:
    "Read the journal and send it, entry by entry once, to a receiver: agent serve, systemd-journal-remote, VictoriaLogs. Or send FILEs in the export format, - is stdin.",
  options: [...ALL_UPLOAD_SETTINGS, CHECK_CONFIG_OPTION],
  notes: [
    "Keys are those of section [Upload] in journal-upload.conf and journal-upload.conf.d/*.conf below /etc/systemd, /run/systemd, /usr/local/lib/systemd and /usr/lib/systemd. The command line wins.",
    "A word FIELD=value chooses entries as for journalctl, and + is or; a file of such a name is given as ./FIELD=value. Values of --match=, --exclude-match= and their keys are such words, in quotes where there are blanks in them; several of these options are alternatives.",
    "BYTES take K, M, G, T, to the base of 1024. TIME is like 30s or 1month 2d; for --since= and --until= like 2026-11-22 10:00, yesterday, -1h, 2 hours ago, @1795341600, with UTC or Europe/Berlin behind it. BOOL is yes or no. A LIST has commas or blanks.",
    "Environment: SYSTEMD_LOG_LEVEL; https_proxy, http_proxy, all_proxy, no_proxy; CREDENTIALS_DIRECTORY; SYSTEMD_JOURNAL_UPLOAD_CONFIG_FILE to read that file alone.",
    "Example: agent upload --url=https://logs.example.net --save-state --since=-7d --exclude-priority=debug",
  ],
  run: (line) => runUploadCommand(line, { isStock: false }),
});

export interface UploadCommandOptions {
  /** As systemd-journal-upload does. */
  isStock: boolean;
}

/** @throws AgentError E_USAGE, E_CONFIG before anything was opened. */
export async function runUploadCommand(
  line: CommandLine,
  { isStock }: UploadCommandOptions,
): Promise<ExitStatus | 0> {
  const { SYSTEMD_JOURNAL_UPLOAD_CONFIG_FILE: onlyFile } = process.env;
  const config = loadConfig({ name: "journal-upload", onlyFile });
  const setup = resolveUploadSettings(config, line, { environment: process.env, isStock });
  if (hasOption(line, CHECK_CONFIG_OPTION.name)) return checkConfig(config, setup);
  for (const problem of setup.problems) log.warn(formatProblem(problem));
  const [violation] = listViolations(setup);
  if (violation !== undefined) throw violation;
  const { runUpload } = await import("../upload/uploader.ts");
  return await runDaemon((daemon) =>
    runUpload(setup.settings, {
      ...daemon,
      progress: openProgress(setup.settings),
      environment: process.env,
    }),
  );
}

function checkConfig({ files }: LoadedConfig, setup: UploadSetup): ExitStatus | 0 {
  const violations = listViolations(setup).map(({ message }) => ({ where: undefined, message }));
  const fileProblems = findUploadProblems(setup.settings, Date.now());
  const problems = [...setup.problems, ...violations, ...fileProblems];
  print(formatConfigReport({ files, rows: uploadRows(setup), problems }));
  return problems.length === 0 ? 0 : ExitStatus.config;
}

/** For what has an end, before somebody's eyes. */
function openProgress({ follow }: UploadSettings): UploadProgress | undefined {
  const bar = follow ? undefined : openProgressBar(process.stderr);
  if (bar === undefined) return undefined;
  return {
    update(entriesSent, entriesLeft): void {
      const entries = entriesSent + entriesLeft;
      bar.update(entriesSent, entries === 0 ? 1 : entriesSent / entries);
    },
    done: (): void => bar.done(),
  };
}
