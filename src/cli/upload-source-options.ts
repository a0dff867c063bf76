/** What `agent upload` reads, which entries it sends, and what is changed in them: options, keys, defaults. */
import { AgentError } from "../errors.ts";
import { DEFAULT_STATE_FILE, type TransformSettings } from "../upload/settings.ts";
import { mangleUnitName } from "../upload/units.ts";
import { booleanOf, formatTimeSpan, parseCount, parseTimeSpan } from "./args.ts";
import {
  formatRedaction,
  parseAddedField,
  parseFieldPattern,
  parseRedaction,
} from "./field-rules.ts";
import {
  formatFacilities,
  formatMatches,
  formatPriorities,
  formatPriorityRange,
  parseExcludedPriorities,
  parseExpression,
  parseFacilities,
  parseMatches,
  parsePriorities,
} from "./selection.ts";
import type { Setting } from "./setting.ts";
import { collection, flag, list, optional, readPath, scalar } from "./setting-kinds.ts";
import { formatTimestamp, parseTimestamp } from "./timestamp.ts";
import { quoteWord, splitWords } from "./words.ts";

const PLACES = "Which journals are read (default: those of this machine)";
const RANGE = "From where to where";
const SELECTION = "Which entries are sent (of each kind one has to hold)";
const EXCLUSION = "Which are left out of these";
const CHANGES = "What is changed in them";

type Kind<T> = Pick<Setting<T>, "name" | "key" | "description"> & { short?: string };

export const PLACE_SETTINGS = {
  system: switchedOn({
    name: "system",
    key: "System",
    description: "Journals of the system and its services only",
  }),
  user: switchedOn({
    name: "user",
    key: "User",
    description: "Journals of the user who runs this only",
  }),
  merge: switchedOn({
    name: "merge",
    short: "m",
    key: "Merge",
    description: "Journals of all machines, those received from others included",
  }),
  machine: optional(
    {
      name: "machine",
      short: "M",
      key: "Machine",
      valueHint: "NAME",
      group: PLACES,
      description: "Journals of a local container",
    },
    readMachine,
  ),
  namespace: optional(
    {
      name: "namespace",
      key: "Namespace",
      valueHint: "NAME|*|+NAME",
      group: PLACES,
      description: "Journals of that namespace, of all, of that and the default one",
      defaultText: "the default one",
    },
    readNamespace,
  ),
  directory: optional(
    {
      name: "directory",
      short: "D",
      key: "Directory",
      valueHint: "DIR",
      group: PLACES,
      description: "Journals below DIR",
    },
    readPath,
  ),
  files: list(
    {
      name: "file",
      key: "File",
      valueHint: "PATTERN",
      group: PLACES,
      description: "Journal files whose path matches (*, ?, [...])",
    },
    readPath,
  ),
};

export const RANGE_SETTINGS = {
  cursor: optional({
    name: "cursor",
    valueHint: "CURSOR",
    group: RANGE,
    description: "Start with the entry at CURSOR, whatever the state file says",
    defaultText: "the state file's",
  }),
  afterCursor: optional({
    name: "after-cursor",
    valueHint: "CURSOR",
    group: RANGE,
    description: "Start with the entry after that at CURSOR",
  }),
  sinceUsec: time({
    name: "since",
    key: "Since",
    description: "Send what is as old as TIME or newer",
  }),
  untilUsec: time({
    name: "until",
    key: "Until",
    description: "Send what is as old as TIME or older",
  }),
  boot: {
    ...optional(
      {
        name: "boot",
        short: "b",
        key: "Boot",
        valueHint: "ID|OFFSET",
        group: RANGE,
        description:
          "Send entries of one boot: by its id, or 0 for this one, -1 for the one before, 1 for the first",
        defaultText: "all",
      },
      readBoot,
    ),
    takesValue: "optionally",
    implied: "0",
  } satisfies Setting<string | undefined>,
  lines: scalar<number | undefined>(
    {
      name: "lines",
      short: "n",
      key: "Lines",
      valueHint: "COUNT",
      group: RANGE,
      description: "Start so many entries before the end, if none was sent before",
      defaultText: "all",
    },
    undefined,
    {
      read: (text) => parseCount(text, 0, Number.MAX_SAFE_INTEGER),
      show: (value) => String(value ?? "all"),
    },
  ),
  maxAgeUsec: scalar<number | undefined>(
    {
      name: "max-age",
      key: "MaxAgeSec",
      valueHint: "TIME",
      group: RANGE,
      description: "Pass over entries that are older than this when they are read",
      defaultText: "infinity",
    },
    undefined,
    {
      read: (text) => {
        const usec = parseTimeSpan(text, 1, Number.POSITIVE_INFINITY);
        return Number.isFinite(usec) ? usec : undefined;
      },
      show: (value) => formatTimeSpan(value ?? Number.POSITIVE_INFINITY),
    },
  ),
  follow: flag({
    name: "follow",
    key: "Follow",
    group: RANGE,
    description: "Wait for new entries at the end",
    fallback: true,
  }),
  stateFile: {
    ...optional(
      {
        name: "save-state",
        key: "SaveState",
        valueHint: "FILE|BOOL",
        group: RANGE,
        description: `Keep in FILE how far it got, and go on from there; without FILE in ${DEFAULT_STATE_FILE}, without this option each start sends all again`,
        defaultText: "no",
      },
      readStateFile,
    ),
    takesValue: "optionally",
  } satisfies Setting<string | undefined>,
};

