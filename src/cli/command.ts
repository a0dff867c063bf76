/**
 * Every leaf command is made here: strict arguments, `--help` and `--version`, one place that
 * reports an error and sets the exit status. citty dispatches; its own parser is not used, since
 * it lets unknown options, stray words and missing values pass and keeps one value of several.
 */
import { type CommandDef, defineCommand } from "citty";
import { AgentError, ExitStatus } from "../errors.ts";
import { log } from "../log.ts";
import { versionText } from "../version.ts";
import {
  type CommandLine,
  type CommandLineRules,
  hasOption,
  type Option,
  parseCommandLine,
} from "./options.ts";
import { formatUsage, type UsageText } from "./usage.ts";

export interface Command extends UsageText {
  /** Undefined `words` (of UsageText) means that none are taken. */
  run(line: CommandLine): Promise<ExitStatus | 0>;
}

const STANDARD_OPTIONS: readonly Option[] = [
  {
    name: "help",
    short: "h",
    takesValue: "never",
    group: "General",
    description: "Show this help and exit",
  },
  {
    name: "version",
    takesValue: "never",
    group: "General",
    description: "Show version, commit and Bun version, and exit",
  },
];

/** For citty's tree of subcommands. */
export function command(definition: Command): CommandDef {
  return defineCommand({
    meta: { name: definition.program, description: definition.description },
    run: async ({ rawArgs }) => {
      process.exitCode = await runCommandLine(definition, rawArgs);
    },
  });
}

/** Never rejects: what goes wrong is logged, and its exit status returned. */
export async function runCommandLine(
  definition: Command,
  argv: readonly string[],
  rules: CommandLineRules = {},
): Promise<ExitStatus | 0> {
  const options = [...definition.options, ...STANDARD_OPTIONS];
  try {
    const line = parseCommandLine(argv, options, rules);
    if (hasOption(line, "help")) return print(formatUsage({ ...definition, options }));
    if (hasOption(line, "version")) return print(`${versionText(definition.program)}\n`);
    const [word] = line.words;
    if (word !== undefined && definition.words === undefined) {
      throw new AgentError("E_USAGE", `Cannot use "${word}": no argument is expected here`);
    }
    return await definition.run(line);
  } catch (error) {
    return reportError(error, definition.program);
  }
}

/** Logs the error and what can be done about it. */
export function reportError(error: unknown, program: string): ExitStatus {
  if (!(error instanceof AgentError)) {
    log.error(error);
    return ExitStatus.failure;
  }
  log.error(error.message);
  const general = error.code === "E_USAGE" ? `"${program} --help" lists what is possible` : "";
  const hint = error.hint ?? general;
  if (hint !== "") log.info(hint);
  return error.exitStatus;
}

/** To stdout, the only thing a run leaves there. */
export function print(text: string): 0 {
  process.stdout.write(text);
  return 0;
}
