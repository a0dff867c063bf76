/**
 * A setting has one name on the command line, perhaps one in the configuration file, one meaning
 * and one default. What files and command line say is merged here, each value with its origin.
 */
import { AgentError, reasonOf } from "../errors.ts";
import type { LoadedConfig } from "../platform/config-files.ts";
import type { Option, OptionUse } from "./options.ts";

export interface Setting<T> extends Option {
  readonly fallback: T;
  /** What an option without its optional value stands for; a switch is turned on. */
  readonly implied?: string;
  /** A list that a later file replaces, where others are added to. */
  readonly startsAnewInEachFile?: boolean;
  /** @throws AgentError */
  read(text: string, context: ReadContext<T>): T;
  /** For people; on one line. */
  show(value: T): string;
}

export interface ReadContext<T> {
  from: "file" | "command line";
  /** What a list has so far from the same source. */
  previous: T | undefined;
  /** For what can be done without; the value counts. */
  warn(message: string): void;
}

/** Something to tell the operator that does not stop the program. */
export interface Problem {
  /** "/etc/systemd/journal-remote.conf:12" */
  where: string | undefined;
  message: string;
}

/** What was given, by the name of the option. What is missing has its default. */
export type GivenValues = ReadonlyMap<string, GivenValue>;

export interface GivenValue {
  value: unknown;
  origin: string;
  /** Where it is from, if from a configuration file. */
  file?: string;
}

const COMMAND_LINE = "command line";

export interface MergedSettings {
  values: GivenValues;
  problems: Problem[];
}

/**
 * Merges configuration files and command line; the latter wins, a list included.
 * @param section of the files; keys in others are reported and ignored.
 * @throws AgentError E_USAGE for a bad value on the command line. In a file it is a problem.
 */
export function mergeSettings(
  settings: readonly Setting<unknown>[],
  section: string,
  config: LoadedConfig,
  uses: readonly OptionUse[],
): MergedSettings {
  const values = new Map<string, GivenValue>();
  const problems = [...config.problems.map(fromFile), ...unknownSections(config, section)];
  for (const assignment of config.assignments) {
    if (assignment.section !== section) continue;
    const { key, value: text } = assignment;
    const warn = (message: string): void => {
      problems.push(fromFile({ ...assignment, message }));
    };
    const setting = settings.find((candidate) => candidate.key === key);
    if (setting === undefined) {
      if (!key.startsWith("X-")) warn(`Unknown key "${key}" in section [${section}], ignoring`);
    } else if (text === "") {
      values.delete(setting.name);
    } else {
      try {
        const before = values.get(setting.name);
        const isAdded = setting.startsAnewInEachFile !== true || before?.file === assignment.file;
        const previous = isAdded ? before?.value : undefined;
        const value = setting.read(text, { from: "file", previous, warn });
        const origin = place(assignment);
        values.set(setting.name, { value, origin, file: assignment.file });
      } catch (error) {
        warn(`${key}=: ${reasonOf(error)}, ignoring`);
      }
    }
  }
  const given = readUses(settings, uses, problems);
  return { values: new Map([...values, ...given]), problems };
}

export function settingValue<T>(values: GivenValues, setting: Setting<T>): T {
  const given = values.get(setting.name);
  // mergeSettings() puts under this name only what this setting's read() returned.
  return given === undefined ? setting.fallback : (given.value as T);
}

/** The members of one record of settings, each with its value. */
export function readGroup<T extends object>(
  values: GivenValues,
  group: { [K in keyof T]: Setting<T[K]> },
): T {
  const entries = Object.entries<Setting<unknown>>(group);
  return Object.fromEntries(
    entries.map(([member, setting]) => [member, settingValue(values, setting)]),
  ) as T;
}

/** Whether the command line says it. */
export function isOnCommandLine(values: GivenValues, setting: Setting<unknown>): boolean {
  return values.get(setting.name)?.origin === COMMAND_LINE;
}

/** "default", "command line" or file and line. */
export function settingOrigin(values: GivenValues, setting: Setting<unknown>): string {
  return values.get(setting.name)?.origin ?? "default";
}

export function formatProblem(problem: Problem): string {
  return problem.where === undefined ? problem.message : `${problem.where}: ${problem.message}`;
}

function readUses(
  settings: readonly Setting<unknown>[],
  uses: readonly OptionUse[],
  problems: Problem[],
): Map<string, GivenValue> {
  const given = new Map<string, GivenValue>();
  for (const { option, value: text } of uses) {
    const setting = settings.find((candidate) => candidate.name === option.name);
    if (setting === undefined) continue;
    const context: ReadContext<unknown> = {
      from: COMMAND_LINE,
      previous: given.get(setting.name)?.value,
      warn: (message) => {
        problems.push({ where: `--${option.name}`, message });
      },
    };
    try {
      const value = setting.read(text ?? setting.implied ?? "yes", context);
      given.set(setting.name, { value, origin: COMMAND_LINE });
    } catch (error) {
      throw atOption(option.name, error);
    }
  }
  return given;
}

/** With the option's name before it; whatever is wrong with the value, it is whoever gave it that is told. */
export function atOption(name: string, error: unknown): unknown {
  if (!(error instanceof AgentError)) return error;
  return new AgentError("E_USAGE", `--${name}: ${error.message}`, {
    cause: error,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
  });
}

function unknownSections(config: LoadedConfig, section: string): Problem[] {
  return config.sections
    .filter((header) => header.section !== section && !header.section.startsWith("X-"))
    .map((header) =>
      fromFile({ ...header, message: `Unknown section [${header.section}], ignoring` }),
    );
}

function fromFile(at: { file: string; line: number | undefined; message: string }): Problem {
  return { where: place(at), message: at.message };
}

function place(at: { file: string; line: number | undefined }): string {
  return at.line === undefined ? at.file : `${at.file}:${at.line}`;
}
