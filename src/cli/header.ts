/** `Header=` of journal-upload.conf(5): lines that are added to each request. */
import { AgentError } from "../errors.ts";
import type { UploadSettings } from "../upload/settings.ts";

type Header = UploadSettings["headers"][number];

/** systemd-journal-upload's own. */
const NAME_SIZE_MAX = 40;
const VALUE_SIZE_MAX = 8000;

/** What frames a request, or says what it is, is for the program to send. */
const OWN_HEADERS = [
  "connection",
  "content-encoding",
  "content-length",
  "content-type",
  "expect",
  "host",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
];

const ESCAPES: Record<string, string> = {
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  s: " ",
  t: "\t",
  v: "\v",
  "\\": "\\",
  '"': '"',
  "'": "'",
};

/**
 * `Name: value`, with the escapes of C.
 * @throws AgentError E_USAGE
 */
export function parseHeader(text: string): Header {
  const plain = unescapeC(text);
  const colon = plain.indexOf(":");
  if (colon < 0) throw unusable(text, 'need "Name: value"');
  const name = plain.slice(0, colon).trim();
  const value = plain.slice(colon + 1).trim();
  if (!/^[A-Za-z0-9_-]+$/.test(name)) throw unusable(text, "the name may hold A-Z, 0-9, _ and -");
  if (name.length > NAME_SIZE_MAX) {
    throw unusable(text, `the name has ${name.length} characters, at most ${NAME_SIZE_MAX}`);
  }
  if (OWN_HEADERS.includes(name.toLowerCase())) {
    throw unusable(text, `"${name}" is set by the program itself`);
  }
  if (!/^[\x20-\x7e]*$/.test(value)) throw unusable(text, "the value may hold printable ASCII");
  if (value.length > VALUE_SIZE_MAX) {
    throw unusable(text, `the value has ${value.length} characters, at most ${VALUE_SIZE_MAX}`);
  }
  return { name, value };
}

/** One of the same name is joined with a comma, as RFC 9110 5.3 has it; what it holds already is not repeated. */
export function addHeader(headers: readonly Header[], added: Header): Header[] {
  const isSame = ({ name }: Header): boolean => name.toLowerCase() === added.name.toLowerCase();
  if (!headers.some(isSame)) return [...headers, added];
  return headers.map((header) => {
    if (!isSame(header) || header.value.split(", ").includes(added.value)) return header;
    return { name: header.name, value: `${header.value}, ${added.value}` };
  });
}

function unescapeC(text: string): string {
  const escapes = /\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|([0-3][0-7]{2})|(.|$))/gis;
  return text.replace(escapes, (all, hex, unicode, octal, letter) => {
    const code = hex ?? unicode;
    if (code !== undefined) return String.fromCharCode(Number.parseInt(code, 16));
    if (octal !== undefined) return String.fromCharCode(Number.parseInt(octal, 8));
    const character = Object.hasOwn(ESCAPES, letter) ? ESCAPES[letter] : undefined;
    if (character === undefined) throw unusable(text, `"${all}" is not an escape of C`);
    return character;
  });
}

function unusable(text: string, what: string): AgentError {
  // The value may be a secret, and errors go to the journal.
  const name = text.replace(/:.*/s, ": …").slice(0, NAME_SIZE_MAX);
  return new AgentError("E_USAGE", `Cannot use header ${JSON.stringify(name)}: ${what}`);
}
