/** Writes the tables of options in README.md anew from the program's own list of them. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CHECK_CONFIG_OPTION } from "../src/cli/check-config.ts";
import type { Option } from "../src/cli/options.ts";
import { ALL_SERVE_SETTINGS } from "../src/cli/serve-options.ts";
import { ALL_UPLOAD_SETTINGS } from "../src/cli/upload-options.ts";

const README = join(import.meta.dir, "../README.md");
const END = "<!-- end of options -->\n";

/** By command. */
const OPTIONS = {
  serve: [...ALL_SERVE_SETTINGS, CHECK_CONFIG_OPTION],
  upload: [...ALL_UPLOAD_SETTINGS, CHECK_CONFIG_OPTION],
} as const;

type CommandName = keyof typeof OPTIONS;

export const COMMANDS_WITH_OPTIONS = Object.keys(OPTIONS) as CommandName[];

if (import.meta.main) {
  let text = readFileSync(README, "utf8");
  for (const command of COMMANDS_WITH_OPTIONS) {
    const { begin, end } = findTables(text, command);
    text = text.slice(0, begin) + formatOptionTables(command) + text.slice(end);
  }
  writeFileSync(README, text);
}

/** A heading and a table for each group of the help text. */
export function formatOptionTables(command: CommandName): string {
  const options: readonly Option[] = OPTIONS[command];
  const groups = new Set(options.map((option) => option.group));
  const lines = [...groups].flatMap((group) => [
    "",
    `**${group}**`,
    "",
    "| option | key | default | |",
    "|---|---|---|---|",
    ...options.filter((option) => option.group === group).map(formatRow),
  ]);
  return `${lines.join("\n")}\n\n`;
}

/** What README.md has there now. */
export function optionTablesIn(readme: string, command: CommandName): string {
  const { begin, end } = findTables(readme, command);
  return readme.slice(begin, end);
}

function findTables(readme: string, command: CommandName): { begin: number; end: number } {
  const marker = `<!-- options of ${command}: npx bun scripts/readme-options.ts -->\n`;
  const begin = readme.indexOf(marker) + marker.length;
  const end = readme.indexOf(END, begin);
  if (begin < marker.length || end < 0) {
    throw new Error(`Cannot find the options of ${command} in "${README}"`);
  }
  return { begin, end };
}

function formatRow(option: Option): string {
  const hint = option.valueHint ?? "VALUE";
  const value = { always: `=${hint}`, optionally: `[=${hint}]`, never: "" }[option.takesValue];
  const name = `${option.short === undefined ? "" : `-${option.short}, `}--${option.name}${value}`;
  const description =
    option.repeatable === true ? `${option.description}; repeatable` : option.description;
  const cells = [
    `\`${name}\``,
    option.key === undefined ? "" : `\`${option.key}=\``,
    option.defaultText ?? "",
    description.replaceAll("*", "\\*"),
  ];
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}
