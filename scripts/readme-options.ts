/** Writes the tables of options in README.md anew from the program's own list of them. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Option } from "../src/cli/options.ts";
import { ALL_SERVE_SETTINGS, CHECK_CONFIG_OPTION } from "../src/cli/serve-options.ts";

const README = join(import.meta.dir, "../README.md");
const BEGIN = "<!-- options: npx bun scripts/readme-options.ts -->\n";
const END = "<!-- end of options -->\n";

if (import.meta.main) {
  const text = readFileSync(README, "utf8");
  const { begin, end } = findTables(text);
  writeFileSync(README, text.slice(0, begin) + formatOptionTables() + text.slice(end));
}

/** A heading and a table for each group of the help text. */
export function formatOptionTables(): string {
  const options = [...ALL_SERVE_SETTINGS, CHECK_CONFIG_OPTION];
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
export function optionTablesIn(readme: string): string {
  const { begin, end } = findTables(readme);
  return readme.slice(begin, end);
}

function findTables(readme: string): { begin: number; end: number } {
  const begin = readme.indexOf(BEGIN);
  const end = readme.indexOf(END);
  if (begin < 0 || end < begin) throw new Error(`Cannot find the options in "${README}"`);
  return { begin: begin + BEGIN.length, end };
}

function formatRow(option: Option): string {
  const hint = option.valueHint ?? "VALUE";
  const value = { always: `=${hint}`, optionally: `[=${hint}]`, never: "" }[option.takesValue];
  const name = `${option.short === undefined ? "" : `-${option.short}, `}--${option.name}${value}`;
  const cells = [
    `\`${name}\``,
    option.key === undefined ? "" : `\`${option.key}=\``,
    option.defaultText ?? "",
    option.repeatable === true ? `${option.description}; repeatable` : option.description,
  ];
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}
