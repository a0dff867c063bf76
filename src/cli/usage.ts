/** The help text: options under headings, descriptions wrapped beside them. */
import type { Option } from "./options.ts";

export interface UsageText {
  /** "agent serve" */
  program: string;
  /** What follows the options: "[FILE|-]...". */
  words?: string | undefined;
  description: string;
  /** In the order of the help text; a group begins with its first option. */
  options: readonly Option[];
  /** Paragraphs after the options. */
  notes?: readonly string[] | undefined;
}

/** Where descriptions begin; a longer option has its description on the next line. */
const DESCRIPTION_COLUMN = 32;
const WIDTH = 96;

export function formatUsage(text: UsageText): string {
  const words = text.words === undefined ? "" : ` ${text.words}`;
  const lines = [`Usage: ${text.program} [OPTION]...${words}`, "", ...wrap(text.description, 0)];
  const groups = new Set(text.options.map((option) => option.group));
  for (const group of groups) {
    lines.push("", `${group}:`);
    for (const option of text.options) {
      if (option.group === group) lines.push(...formatOption(option));
    }
  }
  for (const note of text.notes ?? []) lines.push("", ...wrap(note, 0));
  return `${lines.join("\n")}\n`;
}

/** Left and right column, as for options. */
export function formatPair(left: string, description: string): string[] {
  const lines = wrap(description, DESCRIPTION_COLUMN);
  const head = `  ${left}`;
  if (head.length + 2 > DESCRIPTION_COLUMN) return [head, ...lines];
  const [first = "", ...more] = lines;
  return [head.padEnd(DESCRIPTION_COLUMN) + first.trimStart(), ...more];
}

function formatOption(option: Option): string[] {
  const hint = option.valueHint ?? "VALUE";
  const value = { always: `=${hint}`, optionally: `[=${hint}]`, never: "" }[option.takesValue];
  const short = option.short === undefined ? "    " : `-${option.short}, `;
  const extras = [
    ...(option.key === undefined ? [] : [`key ${option.key}=`]),
    ...(option.repeatable === true ? ["repeatable"] : []),
    ...(option.defaultText === undefined ? [] : [`default: ${option.defaultText}`]),
  ];
  const suffix = extras.length === 0 ? "" : ` (${extras.join("; ")})`;
  return formatPair(`${short}--${option.name}${value}`, option.description + suffix);
}

function wrap(text: string, indent: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && indent + line.length + 1 + word.length > WIDTH) {
      lines.push(" ".repeat(indent) + line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return [...lines, " ".repeat(indent) + line];
}
