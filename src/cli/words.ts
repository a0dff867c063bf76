/** Several words in one value: `A=1 "B=two words" 'C="'`. */
import { AgentError } from "../errors.ts";

/**
 * Splits at blanks. Quotes hold blanks, and are taken away; within double quotes a backslash keeps a quote or a
 * backslash. Elsewhere a backslash is one: names of units have them.
 * @throws AgentError E_USAGE when a quote is not closed
 */
export function splitWords(text: string): string[] {
  const words: string[] = [];
  const pattern = /\s+|"((?:[^"\\]|\\.)*)"|'([^']*)'|([^\s"']+)|(.)/gsy;
  let word: string | undefined;
  for (const [all, double, single, plain, unclosed] of text.matchAll(pattern)) {
    if (unclosed !== undefined) {
      throw new AgentError(
        "E_USAGE",
        `Cannot split "${text}": a quote (${unclosed}) is not closed`,
      );
    }
    const part = double?.replace(/\\(["\\])/g, "$1") ?? single ?? plain;
    if (part !== undefined) {
      word = (word ?? "") + part;
    } else if (all !== "" && word !== undefined) {
      words.push(word);
      word = undefined;
    }
  }
  return word === undefined ? words : [...words, word];
}

/** `splitWords` reads it back as one word. */
export function quoteWord(word: string): string {
  return /^[^\s"']+$/.test(word) ? word : `"${word.replace(/["\\]/g, "\\$&")}"`;
}
