/** What all verbs of `agent certs` have in common: where the files are, the clock, the passphrase, text or JSON. */
import { resolve } from "node:path";
import type { AuthorityOptions } from "../certs/authority.ts";
import { DEFAULT_DIRECTORY } from "../certs/directory.ts";
import { KEY_TYPES, type KeyType } from "../certs/keys.ts";
import { type AlternativeName, parseAlternativeName, parseHostName } from "../certs/names.ts";
import {
  AUTHORITY_DAYS,
  AUTHORITY_DAYS_MAX,
  LEAF_DAYS_MAX,
  ROLES,
  type Role,
} from "../certs/profiles.ts";
import { asFileError } from "../certs/transaction.ts";
import { AgentError, type ExitStatus } from "../errors.ts";
import { log } from "../log.ts";
import { parseCount, parseTimeSpan } from "./args.ts";
import { type Command, print } from "./command.ts";
import { type CommandLine, hasOption, type Option } from "./options.ts";
import { askPassphrase, readPassphraseFile } from "./passphrase.ts";
import { atOption } from "./setting.ts";

export interface CertsVerb {
  /** What follows the options; undefined = no words are taken. */
  words?: string;
  /** How many words are needed and possible; without a maximum, any number. */
  wordCounts?: readonly [min: number, max?: number];
  description: string;
  options?: readonly Option[];
  notes?: readonly string[];
  run(call: CertsCall): Promise<ExitStatus | 0>;
}

/** One run of a verb. */
export interface CertsCall {
  words: readonly string[];
  directory: string;
  nowMs: number;
  authority: AuthorityOptions;
  /** The value of an option; undefined when it is not given. */
  option(name: string): string | undefined;
  /** What the value says. @throws AgentError E_USAGE with the option's name, for what `read` refuses */
  read<T>(name: string, read: (text: string) => T): T | undefined;
  has(name: string): boolean;
  /** That of --passphrase-file=, read once: it may be stdin. Undefined = not given. @throws AgentError E_USAGE */
  filedPassphrase(): string | undefined;
  /** To stdout: the one as JSON, or the other. */
  result(value: object, text: string): 0;
}

const GROUP = "Options";

/** Words of a verb that takes a certificate's names. */
export const FURTHER_NAMES = "[DNS:NAME|IP:ADDRESS|NAME|ADDRESS]...";
const DAY_USEC = 86_400_000_000;

const COMMON_OPTIONS: readonly Option[] = [
  {
    name: "directory",
    short: "d",
    takesValue: "always",
    valueHint: "DIR",
    group: "General",
    description: "Where the files are",
    defaultText: DEFAULT_DIRECTORY,
  },
  { name: "json", takesValue: "never", group: "General", description: "Print the result as JSON" },
];

export const PASSPHRASE_OPTION: Option = {
  name: "passphrase-file",
  takesValue: "always",
  valueHint: "FILE",
  group: GROUP,
  description: "Passphrase of the authority's key, the first line; - for stdin",
  defaultText: "asked for, if the key has one",
};

export const KEY_TYPE_OPTION: Option = {
  name: "key-type",
  takesValue: "always",
  valueHint: "TYPE",
  group: GROUP,
  description: "p256, rsa2048, rsa3072 or rsa4096",
  defaultText: "p256",
};

export const ROLE_OPTION: Option = {
  name: "role",
  takesValue: "always",
  valueHint: "ROLE",
  group: GROUP,
  description: "server (receives journals), client (sends them) or both",
  defaultText: "both",
};

export const DAYS_OPTION: Option = {
  name: "days",
  takesValue: "always",
  valueHint: "DAYS",
  group: GROUP,
  description: `How long it is valid, at most ${LEAF_DAYS_MAX}`,
  defaultText: String(LEAF_DAYS_MAX),
};

/** Of a host's certificate: `profileOf()`. */
export const PROFILE_OPTIONS: readonly Option[] = [ROLE_OPTION, DAYS_OPTION];

export const AUTHORITY_DAYS_OPTION: Option = {
  ...DAYS_OPTION,
  description: "How long the authority is valid",
  defaultText: String(AUTHORITY_DAYS),
};

export const EXPIRING_OPTION: Option = {
  name: "expiring",
  takesValue: "always",
  valueHint: "TIME",
  group: GROUP,
  description: "Only what ends within this time, like 30d",
};

/** A switch. */
export function flag(name: string, description: string): Option {
  return { name, takesValue: "never", group: GROUP, description };
}

export function valueOption(name: string, valueHint: string, description: string): Option {
  return { name, takesValue: "always", valueHint, group: GROUP, description };
}

