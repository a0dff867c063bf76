/**
 * Which entries are sent, and what is changed in their fields. Conditions of different kinds all have to hold.
 * Indexes of the journal files are used where they help; the tags of an entry have the last word.
 */
import { AgentError } from "../errors.ts";
import { isFieldName } from "../journal/field-name.ts";
import { IndexedSelector } from "../journal/reader/indexed-selector.ts";
import type { JournalEntry } from "../journal/reader/journal-entry.ts";
import type { JournalFile } from "../journal/reader/journal-file.ts";
import type { FileSelector, Selection } from "../journal/reader/selection-types.ts";
import { log } from "../log.ts";
import { type Condition, type Term, TermTable, testOf } from "./conditions.ts";
import { compileExpression } from "./expressions.ts";
import type { SelectionSettings, TransformSettings } from "./settings.ts";
import { rewriteHook } from "./transform.ts";
import { unitCondition } from "./units.ts";

/** Of a longer message, this beginning is searched. */
const SEARCHED_SIZE_MAX = 64 * 1024;
/** All of them: entries without a priority, too. */
const PRIORITIES = 8;

export interface UploadSelection extends Selection {
  /** Journal files whose indexes are damaged, so that all of their entries had to be looked at. */
  readonly damagedIndexes: number;
}

/** @throws AgentError E_CONFIG for a name, match or expression that cannot be used */
export function openSelection(
  selection: SelectionSettings,
  transform: TransformSettings,
): UploadSelection {
  const terms = new TermTable();
  const required = requiredConditions(selection, terms);
  const excluded = excludedConditions(selection, terms);
  return new ChosenEntries(terms, required, excluded, rewriteHook(transform));
}

class ChosenEntries implements UploadSelection {
  readonly hooks: Selection["hooks"];
  damagedIndexes = 0;
  readonly #indexed: readonly Condition[];
  readonly #required: readonly ((entry: JournalEntry) => boolean)[];
  readonly #excluded: readonly ((entry: JournalEntry) => boolean)[];

  constructor(
    terms: TermTable,
    required: readonly Condition[],
    excluded: readonly Condition[],
    rewrite: Selection["hooks"]["rewrite"],
  ) {
    this.hooks = { ...terms.hooks(), ...(rewrite === undefined ? {} : { rewrite }) };
    this.#indexed = required.filter((condition) =>
      condition.flat().every((term) => term.isIndexed),
    );
    this.#required = required.map(testOf);
    this.#excluded = excluded.map(testOf);
  }

  open(file: JournalFile): FileSelector | undefined {
    if (this.#indexed.length === 0) return undefined;
    return new IndexedSelector(file, this.#indexed, (error) => {
      this.damagedIndexes++;
      log.warn(`Damaged index, looking at every entry of the file: ${error.message}`);
    });
  }

  accepts(entry: JournalEntry): boolean {
    for (const holds of this.#required) if (!holds(entry)) return false;
    for (const holds of this.#excluded) if (holds(entry)) return false;
    return true;
  }
}

function requiredConditions(selection: SelectionSettings, terms: TermTable): Condition[] {
  const { units, priorities, matches } = selection;
  const isEvery = new Set(priorities).size === PRIORITIES;
  const choices = isEvery ? { ...selection, priorities: undefined } : selection;
  return [
    ...(units.length > 0 ? [unitCondition(units, terms)] : []),
    ...choiceTerms(choices, terms).map((term) => [[term]]),
    ...matchCondition(matches, terms),
  ];
}

/** Each of which keeps an entry from being sent. */
function excludedConditions(selection: SelectionSettings, terms: TermTable): Condition[] {
  const { excludeUnits, excludeMatches } = selection;
  const choices = {
    identifiers: selection.excludeIdentifiers,
    priorities: selection.excludePriorities,
    facilities: selection.excludeFacilities,
    grep: selection.excludeGrep,
  };
  return [
    ...(excludeUnits.length > 0 ? [unitCondition(excludeUnits, terms)] : []),
    ...choiceTerms(choices, terms).map((term) => [[term]]),
    ...matchCondition(excludeMatches, terms),
  ];
}

/** One for each kind of choice that was made. */
function choiceTerms(
  choices: Pick<SelectionSettings, "identifiers" | "priorities" | "facilities" | "grep">,
  terms: TermTable,
): Term[] {
  const { identifiers, priorities = [], facilities, grep } = choices;
  const lists: [name: string, values: readonly string[]][] = [
    ["SYSLOG_IDENTIFIER", identifiers],
    ["PRIORITY", priorities.map(String)],
    ["SYSLOG_FACILITY", facilities.map(String)],
  ];
  const fields = lists.filter(([, values]) => values.length > 0);
  return [
    ...fields.map(([name, values]) => terms.oneOf(name, values)),
    ...(grep.length > 0 ? [messageTerm(grep, terms)] : []),
  ];
}

/**
 * journalctl's matches: within an alternative, those of one field are alternatives too, and different fields all
 * have to match. Nothing when there is no match.
 */
function matchCondition(matches: readonly (readonly string[])[], terms: TermTable): Condition[] {
  const alternatives = matches.map((fields) => {
    const valuesByName = new Map<string, string[]>();
    for (const field of fields) {
      const { name, value } = splitMatch(field);
      valuesByName.set(name, [...(valuesByName.get(name) ?? []), value]);
    }
    return [...valuesByName].map(([name, values]) => terms.oneOf(name, values));
  });
  const used = alternatives.filter(({ length }) => length > 0);
  return used.length === 0 ? [] : [used];
}

function splitMatch(field: string): { name: string; value: string } {
  const equals = field.indexOf("=");
  const name = Buffer.from(field.slice(0, Math.max(0, equals)));
  if (!isFieldName(name, 0, name.length) || field.startsWith("__")) {
    throw new AgentError("E_CONFIG", `Cannot match "${field}": not a field, need FIELD=VALUE`);
  }
  return { name: name.toString(), value: field.slice(equals + 1) };
}

function messageTerm(expressions: readonly string[], terms: TermTable): Term {
  const searches = expressions.map((source) => compileExpression(source, { smartCase: true }));
  return terms.tested("MESSAGE", (bytes, start, end) => {
    const searchedEnd = Math.min(end, start + SEARCHED_SIZE_MAX);
    return searches.some((search) => search.isIn(bytes, start, searchedEnd));
  });
}
