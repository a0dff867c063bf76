/** `agent serve --check-config`: its rows, and what is wrong with the files it needs. */
import { accessSync, constants, readFileSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { parseRevocationList } from "../bytes/revocation-list.ts";
import { revocationDers } from "../serve/certificates.ts";
import type { ServeSettings } from "../serve/settings.ts";
import { checkAuthority, checkIdentity } from "./certificate-files.ts";
import { type ConfigRow, fileRow, PathChecks, settingRows } from "./check-config.ts";
import { ALL_SERVE_SETTINGS, SERVE_SETTINGS } from "./serve-options.ts";
import type { ServeSetup } from "./serve-settings.ts";
import type { Problem } from "./setting.ts";

/**
 * What is wrong with the files an HTTPS listener needs, and with the output's permissions.
 * @param nowMs for the certificates' dates.
 */
export function findServeProblems(settings: ServeSettings, nowMs: number): Problem[] {
  const checks = new PathChecks();
  if (usesTls(settings)) {
    const { keyFile, certificateFile, trust } = settings;
    checkIdentity(checks, { keyFile, certificateFile, owner: "server" }, nowMs);
    if (trust.authority !== "all") checkAuthority(checks, trust.authority, nowMs);
    for (const file of trust.crlFiles) checkRevocationList(checks, file, nowMs);
  }
  const directory = settings.splitMode === "host" ? settings.output : dirname(settings.output);
  if (statSync(directory, { throwIfNoEntry: false })?.isDirectory() === true) {
    checks.check(directory, () => accessSync(directory, constants.W_OK));
  }
  return checks.problems;
}

/** One for each setting, and for what the environment decides. */
export function serveRows({ settings, values }: ServeSetup): ConfigRow[] {
  const rows = settingRows(ALL_SERVE_SETTINGS, values, {
    [SERVE_SETTINGS.output.name]: settings.output,
    [SERVE_SETTINGS.splitMode.name]: settings.splitMode,
  });
  return [fileRow(settings.files), ...rows, ...formatRows(settings)];
}

/** Without any source given (the unit's socket brings it), HTTPS is what is meant. */
function usesTls({ listenHttps, listenHttp, listenRaw, ...rest }: ServeSettings): boolean {
  if (listenHttps.length > 0) return true;
  const others = [listenHttp, listenRaw, rest.urls, rest.files];
  return rest.getter === undefined && others.every((list) => list.length === 0);
}

function checkRevocationList(checks: PathChecks, file: string, nowMs: number): void {
  checks.check(file, (report) => {
    const lists = revocationDers(readFileSync(file)).map(parseRevocationList);
    if (lists.length === 0) throw new Error("no list in it");
    for (const { nextUpdateMs } of lists) {
      if (nextUpdateMs === undefined || nextUpdateMs >= nowMs) continue;
      const due = new Date(nextUpdateMs).toISOString();
      report(`The list is out of date, the next was due on ${due}`);
    }
  });
}

/** Of the files written; the environment has its say there. */
function formatRows({ format }: ServeSettings): ConfigRow[] {
  const threshold = format.compressThresholdBytes;
  const compression = threshold === undefined ? "none" : `zstd from ${threshold} bytes on`;
  return [
    ["file compression", compression, "--compress, $SYSTEMD_JOURNAL_COMPRESS"],
    ["compact files", format.compact ? "yes" : "no", "$SYSTEMD_JOURNAL_COMPACT"],
    ["keyed hash", format.keyedHash ? "yes" : "no", "$SYSTEMD_JOURNAL_KEYED_HASH"],
  ];
}
