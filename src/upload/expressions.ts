/**
 * Regular expressions over what others have written: whoever may log chooses the text. So they are matched by RE2, in
 * time that grows with the size of the text alone, whatever the expression.
 * Characters are those of the text, not its bytes.
 */
import type { RE2JS } from "re2js";
import { AgentError, reasonOf } from "../errors.ts";
import { translateExpression } from "./expression-syntax.ts";

export interface ExpressionOptions {
  /** Ignore case where the expression has no capital letter: journalctl's "smart case". */
  smartCase?: boolean;
}

export interface Expression {
  /** Whether it is found in `bytes[start .. end)`, which are UTF-8 as far as they are text. */
  isIn(bytes: Buffer, start: number, end: number): boolean;
  /**
   * `text` with `replacement` in every place where it is found, in which `$1`, `$<name>` and `$&` stand for what was
   * found. Undefined when there are so many places in so long a text that it would take too long.
   */
  replaceAll(text: string, replacement: string): string | undefined;
}

/**
 * Places times characters: what follows a place is searched once more, and may be searched to its end. Short texts may
 * have any number of places, one of 64 Ki has 16.
 */
const STEPS_MAX = 2 ** 20;

/** Words, or one of some: RE2 would find them ten times as slowly, and no text is hard to search for them. */
const WORDS = /^[^\\^$.*+?()[\]{}]+$/;

/** @throws AgentError E_CONFIG */
export function compileExpression(source: string, options: ExpressionOptions = {}): Expression {
  const ignoreCase = options.smartCase === true && !/[A-Z]/.test(source);
  const engine = compileEngine(source, ignoreCase);
  const words = WORDS.test(source) ? new RegExp(source, ignoreCase ? "iu" : "u") : undefined;
  return {
    isIn: (bytes, start, end): boolean =>
      words === undefined
        ? engine.test(bytes.subarray(start, end))
        : words.test(bytes.toString("utf8", start, end)),
    replaceAll: (text, replacement): string | undefined =>
      hasFewPlaces(engine, text) ? engine.matcher(text).replaceAll(replacement) : undefined,
  };
}

function hasFewPlaces(engine: RE2JS, text: string): boolean {
  const placesMax = Math.floor(STEPS_MAX / Math.max(1, text.length));
  if (placesMax > text.length) return true;
  const matcher = engine.matcher(text);
  for (let places = 0; matcher.find(); places++) if (places === placesMax) return false;
  return true;
}

function compileEngine(source: string, ignoreCase: boolean): RE2JS {
  // Not before there is an expression: it is large.
  const { RE2JS, RE2JSException } = require("re2js") as typeof import("re2js");
  try {
    const translation = translateExpression(source);
    let flags = 0;
    if (ignoreCase || translation.ignoreCase) flags |= RE2JS.CASE_INSENSITIVE;
    if (translation.isMultiline) flags |= RE2JS.MULTILINE;
    if (translation.isDotAll) flags |= RE2JS.DOTALL;
    return RE2JS.compile(translation.text, flags);
  } catch (error) {
    if (!(error instanceof SyntaxError || error instanceof RE2JSException)) throw error;
    const what = reasonOf(error).replace(/^error parsing regexp: /, "");
    throw new AgentError("E_CONFIG", `Cannot use the expression "${source}": ${what}`, {
      cause: error,
      hint: "Expressions are Perl's without what may take for ever: look-ahead, look-behind, back-references",
    });
  }
}