/** The verb as a command. */
export function certsCommand(name: string, verb: CertsVerb): Command {
  const { words, description, notes, options = [] } = verb;
  return {
    program: `agent certs ${name}`,
    words,
    description,
    options: [...options, ...COMMON_OPTIONS],
    notes,
    run: async (line): Promise<ExitStatus | 0> => {
      checkWords(line.words, verb, name);
      try {
        return await verb.run(callOf(line));
      } catch (error) {
        throw asFileError(error);
      }
    },
  };
}

/** @throws AgentError E_USAGE, as all readers here do */
export function hostNamesOf({ words }: CertsCall): { name: string; names: AlternativeName[] } {
  const [name = "", ...others] = words;
  return { name: parseHostName(name), names: others.map(parseAlternativeName) };
}

export function profileOf(call: CertsCall): { role: Role; days: number } {
  return { role: choiceOf(call, "role", ROLES) ?? "both", days: daysOf(call) ?? LEAF_DAYS_MAX };
}

/** Undefined = not said. */
export function keyTypeOf(call: CertsCall): KeyType | undefined {
  return choiceOf(call, "key-type", KEY_TYPES, (text) => text.toLowerCase().replaceAll("-", ""));
}

/** Undefined = not said. */
export function daysOf(call: CertsCall, maximum: number = LEAF_DAYS_MAX): number | undefined {
  return call.read("days", (text) => parseCount(text, 1, maximum));
}

/** What a new authority is made of. */
export function authorityProfileOf(call: CertsCall): { days: number; keyType: KeyType } {
  const days = daysOf(call, AUTHORITY_DAYS_MAX) ?? AUTHORITY_DAYS;
  return { days, keyType: keyTypeOf(call) ?? "p256" };
}

/** Milliseconds; undefined = not said. */
export function expiringOf(call: CertsCall): number | undefined {
  const maxUsec = AUTHORITY_DAYS_MAX * DAY_USEC;
  return call.read("expiring", (text) => parseTimeSpan(text, 0, maxUsec) / 1000);
}

/** @param normalize from what people write to what is among the choices */
export function choiceOf<T extends string>(
  call: CertsCall,
  name: string,
  choices: readonly T[],
  normalize = (text: string): string => text,
): T | undefined {
  return call.read(name, (text) => {
    const found = choices.find((choice) => choice === normalize(text));
    if (found !== undefined) return found;
    throw new AgentError("E_USAGE", `Cannot use "${text}": need one of ${choices.join(", ")}`);
  });
}

/** "2029-02-24": the day, in UTC. */
export function formatDay(timeMs: number): string {
  return new Date(timeMs).toISOString().slice(0, 10);
}

export function formatTime(timeMs: number): string {
  return new Date(timeMs).toISOString().replace(/\.\d+/, "");
}

function callOf(line: CommandLine): CertsCall {
  const option = (name: string): string | undefined =>
    line.uses.findLast((use) => use.option.name === name)?.value;
  const directory = resolve(option("directory") ?? DEFAULT_DIRECTORY);
  const nowMs = Date.now();
  let filed: string | undefined;
  const filedPassphrase = (): string | undefined => {
    const file = option(PASSPHRASE_OPTION.name);
    if (file !== undefined) filed ??= readPassphraseFile(file);
    return filed;
  };
  return {
    words: line.words,
    directory,
    nowMs,
    option,
    read: <T>(name: string, read: (text: string) => T): T | undefined => {
      const text = option(name);
      try {
        return text === undefined ? undefined : read(text);
      } catch (error) {
        throw atOption(name, error);
      }
    },
    has: (name) => hasOption(line, name),
    filedPassphrase,
    result: (value, text): 0 => {
      return print(hasOption(line, "json") ? `${JSON.stringify(value, null, 2)}\n` : text);
    },
    authority: {
      directory,
      nowMs,
      report: (message) => log.warn(message),
      passphrase: async () =>
        filedPassphrase() ?? (await askPassphrase("Passphrase of the authority's key")),
    },
  };
}

function checkWords(words: readonly string[], verb: CertsVerb, name: string): void {
  const [min, max = Number.POSITIVE_INFINITY] = verb.wordCounts ?? [0, 0];
  const hint = `Usage: agent certs ${name} [OPTION]... ${verb.words ?? ""}`.trimEnd();
  if (words.length < min) {
    throw new AgentError("E_USAGE", `Cannot run "agent certs ${name}": too few arguments`, {
      hint,
    });
  }
  const extra = words[max];
  if (extra === undefined || verb.words === undefined) return;
  throw new AgentError("E_USAGE", `Cannot use "${extra}": no further argument is expected`, {
    hint,
  });
}
