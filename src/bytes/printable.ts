/** Text of others for a terminal or a log: on one line, and nothing that a terminal takes for a command. */

/** Controls, among them escape and line feed; signs that change the direction of text; separators of lines. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

export function printable(text: string): string {
  return text.replace(UNPRINTABLE, "?");
}