export const SELECTION_SETTINGS = {
  units: texts(
    SELECTION,
    {
      name: "unit",
      key: "Unit",
      description: "Of this unit, or of those that match (*, ?, [...])",
    },
    "UNIT",
    mangleUnitName,
  ),
  identifiers: texts(
    SELECTION,
    {
      name: "identifier",
      short: "t",
      key: "Identifier",
      description: "With this syslog identifier",
    },
    "NAME",
  ),
  priorities: scalar<readonly number[] | undefined>(
    {
      name: "priority",
      short: "p",
      key: "Priority",
      valueHint: "LEVEL|FROM..TO",
      group: SELECTION,
      description: "Of this level or more urgent, or of a range: warning, 4, err..info",
      defaultText: "all",
    },
    undefined,
    {
      read: parsePriorities,
      show: (value) => (value === undefined ? "all" : formatPriorityRange(value)),
    },
  ),
  facilities: numbers(
    SELECTION,
    {
      name: "facility",
      key: "Facility",
      description: "Of these syslog facilities: authpriv,local3",
    },
    { valueHint: "LIST", read: parseFacilities, show: formatFacilities },
  ),
  grep: texts(
    SELECTION,
    {
      name: "grep",
      short: "g",
      key: "Grep",
      description:
        "With this regular expression found in MESSAGE; without capital letters, any case does, as for journalctl",
    },
    "EXPRESSION",
    parseExpression,
  ),
  matches: matches(SELECTION, {
    name: "match",
    key: "Match",
    description:
      'With these fields, as journalctl takes them: different names all have to hold, of one name one, "+" is or',
  }),
  excludeUnits: texts(
    EXCLUSION,
    { name: "exclude-unit", key: "ExcludeUnit", description: "Of this unit" },
    "UNIT",
    mangleUnitName,
  ),
  excludeIdentifiers: texts(
    EXCLUSION,
    {
      name: "exclude-identifier",
      key: "ExcludeIdentifier",
      description: "With this syslog identifier",
    },
    "NAME",
  ),
  excludePriorities: numbers(
    EXCLUSION,
    {
      name: "exclude-priority",
      key: "ExcludePriority",
      description: "Of these very levels: debug, info..debug",
    },
    { valueHint: "LIST", read: parseExcludedPriorities, show: formatPriorities },
  ),
  excludeFacilities: numbers(
    EXCLUSION,
    { name: "exclude-facility", key: "ExcludeFacility", description: "Of these syslog facilities" },
    { valueHint: "LIST", read: parseFacilities, show: formatFacilities },
  ),
  excludeGrep: texts(
    EXCLUSION,
    {
      name: "exclude-grep",
      key: "ExcludeGrep",
      description: "With this regular expression found in MESSAGE",
    },
    "EXPRESSION",
    parseExpression,
  ),
  excludeMatches: matches(EXCLUSION, {
    name: "exclude-match",
    key: "ExcludeMatch",
    description: "What --match= of the same would send",
  }),
};

