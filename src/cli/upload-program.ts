/**
 * Started under the name systemd-journal-upload, the binary takes that program's command line (262's, which includes
 * those before it) and ends as it does: with 0, or with 1 on any error, the first failure of the network included.
 */
import { runCommandLine } from "./command.ts";
import type { CommandLine } from "./options.ts";
import { runUploadCommand } from "./upload.ts";
import { ALL_UPLOAD_SETTINGS, TARGET_SETTINGS } from "./upload-options.ts";

const UPLOAD_PROGRAM = "systemd-journal-upload";

const STOCK_OPTIONS = [
  "url",
  "key",
  "cert",
  "trust",
  "system",
  "user",
  "merge",
  "machine",
  "namespace",
  "directory",
  "file",
  "cursor",
  "after-cursor",
  "follow",
  "save-state",
];

/** Never rejects. @returns the exit status. */
export async function runUploadProgram(argv: readonly string[]): Promise<0 | 1> {
  const status = await runCommandLine(
    {
      program: UPLOAD_PROGRAM,
      words: "[FILE|-]...",
      description: "Upload journal events to a remote server.",
      options: ALL_UPLOAD_SETTINGS.filter(({ name }) => STOCK_OPTIONS.includes(name)),
      run: (line) => runUploadCommand(withOneUrl(line), { isStock: true }),
    },
    argv,
    { lenient: true },
  );
  return status === 0 ? 0 : 1;
}

/** That program has one receiver: the last that is given. */
function withOneUrl(line: CommandLine): CommandLine {
  const isUrl = ({ option }: CommandLine["uses"][number]): boolean =>
    option.name === TARGET_SETTINGS.urls.name;
  const last = line.uses.findLast(isUrl);
  return { ...line, uses: line.uses.filter((use) => !isUrl(use) || use === last) };
}
