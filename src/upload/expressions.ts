/**
 * Regular expressions as journalctl --grep= takes them (PCRE2, pcre2syntax(3)) → those of JavaScript. What both know is
 * translated where they write it differently; what JavaScript cannot do is refused rather than understood otherwise.
 * Characters are those of the text, not its bytes.
 */
import { AgentError, reasonOf } from "../errors.ts";

export interface ExpressionOptions {
  /** Ignore case where the expression has no capital letter: journalctl's "smart case". */
  smartCase?: boolean;
  /** Find all places, for replaceAll(). */
  global?: boolean;
}

/** @throws AgentError E_CONFIG */
export function compileExpression(source: string, options: ExpressionOptions = {}): RegExp {
  try {
    const translation = new Translation(source);
    const ignoreCase =
      translation.ignoreCase || (options.smartCase === true && !/[A-Z]/.test(source));
    const flags = `u${ignoreCase ? "i" : ""}${options.global === true ? "g" : ""}`;
    return new RegExp(translation.text, flags);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    const what = reasonOf(error).replace(/^Invalid regular expression: /, "");
    throw new AgentError("E_CONFIG", `Cannot use the expression "${source}": ${what}`, {
      cause: error,
      hint: "A Perl-compatible regular expression is needed, without what cannot be undone",
    });
  }
}

const START = "(?<![^])";
const END = "(?![^])";
const HORIZONTAL = "\\t\\u0020\\u00a0";
const VERTICAL = "\\n\\v\\f\\r\\u0085\\u2028\\u2029";

/** Escapes that JavaScript writes differently, outside of a set. */
const ESCAPES: Record<string, string> = {
  A: START,
  z: END,
  Z: `(?=\\n?${END})`,
  N: "[^\\n]",
  R: "(?:\\r\\n|[\\n\\v\\f\\r\\u0085\\u2028\\u2029])",
  h: `[${HORIZONTAL}]`,
  H: `[^${HORIZONTAL}]`,
  v: `[${VERTICAL}]`,
  V: `[^${VERTICAL}]`,
  a: "\\u0007",
  e: "\\u001b",
};
const SET_ESCAPES: Record<string, string> = {
  h: HORIZONTAL,
  v: VERTICAL,
  a: "\\u0007",
  e: "\\u001b",
};
const SAME_ESCAPES = "dDwWsSbBtnrf";
const SYNTAX = "^$\\.*+?()[]{}|/";
/** Members of a set, by their POSIX names. */
const CLASSES: Record<string, string> = {
  alnum: "0-9A-Za-z",
  alpha: "A-Za-z",
  ascii: "\\u0000-\\u007f",
  blank: "\\t\\u0020",
  cntrl: "\\u0000-\\u001f\\u007f",
  digit: "0-9",
  graph: "!-~",
  lower: "a-z",
  print: "\\u0020-~",
  punct: "!-\\/:-@\\[-`\\{-~",
  space: "\\t-\\r\\u0020",
  upper: "A-Z",
  word: "0-9A-Z_a-z",
  xdigit: "0-9A-Fa-f",
};

/** One expression, read from the left to the right. */
class Translation {
  ignoreCase = false;
  text = "";
  readonly #source: string;
  #index = 0;
  #isMultiline = false;
  #isDotAll = false;

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
    this.#isMultiline = flags[1]?.includes("m") === true;
    this.#isDotAll = flags[1]?.includes("s") === true;
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
      case ".":
        return this.#isDotAll ? "[^]" : "[^\\n]";
      case "^":
        return this.#isMultiline ? "(?<![^\\n])" : START;
      case "$":
        return this.#isMultiline ? "(?![^\\n])" : `(?=\\n?${END})`;
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
    const reference = /^(?:k[<{']([A-Za-z_]\w*)[>}']|g\{([A-Za-z_]\w*)\})/.exec(rest);
    if (reference !== null) {
      this.#index += 1 + reference[0].length;
      return `\\k<${reference[1] ?? reference[2]}>`;
    }
    const number = /^(?:g\{([1-9]\d*)\}|g([1-9]\d*)|([1-9]\d*))/.exec(rest);
    if (number !== null) {
      this.#index += 1 + number[0].length;
      // Whatever follows is not part of the number.
      return `(?:\\${number[1] ?? number[2] ?? number[3]})`;
    }
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
      return `\\u{${hex}}`;
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
    const named = /^\[:(\^?)([a-z]+):\]/.exec(rest);
    if (named !== null) {
      const members = CLASSES[named[2] ?? ""];
      if (members === undefined || named[1] === "^") {
        throw new SyntaxError(`"${named[0]}" is not supported`);
      }
      this.#index += named[0].length;
      return members;
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
    const reference = /^\(\?P=([A-Za-z_]\w*)\)/.exec(rest);
    if (reference !== null) {
      this.#index += reference[0].length;
      return `\\k<${reference[1]}>`;
    }
    const opening = /^\((?:\?(?:[:=!]|<[=!]|P?<[A-Za-z_]\w*>)|(?![?*]))/.exec(rest)?.[0];
    if (opening === undefined) throw new SyntaxError(`"${rest.slice(0, 4)}" is not supported`);
    this.#index += opening.length;
    return opening.replace("?P<", "?<");
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
    if (next === "+") throw new SyntaxError("a repetition that never gives back is not supported");
    if (next !== "?") return "";
    this.#index++;
    return "?";
  }
}
