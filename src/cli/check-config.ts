/** `--check-config`: what would hold, where each value is from, and what is wrong with it. */
import { errnoOf, reasonOf } from "../errors.ts";
import type { Option } from "./options.ts";
import {
  formatProblem,
  type GivenValues,
  type Problem,
  type Setting,
  settingOrigin,
  settingValue,
} from "./setting.ts";

export interface ConfigReport {
  /** Configuration files that were read, in the order they apply. */
  files: readonly string[];
  rows: readonly ConfigRow[];
  /** Everything wrong: the setup's problems and what was found besides. */
  problems: readonly Problem[];
}

export type ConfigRow = readonly [name: string, value: string, origin: string];

export const CHECK_CONFIG_OPTION: Option = {
  name: "check-config",
  takesValue: "never",
  group: "General",
  description: "Print the effective configuration, where each value is from and what is wrong",
};

/** For stdout: one line a setting, then the problems. */
export function formatConfigReport({ files, rows, problems }: ConfigReport): string {
  const all = [["SETTING", "VALUE", "FROM"], ...rows];
  const widths = [0, 1].map((column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  const table = all.map((row) => row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join("  "));
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

/** @param effective what settings come to that depend on others, by the name of the option */
export function settingRows(
  settings: readonly Setting<unknown>[],
  values: GivenValues,
  effective: Readonly<Record<string, string>>,
): ConfigRow[] {
  return settings.map((setting) => {
    const name = setting.key === undefined ? `--${setting.name}` : `${setting.key}=`;
    const given = settingValue(values, setting);
    const shown = given === undefined ? setting.defaultText : undefined;
    const value = effective[setting.name] ?? shown ?? setting.show(given);
    return [name, value, settingOrigin(values, setting)];
  });
}

/** Words of the command line that are files. */
export function fileRow(files: readonly string[]): ConfigRow {
  return files.length === 0
    ? ["FILE", "none", "default"]
    : ["FILE", files.join(" "), "command line"];
}

/** Runs checks; what one throws is a problem of its path. */
export class PathChecks {
  readonly problems: Problem[] = [];

  check(path: string, inspect: (report: (message: string) => void) => void): void {
    const report = (message: string): void => {
      this.problems.push({ where: path, message });
    };
    try {
      inspect(report);
    } catch (error) {
      report(`Cannot use it: ${reasonInWords(error)}`);
    }
  }
}

/** Without the path, which stands before it. */
function reasonInWords(error: unknown): string {
  const code = errnoOf(error);
  if (code === "ENOENT") return "no such file";
  return code === "EACCES" ? "permission denied" : reasonOf(error);
}
