/** Text → which entries are sent. As journalctl takes it, where it has the same. */
import { AgentError } from "../errors.ts";
import { isFieldName } from "../journal/field-name.ts";
import { compileExpression } from "../upload/expressions.ts";
import { PRIORITIES } from "./priorities.ts";
import { quoteWord } from "./words.ts";

/** By number; those between have no name. syslog(3) */
const FACILITIES: readonly (string | undefined)[] = [
  ..."kern user mail daemon auth syslog lpr news uucp cron authpriv ftp".split(" "),
  ...Array.from({ length: 4 }, () => undefined),
  ...Array.from({ length: 8 }, (_, index) => `local${index}`),
];

/**
 * "warning" is that level and all that are more urgent, "err..info" all between, numbers do as well.
 * @throws AgentError E_USAGE, as all readers here do
 */
export function parsePriorities(text: string): number[] {
  const [from, to] = parseRange(text);
  return range(to === undefined ? 0 : from, to ?? from);
}

/** Here one level is that level alone. */
export function parseExcludedPriorities(text: string): number[] {
  return parseList(text, (item) => {
    const [from, to] = parseRange(item);
    return range(from, to ?? from);
  });
}

/** `parsePriorities` reads it back. */
export function formatPriorityRange(priorities: readonly number[]): string {
  return [priorities.slice(0, 1), priorities.slice(-1)].map(formatPriorities).join("..");
}

/** `parseExcludedPriorities` reads it back. */
export function formatPriorities(priorities: readonly number[]): string {
  return priorities.map((priority) => PRIORITIES[priority] ?? priority).join(",");
}

/** "authpriv,local3" or numbers. */
export function parseFacilities(text: string): number[] {
  return parseList(text, (item) => {
    const facility = indexIn(FACILITIES, item);
    if (facility !== undefined) return [facility];
    const need = `a name like "authpriv" or a number up to ${FACILITIES.length - 1} is needed`;
    throw new AgentError("E_USAGE", `Cannot use facility "${item}": ${need}`);
  });
}

export function formatFacilities(facilities: readonly number[]): string {
  return facilities.map((facility) => FACILITIES[facility] ?? facility).join(",");
}

/** Whether a word is `FIELD=…`; a file of such a name is given as `./FIELD=…`. */
export function isMatch(word: string): boolean {
  const name = Buffer.from(word.slice(0, Math.max(word.indexOf("="), 0)));
  return isFieldName(name, 0, name.length);
}

/** Words as journalctl takes them: `A=1 B=2 + C=3` → [["A=1", "B=2"], ["C=3"]]. */
export function parseMatches(words: readonly string[]): string[][] {
  const alternatives: string[][] = [[]];
  for (const word of words) {
    if (word === "+") {
      alternatives.push([]);
      continue;
    }
    checkMatch(word);
    alternatives.at(-1)?.push(word);
  }
  if (alternatives.every((matches) => matches.length > 0)) return alternatives;
  throw new AgentError("E_USAGE", 'Cannot use "+": it needs a FIELD=value on either side');
}

export function formatMatches(alternatives: readonly (readonly string[])[]): string {
  return alternatives.map((matches) => matches.map(quoteWord).join(" ")).join(" + ");
}

/** For MESSAGE, and for what is redacted. @throws AgentError E_CONFIG */
export function parseExpression(text: string): string {
  compileExpression(text);
  return text;
}

function checkMatch(word: string): void {
  if (isMatch(word) && !word.startsWith("__")) return;
  const what = word.startsWith("__")
    ? "what begins with two underscores is not a field"
    : "it is not of the form FIELD=value, with quotes around it if there are blanks in it";
  throw new AgentError("E_USAGE", `Cannot use match "${word}": ${what}`);
}

/** `to` is undefined for a single level. */
function parseRange(text: string): [from: number, to: number | undefined] {
  const [from, to, ...rest] = text.split("..");
  const level = (word = ""): number => {
    const priority = indexIn(PRIORITIES, word);
    if (priority !== undefined && rest.length === 0) return priority;
    const need = 'need a level like "warning" or 4, or two like "err..info"';
    throw new AgentError("E_USAGE", `Cannot use priority "${text}": ${need}`);
  };
  return [level(from), to === undefined ? undefined : level(to)];
}

function range(one: number, other: number): number[] {
  const first = Math.min(one, other);
  return Array.from({ length: Math.abs(one - other) + 1 }, (_, index) => first + index);
}

/** In ascending order, each once. */
function parseList(text: string, parseItem: (item: string) => number[]): number[] {
  const numbers = text.split(/[\s,]+/).flatMap(parseItem);
  return [...new Set(numbers)].sort((a, b) => a - b);
}

/** By name, in any case, or by number. */
function indexIn(names: readonly (string | undefined)[], word: string): number | undefined {
  const index = names.indexOf(word.toLowerCase());
  if (index >= 0) return index;
  return /^(0|[1-9]\d?)$/.test(word) && Number(word) < names.length ? Number(word) : undefined;
}
