/** `agent upload --check-config`: its rows, and what is wrong with the files it needs. */
import { accessSync, constants, existsSync, readFileSync, statSync } from "node:fs";
import { dirname } from "node:path";
import type { UploadSettings } from "../upload/settings.ts";
import { checkAuthority, checkIdentity } from "./certificate-files.ts";
import { type ConfigRow, fileRow, PathChecks, settingRows } from "./check-config.ts";
import type { Problem } from "./setting.ts";
import { ALL_UPLOAD_SETTINGS, TARGET_SETTINGS, TRUST_SETTINGS } from "./upload-options.ts";
import { type UploadSetup, usesTls } from "./upload-settings.ts";

/**
 * What is wrong with certificates, secrets, places and the state's directory.
 * @param nowMs for the certificates' dates.
 */
export function findUploadProblems(settings: UploadSettings, nowMs: number): Problem[] {
  const { keyFile, certificateFile, trust, places, bearerTokenFile, basicAuthFile } = settings;
  const checks = new PathChecks();
  if (keyFile !== undefined && certificateFile !== undefined) {
    checkIdentity(checks, { keyFile, certificateFile, owner: "sender" }, nowMs);
  }
  if (usesTls(settings.urls) && trust !== "all") checkAuthority(checks, trust, nowMs);
  for (const file of [bearerTokenFile, basicAuthFile]) {
    if (file?.startsWith("/")) checkSecret(checks, file, { isPair: file === basicAuthFile });
  }
  const { directory, exportFiles } = places;
  for (const path of exportFiles.filter((file) => file !== "-")) {
    checks.check(path, () => accessSync(path, constants.R_OK));
  }
  if (directory !== undefined) {
    checks.check(directory, () => accessSync(directory, constants.R_OK | constants.X_OK));
  }
  for (const file of [settings.stateFile, settings.quarantineFile]) {
    if (file !== undefined) checkWritable(checks, dirname(file));
  }
  return checks.problems;
}

/** One for each setting. */
export function uploadRows({ settings, values }: UploadSetup): ConfigRow[] {
  const rows = settingRows(ALL_UPLOAD_SETTINGS, values, {
    [TRUST_SETTINGS.keyFile.name]: settings.keyFile ?? "none",
    [TRUST_SETTINGS.certificateFile.name]: settings.certificateFile ?? "none",
    ...(settings.proxy === "" ? { [TARGET_SETTINGS.proxy.name]: "no" } : {}),
  });
  return [fileRow(settings.places.exportFiles), ...rows];
}

function checkSecret(checks: PathChecks, file: string, { isPair }: { isPair: boolean }): void {
  checks.check(file, (report) => {
    const text = readFileSync(file, "utf8").trim();
    if (text === "") report("It is empty");
    else if (isPair && !text.includes(":")) report("No USER:PASSWORD here");
    if ((statSync(file).mode & 0o004) !== 0) report("Everybody can read this, need mode 0640");
  });
}

/** A directory that is not there yet is made by the program, in one that is. */
function checkWritable(checks: PathChecks, directory: string): void {
  if (!existsSync(directory)) {
    checkWritable(checks, dirname(directory));
    return;
  }
  checks.check(directory, (report) => {
    if (statSync(directory).isDirectory()) accessSync(directory, constants.W_OK);
    else report("Cannot use it: it is not a directory");
  });
}