export const TRANSFORM_SETTINGS = {
  dropFields: list(
    {
      name: "drop-field",
      key: "DropField",
      valueHint: "PATTERN",
      group: CHANGES,
      description: "Leave out the fields whose name matches (* and ?)",
    },
    parseFieldPattern,
  ),
  redactFields: collection<TransformSettings["redactFields"][number]>(
    {
      name: "redact-field",
      key: "RedactField",
      valueHint: '"PATTERN [/EXPRESSION/] [TEXT]"',
      group: CHANGES,
      description:
        'In fields whose name matches, put TEXT (without any, ***) in place of what the regular expression finds, without one, or in more than 64 KiB or other than text, of the whole value: MESSAGE /(password|token)=\\S+/ "$1=***"',
    },
    {
      add: (previous, text) => [...previous, parseRedaction(text)],
      showItems: (rules) => rules.map(formatRedaction).join(" "),
    },
  ),
  addFields: collection<TransformSettings["addFields"][number]>(
    {
      name: "add-field",
      key: "AddField",
      valueHint: "NAME=VALUE",
      group: CHANGES,
      description: "Add a field to each entry; its name does not begin with an underscore",
    },
    {
      add: (previous, text) => [...previous, parseAddedField(text)],
      showItems: (fields) =>
        fields.map(({ name, value }) => quoteWord(`${name}=${value}`)).join(" "),
    },
  ),
};

export const ALL_SOURCE_SETTINGS: readonly Setting<unknown>[] = [
  ...Object.values(PLACE_SETTINGS),
  ...Object.values(RANGE_SETTINGS),
  ...Object.values(SELECTION_SETTINGS),
  ...Object.values(TRANSFORM_SETTINGS),
];

/** Of these one at most says where journals are. */
export const EXCLUSIVE_PLACES: readonly Setting<unknown>[] = [
  PLACE_SETTINGS.files,
  PLACE_SETTINGS.directory,
  PLACE_SETTINGS.machine,
  PLACE_SETTINGS.namespace,
];

/** As an option it has no value, as in systemd-journal-upload; its key has. */
function switchedOn(kind: Kind<boolean>): Setting<boolean> {
  const {
    valueHint: _,
    defaultText: __,
    ...setting
  } = flag({
    ...kind,
    group: PLACES,
    fallback: false,
  });
  return { ...setting, takesValue: "never" };
}

function time(kind: Kind<number | undefined>): Setting<number | undefined> {
  return scalar({ ...kind, valueHint: "TIME", group: RANGE }, undefined, {
    read: (text) => parseTimestamp(text, Date.now() * 1000),
    show: (value) => (value === undefined ? "none" : formatTimestamp(value)),
  });
}

function texts(
  group: string,
  kind: Kind<readonly string[]>,
  valueHint: string,
  readItem?: (text: string) => string,
): Setting<readonly string[]> {
  return list({ ...kind, group, valueHint }, readItem);
}

function numbers(
  group: string,
  kind: Kind<readonly number[]>,
  functions: {
    valueHint: string;
    read(text: string): readonly number[];
    show(value: readonly number[]): string;
  },
): Setting<readonly number[]> {
  const { valueHint, read, show } = functions;
  return collection<number>(
    { ...kind, group, valueHint },
    { add: (previous, text) => [...previous, ...read(text)], showItems: show },
  );
}

/** Each use or assignment is an alternative, or several. */
function matches(
  group: string,
  kind: Kind<readonly (readonly string[])[]>,
): Setting<readonly (readonly string[])[]> {
  return collection<readonly string[]>(
    { ...kind, group, valueHint: '"FIELD=value ... [+ ...]"' },
    {
      add: (previous, text) => [...previous, ...parseMatches(splitWords(text))],
      showItems: formatMatches,
    },
  );
}

/** As machinectl(1) names containers. */
function readMachine(text: string): string {
  if (text === ".host" || /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/.test(text)) return text;
  throw new AgentError("E_USAGE", `Cannot use machine "${text}": need a name machinectl shows`);
}

function readNamespace(text: string): string {
  if (text === "*" || /^\+?[A-Za-z0-9:_.\\-]{1,222}$/.test(text)) return text;
  throw new AgentError("E_USAGE", `Cannot use namespace "${text}": need NAME, +NAME or *`);
}

/** An id without dashes, an offset, or undefined for all. */
function readBoot(text: string): string | undefined {
  if (text === "all") return undefined;
  const id = text.replaceAll("-", "").toLowerCase();
  if (/^[0-9a-f]{32}$/.test(id)) return id;
  if (/^[+-]?\d{1,9}$/.test(text)) return String(Number(text));
  const need = "need an id of 32 hex digits, an offset like -1, or all";
  throw new AgentError("E_USAGE", `Cannot use boot "${text}": ${need}`);
}

function readStateFile(
  text: string,
  context: { from: "file" | "command line" },
): string | undefined {
  const isOn = booleanOf(text);
  if (isOn === undefined) return readPath(text, context);
  return isOn ? DEFAULT_STATE_FILE : undefined;
}
