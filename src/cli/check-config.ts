/** `agent serve --check-config`: what would hold, where it is from, and what is wrong with it. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { accessSync, constants, readFileSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { errnoOf, reasonOf } from "../errors.ts";
import { parseRevocationList } from "../serve/crl.ts";
import type { ServeSettings } from "../serve/settings.ts";
import { ALL_SERVE_SETTINGS, SERVE_SETTINGS } from "./serve-options.ts";
import type { ServeSetup } from "./serve-settings.ts";
import { formatProblem, type Problem, settingOrigin, settingValue } from "./setting.ts";

export interface ConfigReport {
  /** Configuration files that were read, in the order they apply. */
  files: readonly string[];
  setup: ServeSetup;
  /** Everything wrong: the setup's problems and what was found besides. */
  problems: readonly Problem[];
}

/** For stdout: one line a setting, then the problems. */
export function formatConfigReport({ files, setup, problems }: ConfigReport): string {
  const rows = [["SETTING", "VALUE", "FROM"], ...settingRows(setup), ...formatRows(setup.settings)];
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const table = rows.map((row) => row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join("  "));
  const read = files.length === 0 ? ["none"] : files;
  return [
    "Configuration files, a later one wins:",
    ...read.map((file) => `  ${file}`),
    "",
    ...table.map((line) => line.trimEnd()),
    "",
    ...(problems.length === 0 ? ["No problems found"] : ["Problems:"]),
    ...problems.map((problem) => `  ${formatProblem(problem)}`),
    "",
  ].join("\n");
}

/**
 * What is wrong with the files an HTTPS listener needs, and with the output's permissions.
 * @param nowMs for the certificates' dates.
 */
export function findFileProblems(settings: ServeSettings, nowMs: number): Problem[] {
  const found: Problem[] = [];
  const attempt = (path: string, read: () => void): void => {
    try {
      read();
    } catch (error) {
      found.push({ where: path, message: `Cannot use it: ${reasonInWords(error)}` });
    }
  };
  if (usesTls(settings)) {
    const { keyFile, certificateFile, trust } = settings;
    let certificate: X509Certificate | undefined;
    attempt(certificateFile, () => {
      certificate = readCertificates(certificateFile, nowMs, found)[0];
    });
    attempt(keyFile, () => checkKey(keyFile, certificate, found));
    if (trust.authority !== "all") {
      attempt(trust.authority, () => readCertificates(trust.authority, nowMs, found));
    }
    for (const file of trust.crlFiles) attempt(file, () => checkRevocationList(file, nowMs, found));
  }
  const directory = settings.splitMode === "host" ? settings.output : dirname(settings.output);
  if (statSync(directory, { throwIfNoEntry: false })?.isDirectory() === true) {
    attempt(directory, () => accessSync(directory, constants.W_OK));
  }
  return found;
}

/** Without the path, which stands before it. */
function reasonInWords(error: unknown): string {
  const code = errnoOf(error);
  if (code === "ENOENT") return "no such file";
  return code === "EACCES" ? "permission denied" : reasonOf(error);
}

/** Without any source given (the unit's socket brings it), HTTPS is what is meant. */
function usesTls({ listenHttps, listenHttp, listenRaw, ...rest }: ServeSettings): boolean {
  if (listenHttps.length > 0) return true;
  const others = [listenHttp, listenRaw, rest.urls, rest.files];
  return rest.getter === undefined && others.every((list) => list.length === 0);
}

/** Every certificate of a PEM file; those out of date are reported. */
function readCertificates(file: string, nowMs: number, found: Problem[]): X509Certificate[] {
  const blocks = pemBlocks(readFileSync(file, "latin1"), "CERTIFICATE");
  if (blocks.length === 0) found.push({ where: file, message: "No certificate in PEM form here" });
  const certificates = blocks.map((block) => new X509Certificate(block));
  for (const certificate of certificates) {
    const subject = certificate.subject.replaceAll("\n", ", ");
    const report = (what: string): void => {
      found.push({ where: file, message: `The certificate "${subject}" ${what}` });
    };
    if (Date.parse(certificate.validTo) < nowMs) report(`expired on ${certificate.validTo}`);
    if (Date.parse(certificate.validFrom) > nowMs) report(`is valid from ${certificate.validFrom}`);
  }
  return certificates;
}

function checkKey(file: string, certificate: X509Certificate | undefined, found: Problem[]): void {
  const key = createPrivateKey(readFileSync(file));
  if ((statSync(file).mode & 0o004) !== 0) {
    found.push({ where: file, message: "Everybody can read this private key, need mode 0640" });
  }
  if (certificate !== undefined && !certificate.checkPrivateKey(key)) {
    found.push({ where: file, message: "The key does not belong to the server's certificate" });
  }
}

function checkRevocationList(file: string, nowMs: number, found: Problem[]): void {
  const bytes = readFileSync(file);
  const blocks = pemBlocks(bytes.toString("latin1"), "X509 CRL");
  const lists = blocks.length === 0 ? [bytes] : blocks.map(decodePem);
  for (const { nextUpdateMs } of lists.map(parseRevocationList)) {
    if (nextUpdateMs === undefined || nextUpdateMs >= nowMs) continue;
    const due = new Date(nextUpdateMs).toISOString();
    found.push({ where: file, message: `The list is out of date, the next was due on ${due}` });
  }
}

/** The parts of a PEM file with this label, armour included. */
function pemBlocks(text: string, label: string): string[] {
  const pattern = new RegExp(`-----BEGIN ${label}-----[^-]*-----END ${label}-----`, "g");
  return text.match(pattern) ?? [];
}

function decodePem(block: string): Buffer {
  return Buffer.from(block.replace(/-----[^-]+-----/g, ""), "base64");
}

function settingRows({ settings, values }: ServeSetup): string[][] {
  const rows = ALL_SERVE_SETTINGS.map((setting) => {
    const name = setting.key === undefined ? `--${setting.name}` : `${setting.key}=`;
    const isAutomatic = settingValue(values, setting) === undefined && setting.defaultText;
    const value = isAutomatic || setting.show(settingValue(values, setting));
    return { setting, cells: [name, value, settingOrigin(values, setting)] };
  });
  // What these two come to depends on the others.
  for (const { setting, cells } of rows) {
    if (setting.name === SERVE_SETTINGS.output.name) cells[1] = settings.output;
    if (setting.name === SERVE_SETTINGS.splitMode.name) cells[1] = settings.splitMode;
  }
  const files = settings.files.length === 0 ? "none" : settings.files.join(" ");
  const origin = settings.files.length === 0 ? "default" : "command line";
  return [["FILE", files, origin], ...rows.map((row) => row.cells)];
}

/** Of the files written; the environment has its say there. */
function formatRows({ format }: ServeSettings): string[][] {
  const threshold = format.compressThresholdBytes;
  const compression = threshold === undefined ? "none" : `zstd from ${threshold} bytes on`;
  return [
    ["file compression", compression, "--compress, $SYSTEMD_JOURNAL_COMPRESS"],
    ["compact files", format.compact ? "yes" : "no", "$SYSTEMD_JOURNAL_COMPACT"],
    ["keyed hash", format.keyedHash ? "yes" : "no", "$SYSTEMD_JOURNAL_KEYED_HASH"],
  ];
}
