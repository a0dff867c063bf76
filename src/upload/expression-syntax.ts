/**
 * Perl's regular expressions, as journalctl --grep= takes them (pcre2syntax(3)), in the words of RE2. What both know is
 * translated where they write it differently; what RE2 cannot do is refused rather than understood otherwise.
 * https://github.com/google/re2/wiki/Syntax
 */

export interface TranslatedExpression {
  text: string;
  ignoreCase: boolean;
  /** `^` and `$` are those of lines. */
  isMultiline: boolean;
  /** `.` is also a line feed. */
  isDotAll: boolean;
}

/** @throws SyntaxError that names what is not supported, or what is missing */
export function translateExpression(source: string): TranslatedExpression {
  return new Translation(source);
}

/** The end, or a line feed there. */
const LAST = "(?:\\n?\\z)";
const HORIZONTAL = "\\t\\x{20}\\x{a0}";
const VERTICAL = "\\n\\v\\f\\r\\x{85}\\x{2028}\\x{2029}";

/** Escapes that RE2 writes differently, outside of a set. */
const ESCAPES: Record<string, string> = {
  A: "\\A",
  z: "\\z",
  Z: LAST,
  N: "[^\\n]",
  R: `(?:\\r\\n|[${VERTICAL}])`,
  h: `[${HORIZONTAL}]`,
  H: `[^${HORIZONTAL}]`,
  v: `[${VERTICAL}]`,
  V: `[^${VERTICAL}]`,
  a: "\\x{7}",
  e: "\\x{1b}",
};
const SET_ESCAPES: Record<string, string> = {
  h: HORIZONTAL,
  v: VERTICAL,
  a: "\\x{7}",
  e: "\\x{1b}",
};
const SAME_ESCAPES = "dDwWsSbBtnrf";
const SYNTAX = "^$\\.*+?()[]{}|/";

