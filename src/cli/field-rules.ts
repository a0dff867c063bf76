/** Text → what is done to fields on their way: left out, redacted, added. */
import { AgentError } from "../errors.ts";
import { isFieldName } from "../journal/field-name.ts";
import type { RedactSetting, TransformSettings } from "../upload/settings.ts";
import { parseExpression } from "./selection.ts";

type AddedField = TransformSettings["addFields"][number];

/** What a redacted text becomes when nobody says otherwise. */
const DEFAULT_REPLACEMENT = "***";

/** A field's name, or a pattern of names with `*` and `?`. @throws AgentError E_USAGE, as all readers here do */
export function parseFieldPattern(text: string): string {
  if (/^[A-Z0-9_*?]{1,64}$/.test(text)) return text;
  const need = "names of fields are of A-Z, 0-9 and _, patterns of * and ? besides";
  throw new AgentError("E_USAGE", `Cannot use field name "${text}": ${need}`);
}

/**
 * `NAMES`, `NAMES /EXPRESSION/`, `NAMES /EXPRESSION/ REPLACEMENT` or `NAMES REPLACEMENT`. A slash in the expression
 * is written `\/`. A replacement may stand in double quotes, with `\"` and `\\` for these two.
 */
export function parseRedaction(text: string): RedactSetting {
  const [, namesText = "", rest = ""] = /^(\S*)\s*(.*)$/s.exec(text) ?? [];
  const names = parseFieldPattern(namesText);
  if (!rest.startsWith("/")) {
    return { names, expression: undefined, replacement: parseReplacement(rest) };
  }
  const match = /^\/((?:[^/\\]|\\.)+)\/(?:\s+(.*))?$/s.exec(rest);
  if (match === null) {
    const need = 'need one like "MESSAGE /password=\\S+/ password=***"';
    throw new AgentError("E_USAGE", `Cannot read "${text}": "/" does not enclose it, ${need}`);
  }
  const [, expression = "", replacement = ""] = match;
  return {
    names,
    expression: parseExpression(expression),
    replacement: parseReplacement(replacement),
  };
}

/** `parseRedaction` reads it back. */
export function formatRedaction({ names, expression, replacement }: RedactSetting): string {
  const quoted = `"${replacement.replace(/["\\]/g, "\\$&")}"`;
  return [names, ...(expression === undefined ? [] : [`/${expression}/`]), quoted].join(" ");
}

/** `NAME=value`; names with an underscore in front are the journal's own and say what it knows for sure. */
export function parseAddedField(text: string): AddedField {
  const equals = Math.max(text.indexOf("="), 0);
  const name = text.slice(0, equals);
  const bytes = Buffer.from(name);
  if (name.startsWith("_")) {
    const what =
      "names that begin with an underscore are reserved for what the journal itself knows";
    throw new AgentError("E_USAGE", `Cannot add field "${name}": ${what}`);
  }
  if (isFieldName(bytes, 0, bytes.length)) return { name, value: text.slice(equals + 1) };
  const need = "need NAME=value, the name of A-Z, 0-9 and _, not beginning with a digit";
  throw new AgentError("E_USAGE", `Cannot add field "${text}": ${need}`);
}

function parseReplacement(text: string): string {
  if (text === "") return DEFAULT_REPLACEMENT;
  if (!text.startsWith('"')) return text;
  const inner = /^"((?:[^"\\]|\\.)*)"$/s.exec(text)?.[1];
  if (inner !== undefined) return inner.replace(/\\(["\\])/g, "$1");
  throw new AgentError("E_USAGE", `Cannot read replacement ${text}: the quote is not closed`);
}
