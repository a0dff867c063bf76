/**
 * The one logger. Everything goes to stderr: stdout is for results. Under journald each line gets
 * a `<N>` priority prefix (sd-daemon(3)); on a terminal it is consola's usual coloured form.
 */
import { type ConsolaInstance, createConsola, type LogObject } from "consola";

/** consola log type → syslog priority. */
const PRIORITY: Record<string, number> = {
  fatal: 2,
  error: 3,
  warn: 4,
  ready: 5,
  success: 5,
  start: 6,
  info: 6,
  log: 6,
  box: 6,
  debug: 7,
  trace: 7,
  verbose: 7,
};

/** Our levels by the names systemd's SYSTEMD_LOG_LEVEL takes. */
const LEVELS: Record<string, number> = {
  emerg: 0,
  alert: 0,
  crit: 0,
  err: 0,
  warning: 1,
  notice: 2,
  info: 3,
  debug: 4,
};

export interface LogOptions {
  /** stderr goes to journald: prefix `<N>` and use no colours. */
  journald: boolean;
  /** SYSTEMD_LOG_LEVEL's value. */
  level?: string | undefined;
}

/** What the logger was made with, for threads to make theirs. */
export let logOptions: LogOptions = { journald: false };

export let log: ConsolaInstance = makeLog(logOptions);

/** Called once, by the command line, when the environment is known. */
export function configureLog(options: LogOptions): void {
  logOptions = options;
  log = makeLog(options);
}

function makeLog(options: LogOptions): ConsolaInstance {
  const level = LEVELS[options.level ?? "info"] ?? 3;
  // Consola would keep the sixth of equal lines back: told out of place, or, at an exit, never.
  const throttleMin = Number.POSITIVE_INFINITY;
  const base = { level, throttleMin, stdout: process.stderr, stderr: process.stderr };
  if (options.journald) return createConsola({ ...base, reporters: [{ log: writePrefixed }] });
  if (process.stderr.isTTY) return createConsola(base);
  return createConsola({ ...base, reporters: [{ log: writePlain }] });
}

/** One line per event, for a file or a pipe. */
function writePlain(entry: LogObject): void {
  process.stderr.write(`${entry.type}: ${entry.args.map((arg) => textOf(arg)).join(" ")}\n`);
}

function writePrefixed(entry: LogObject): void {
  const text = entry.args.map((arg) => textOf(arg)).join(" ");
  const prefix = `<${PRIORITY[entry.type] ?? 6}>`;
  process.stderr.write(`${prefix}${text.replaceAll("\n", `\n${prefix}`)}\n`);
}

function textOf(arg: unknown): string {
  if (arg instanceof Error) return arg.stack ?? arg.message;
  return typeof arg === "string" ? arg : Bun.inspect(arg);
}