/** What begins with `(` and would take more than one look at the text. */
const GROUPS_REFUSED: readonly [RegExp, string][] = [
  [/^\(\?[=!]/, "look-ahead"],
  [/^\(\?<[=!]/, "look-behind"],
  [/^\(\?>/, "atomic group"],
  [/^\(\?P=\w*\)?/, "back-reference"],
  [/^\(\?(?:R|[+-]?\d+|&\w*|P>\w*)\)?/, "recursion"],
  [/^\(\?\(/, "condition"],
];

/** One expression, read from the left to the right. */
class Translation implements TranslatedExpression {
  text = "";
  ignoreCase = false;
  isMultiline = false;
  isDotAll = false;
  readonly #source: string;
  #index = 0;

  constructor(source: string) {
    this.#source = source;
    this.#takeFlags();
    while (this.#index < source.length) this.text += this.#takeNext();
  }

  /** `(?i)` and the like at the beginning. */
  #takeFlags(): void {
    const flags = /^\(\?([ims]+)\)/.exec(this.#source);
    if (flags === null) return;
    this.#index = flags[0].length;
    this.ignoreCase = flags[1]?.includes("i") === true;
    this.isMultiline = flags[1]?.includes("m") === true;
    this.isDotAll = flags[1]?.includes("s") === true;
  }

  #takeNext(): string {
    const character = String.fromCodePoint(this.#source.codePointAt(this.#index) as number);
    switch (character) {
      case "\\":
        return this.#takeEscape();
      case "[":
        return this.#takeSet();
      case "(":
        return this.#takeGroup();
      case "{":
        return this.#takeBrace();
      case "*":
      case "+":
      case "?":
        this.#index++;
        return character + this.#takeLazy();
    }
    this.#index += character.length;
    switch (character) {
      case "$":
        return this.isMultiline ? "$" : LAST;
      case "]":
      case "}":
        return `\\${character}`;
      default:
        return character;
    }
  }

  #takeEscape(): string {
    const rest = this.#source.slice(this.#index + 1);
    if (rest.startsWith("Q")) return this.#takeQuoted();
    const reference = /^(?:k[<{']\w+[>}']|g\{?-?\w+\}?|[1-9]\d*)/.exec(rest)?.[0];
    if (reference !== undefined) throw unsupported("back-reference", `\\${reference}`);
    const letter = rest[0] ?? "";
    const other = ESCAPES[letter];
    if (other !== undefined) {
      this.#index += 2;
      return other;
    }
    return this.#takeCharacterEscape(rest);
  }

  /** What may stand in a set as well as outside of one. */
  #takeCharacterEscape(rest: string): string {
    const property = /^[pP](?:\{\^?[A-Za-z_]+\}|[A-Z])/.exec(rest)?.[0];
    if (property !== undefined) {
      this.#index += 1 + property.length;
      return property.length === 2 ? `\\${property[0]}{${property[1]}}` : `\\${property}`;
    }
    const code = /^(?:x\{([0-9A-Fa-f]+)\}|x([0-9A-Fa-f]{2})|0([0-7]{0,2}))/.exec(rest);
    if (code !== null) {
      this.#index += 1 + code[0].length;
      const hex = code[1] ?? code[2] ?? Number.parseInt(code[3] || "0", 8).toString(16);
      return `\\x{${hex}}`;
    }
    const character = String.fromCodePoint(rest.codePointAt(0) ?? 0x5c);
    if (/^[0-9A-Za-z]$/.test(character) && !SAME_ESCAPES.includes(character)) {
      throw new SyntaxError(`"\\${character}" is not supported`);
    }
    if (rest === "") throw new SyntaxError('it ends in "\\"');
    this.#index += 1 + character.length;
    const isSyntax = SYNTAX.includes(character) || /^[A-Za-z]$/.test(character);
    return isSyntax ? `\\${character}` : character;
  }

  /** `\Q…\E` */
  #takeQuoted(): string {
    const start = this.#index + 2;
    const end = this.#source.indexOf("\\E", start);
    this.#index = end < 0 ? this.#source.length : end + 2;
    const text = this.#source.slice(start, end < 0 ? undefined : end);
    return text.replace(/[\^$\\.*+?()[\]{}|/]/g, "\\$&");
  }

  #takeSet(): string {
    const source = this.#source;
    let set = "[";
    this.#index++;
    if (source[this.#index] === "^") {
      set += "^";
      this.#index++;
    }
    for (const first = this.#index; this.#index < source.length; ) {
      const character = String.fromCodePoint(source.codePointAt(this.#index) as number);
      if (character === "]" && this.#index > first) {
        this.#index++;
        return `${set}]`;
      }
      set += this.#takeMember(character);
    }
    throw new SyntaxError('no "]" ends the "["');
  }

  #takeMember(character: string): string {
    const rest = this.#source.slice(this.#index);
    const named = /^\[:\^?[a-z]+:\]/.exec(rest)?.[0];
    if (named !== undefined) {
      this.#index += named.length;
      return named;
    }
    if (character === "\\") {
      const other = SET_ESCAPES[rest[1] ?? ""];
      if (other !== undefined) {
        this.#index += 2;
        return other;
      }
      const escaped = this.#takeCharacterEscape(rest.slice(1));
      return escaped === "-" ? "\\-" : escaped;
    }
    this.#index += character.length;
    return character === "[" || character === "]" ? `\\${character}` : character;
  }

  #takeGroup(): string {
    const rest = this.#source.slice(this.#index);
    const comment = /^\(\?#[^)]*\)/.exec(rest);
    if (comment !== null) {
      this.#index += comment[0].length;
      return "";
    }
    for (const [pattern, what] of GROUPS_REFUSED) {
      const found = pattern.exec(rest)?.[0];
      if (found !== undefined) throw unsupported(what, found);
    }
    const opening = /^\((?:\?(?::|P?<[A-Za-z_]\w*>)|(?![?*]))/.exec(rest)?.[0];
    if (opening === undefined) throw new SyntaxError(`"${rest.slice(0, 4)}" is not supported`);
    this.#index += opening.length;
    return opening;
  }

  /** A repetition, or a brace. */
  #takeBrace(): string {
    const counts = /^\{\d+(?:,\d*)?\}/.exec(this.#source.slice(this.#index))?.[0];
    this.#index += counts?.length ?? 1;
    return counts === undefined ? "\\{" : counts + this.#takeLazy();
  }

  /** What follows a repetition. */
  #takeLazy(): string {
    const next = this.#source[this.#index];
    if (next === "+") throw unsupported("possessive repetition", "+");
    if (next !== "?") return "";
    this.#index++;
    return "?";
  }
}

function unsupported(what: string, text: string): SyntaxError {
  return new SyntaxError(`the ${what} "${text}" is not supported`);
}
