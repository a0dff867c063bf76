/** A running `agent upload`. */
import { LoggedProcess } from "./logged-process.ts";

export class UploaderProcess extends LoggedProcess {
  /** @param command executable, subcommand and options; configuration files are not read */
  constructor(command: readonly string[], env: Readonly<Record<string, string>> = {}) {
    super(command, { SYSTEMD_JOURNAL_UPLOAD_CONFIG_FILE: "/dev/null", ...env });
  }
}
