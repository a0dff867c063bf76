/**
 * Started under the name systemd-journal-remote, the binary takes that program's command line
 * (262's, which includes those before it) and ends with its exit status: 0, or 1 on any error.
 */
import { log } from "../log.ts";
import { runCommandLine } from "./command.ts";
import type { Option } from "./options.ts";
import { runServe } from "./serve.ts";
import { ALL_SERVE_SETTINGS } from "./serve-options.ts";

const REMOTE_PROGRAM = "systemd-journal-remote";

const STOCK_OPTIONS = [
  "url",
  "getter",
  "listen-raw",
  "listen-http",
  "listen-https",
  "output",
  "compress",
  "seal",
  "key",
  "cert",
  "trust",
  "split-mode",
  "max-use",
  "keep-free",
  "max-file-size",
  "max-files",
];

const GNUTLS_LOG: Option = {
  name: "gnutls-log",
  takesValue: "always",
  repeatable: true,
  valueHint: "CATEGORY...",
  group: "General",
  description: "Accepted for compatibility: GnuTLS is not used",
};

/** Never rejects. @returns the exit status. */
export async function runRemoteProgram(argv: readonly string[]): Promise<0 | 1> {
  const status = await runCommandLine(
    {
      program: REMOTE_PROGRAM,
      words: "{FILE|-}...",
      description: "Write external journal events to journal file(s).",
      options: [
        ...ALL_SERVE_SETTINGS.filter((setting) => STOCK_OPTIONS.includes(setting.name)),
        GNUTLS_LOG,
      ],
      run: async (line) => {
        if (line.uses.some(({ option }) => option === GNUTLS_LOG)) {
          log.warn("--gnutls-log= has no effect: GnuTLS is not used");
        }
        return await runServe(line);
      },
    },
    argv,
    { lenient: true },
  );
  return status === 0 ? 0 : 1;
}
