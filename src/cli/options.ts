/**
 * The command line, read as getopt_long(3) reads it: `--name=VALUE`, `--name VALUE`, `-oVALUE`,
 * `-o VALUE`, words anywhere between, `--` ends the options. Nothing unknown, left over, given
 * twice or without its value passes.
 */
import { AgentError } from "../errors.ts";

export interface Option {
  /** Without the dashes. */
  readonly name: string;
  /** One letter. */
  readonly short?: string;
  /** "optionally": only as `--name=VALUE`; the next word is not taken. */
  readonly takesValue: "always" | "optionally" | "never";
  /** May be given several times. */
  readonly repeatable?: boolean;
  /** What stands for the value in the help text: "FILE". */
  readonly valueHint?: string;
  /** Heading of the help text it stands under. */
  readonly group: string;
  readonly description: string;
  /** Its name in the configuration file, where it has one. */
  readonly key?: string;
  /** What the help text says about the default. */
  readonly defaultText?: string;
}

/** One appearance of an option. */
export interface OptionUse {
  option: Option;
  /** Never "". */
  value: string | undefined;
}

export interface CommandLine {
  /** In the order given. */
  uses: OptionUse[];
  words: string[];
}

export interface CommandLineRules {
  /** A beginning that only one option has stands for it, and the last of several uses counts. */
  lenient?: boolean;
}

/** @throws AgentError E_USAGE */
export function parseCommandLine(
  argv: readonly string[],
  options: readonly Option[],
  rules: CommandLineRules = {},
): CommandLine {
  const line: CommandLine = { uses: [], words: [] };
  const rest = [...argv];
  for (let arg = rest.shift(); arg !== undefined; arg = rest.shift()) {
    if (arg === "--") {
      line.words.push(...rest.splice(0));
    } else if (arg.startsWith("--")) {
      line.uses.push(readLong(arg, rest, options, rules));
    } else if (arg.startsWith("-") && arg !== "-") {
      line.uses.push(readShort(arg, rest, options));
    } else {
      line.words.push(arg);
    }
  }
  if (rules.lenient !== true) rejectRepeated(line.uses);
  return line;
}

/** Whether the option was given at all. */
export function hasOption(line: CommandLine, name: string): boolean {
  return line.uses.some((use) => use.option.name === name);
}

function readLong(
  arg: string,
  rest: string[],
  options: readonly Option[],
  rules: CommandLineRules,
): OptionUse {
  const equals = arg.indexOf("=");
  const name = arg.slice(2, equals < 0 ? undefined : equals);
  const option = findOption(name, options, rules);
  if (equals < 0) return readNext(option, `--${name}`, rest);
  const value = arg.slice(equals + 1);
  if (option.takesValue === "never") throw usage(`--${name}`, "it takes no value");
  if (value === "") throw usage(`--${name}`, "it needs a value");
  return { option, value };
}

function readShort(arg: string, rest: string[], options: readonly Option[]): OptionUse {
  const letter = arg.slice(1, 2);
  const option = options.find((candidate) => candidate.short === letter);
  if (option === undefined) throw usage(`-${letter}`, "no such option");
  if (arg.length === 2) return readNext(option, arg, rest);
  if (option.takesValue === "never") throw usage(arg, `"-${letter}" takes no value`);
  return { option, value: arg.slice(2) };
}

/** Takes the value from the next word, where the option needs one. */
function readNext(option: Option, given: string, rest: string[]): OptionUse {
  if (option.takesValue !== "always") return { option, value: undefined };
  const value = rest[0];
  // "-3" is a value (an inherited descriptor); "--cert=x" is the next option.
  if (value === undefined || value === "" || value.startsWith("--")) {
    throw usage(given, "it needs a value");
  }
  rest.shift();
  return { option, value };
}

function findOption(name: string, options: readonly Option[], rules: CommandLineRules): Option {
  const exact = options.find((option) => option.name === name);
  if (exact !== undefined) return exact;
  const similar = options.filter((option) => option.name.startsWith(name));
  const [first] = similar;
  if (rules.lenient === true && first !== undefined) {
    if (similar.length === 1) return first;
    const names = similar.map((option) => `"--${option.name}"`).join(", ");
    throw usage(`--${name}`, `it could be ${names}`);
  }
  const guess = first ?? nearest(name, options);
  const hint = guess === undefined ? {} : { hint: `Did you mean "--${guess.name}"?` };
  throw new AgentError("E_USAGE", `Cannot use "--${name}": no such option`, hint);
}

function rejectRepeated(uses: readonly OptionUse[]): void {
  const seen = new Set<Option>();
  for (const { option } of uses) {
    if (seen.has(option) && option.repeatable !== true) {
      throw usage(`--${option.name}`, "it is given twice, once is possible");
    }
    seen.add(option);
  }
}

/** The option one or two typing errors away. */
function nearest(name: string, options: readonly Option[]): Option | undefined {
  const ranked = options
    .map((option) => ({ option, distance: editDistance(name, option.name) }))
    .sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  return best !== undefined && best.distance <= 2 ? best.option : undefined;
}

/** Levenshtein's distance: how many letters to change, add or leave out. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (const [index, letter] of [...from].entries()) {
    const next = [index + 1];
    for (const [column, other] of [...to].entries()) {
      const substituted = (row[column] ?? 0) + (letter === other ? 0 : 1);
      next.push(Math.min(substituted, (row[column + 1] ?? 0) + 1, (next[column] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}

function usage(given: string, what: string): AgentError {
  return new AgentError("E_USAGE", `Cannot use "${given}": ${what}`);
}
