/** The kinds of settings there are: one value, a path, a switch, a list. */
import { resolve } from "node:path";
import { AgentError } from "../errors.ts";
import { booleanOf, parseBoolean } from "./args.ts";
import type { ReadContext, Setting } from "./setting.ts";

/** What the table of a command says about a setting; the kind gives the rest. */
export type Described<T> = Omit<Setting<T>, "read" | "show" | "takesValue" | "fallback">;

export function scalar<T>(
  described: Described<T>,
  fallback: T,
  functions: Pick<Setting<T>, "read" | "show">,
): Setting<T> {
  return { takesValue: "always", fallback, ...described, ...functions };
}

/** One of a few words. */
export function choice<T extends string>(
  described: Described<T>,
  [fallback, ...others]: readonly [T, ...T[]],
): Setting<T> {
  const words = [fallback, ...others];
  const about = { valueHint: words.join("|"), defaultText: fallback, ...described };
  return scalar<T>(about, fallback, {
    read: (text) => {
      const word = words.find((known) => known === text);
      if (word !== undefined) return word;
      const need = words.map((known) => `"${known}"`).join(" or ");
      throw new AgentError("E_USAGE", `Cannot use "${text}": need ${need}`);
    },
    show: (value) => value,
  });
}

/** @param none a word that stands for no file, where there may be none */
export function path(
  described: Described<string>,
  fallback: string,
  none?: string,
): Setting<string> {
  return scalar({ defaultText: fallback, ...described }, fallback, {
    read: (text, context) => (text === none ? text : readPath(text, context)),
    show: (value) => value,
  });
}

export function optional(
  described: Described<string | undefined>,
  read: Setting<string | undefined>["read"] = (text) => text,
): Setting<string | undefined> {
  return scalar(described, undefined, { read, show: (value) => value ?? "none" });
}

export function flag({
  fallback,
  ...described
}: Described<boolean> & { fallback: boolean }): Setting<boolean> {
  return {
    ...described,
    takesValue: "optionally",
    valueHint: "BOOL",
    defaultText: fallback ? "yes" : "no",
    fallback,
    read: parseBoolean,
    show: (value) => (value ? "yes" : "no"),
  };
}

/** Each use or assignment adds to what was there. */
export function collection<T>(
  described: Described<readonly T[]>,
  functions: {
    /** @returns all that there are then */
    add(previous: readonly T[], text: string, context: ReadContext<readonly T[]>): readonly T[];
    showItems(items: readonly T[]): string;
  },
): Setting<readonly T[]> {
  return {
    ...described,
    takesValue: "always",
    repeatable: true,
    fallback: [],
    read: (text, context) => functions.add(context.previous ?? [], text, context),
    show: (items) => (items.length === 0 ? "none" : functions.showItems(items)),
  };
}

/** Of texts, one each time. */
export function list(
  described: Described<readonly string[]>,
  readItem: (text: string, context: Pick<ReadContext<unknown>, "from">) => string = (text) => text,
): Setting<readonly string[]> {
  return collection(described, {
    add: (previous, text, context) => [...previous, readItem(text, context)],
    showItems: (items) => items.join(" "),
  });
}

/** In a file, paths are absolute: a daemon has no directory of its own. */
export function readPath(text: string, { from }: Pick<ReadContext<unknown>, "from">): string {
  if (from === "command line") return resolve(text);
  if (text.startsWith("/")) return text;
  throw new AgentError(
    "E_USAGE",
    `Cannot use path "${text}": it is relative, need an absolute one`,
  );
}

/** A CA's file, or "all" (in files "-"): nothing is checked. */
export function authority(
  described: Pick<Described<string>, "group" | "description">,
): Setting<string> {
  const fallback = "/etc/ssl/ca/trusted.pem";
  return scalar(
    {
      name: "trust",
      key: "TrustedCertificateFile",
      valueHint: "FILE|all",
      defaultText: fallback,
      ...described,
    },
    fallback,
    { read: readAuthority, show: (value) => value },
  );
}

function readAuthority(text: string, context: Pick<ReadContext<unknown>, "from">): string {
  if (text === "-" || (text === "all" && context.from === "command line")) return "all";
  if (text !== "all") return readPath(text, context);
  throw new AgentError("E_USAGE", 'Cannot use "all": in a file, "-" turns the check off');
}

/** Words of a list of compressions; "no" empties it. Those unknown are warned of in files. */
export function readEncodingWords<T>(
  text: string,
  { from, previous = [], warn }: ReadContext<readonly T[]>,
  { known, readWord }: { known: readonly string[]; readWord(word: string): T | undefined },
): readonly T[] {
  if (booleanOf(text) === false) return [];
  const found = [...previous];
  for (const word of text.split(/[\s,]+/)) {
    const encoding = readWord(word.toLowerCase());
    if (encoding !== undefined) {
      found.push(encoding);
      continue;
    }
    const message = `Cannot use compression "${word}": need one of ${known.join(", ")}`;
    if (from === "command line") throw new AgentError("E_USAGE", message);
    warn(`${message}; ignoring the word`);
  }
  return found;
}
