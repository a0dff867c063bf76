/** Texts of unit files and their drop-ins, made from the same sections, so that both end with the same settings. */
import { AgentError } from "../../errors.ts";

/** Name and value. Of a list, each value is a directive of its own; undefined takes away what the unit below a drop-in has. */
export type Directive = readonly [name: string, value: string | undefined];

export interface Section {
  name: "Unit" | "Socket" | "Service" | "Timer" | "Install";
  directives: readonly Directive[];
}

export interface UnitForm {
  /** A drop-in takes the lists of the unit it belongs to back before it makes its own. */
  isDropIn: boolean;
  systemdVersion: number;
}

/** Since which version a directive is known, where that is later than 239; others would make it write warnings. */
const SINCE: Readonly<Record<string, number>> = {
  ProtectHostname: 242,
  RestrictSUIDSGID: 242,
  ProtectKernelLogs: 244,
  ProtectClock: 245,
  LoadCredential: 247,
  ProcSubset: 247,
  ProtectProc: 247,
  PrivateIPC: 248,
  RestartMaxDelaySec: 254,
  RestartSteps: 254,
};

/** What is added to, not replaced, by a further assignment; an empty one takes all back. */
const LISTS: ReadonlySet<string> = new Set([
  "ExecStart",
  "ExecStartPre",
  "ListenStream",
  "LoadCredential",
  "LogsDirectory",
  "ReadWritePaths",
  "RestrictAddressFamilies",
  "RuntimeDirectory",
  "StateDirectory",
  "SupplementaryGroups",
  "SystemCallArchitectures",
  "SystemCallFilter",
]);

const HEADER = `# Written by "agent install", taken away by "agent uninstall". Settings of your own go into a file beside it that sorts
# behind it, by "systemctl edit".
`;

/** @throws AgentError E_USAGE when a value has control characters */
export function formatUnit(sections: readonly Section[], form: UnitForm): string {
  const texts = sections.map(({ name, directives }) => {
    const lines = directives.filter(([key]) => (SINCE[key] ?? 0) <= form.systemdVersion);
    return `\n[${name}]\n${[...formatDirectives(lines, form.isDropIn)].join("")}`;
  });
  return HEADER + texts.join("");
}

function* formatDirectives(directives: readonly Directive[], isDropIn: boolean): Generator<string> {
  const begun = new Set<string>();
  for (const [name, value] of directives) {
    if (isDropIn && LISTS.has(name) && !begun.has(name)) yield `${name}=\n`;
    begun.add(name);
    if (value !== undefined) yield `${name}=${requireLine(value)}\n`;
  }
}

/** A word of a command line or of a list of paths, quoted where need be; "$" and "%" stand for themselves. */
export function quoteWord(text: string): string {
  const literal = escapeSpecifiers(text).replaceAll("$", "$$$$");
  if (/^[A-Za-z0-9_./:@%+=,$-]+$/.test(literal)) return literal;
  return `"${literal.replace(/["\\]/g, "\\$&")}"`;
}

/** A path in a list of them: no variables are there. */
export function quotePath(path: string): string {
  return quoteWord(path).replaceAll("$$", "$");
}

/** "%" stands for itself. */
export function escapeSpecifiers(text: string): string {
  return text.replaceAll("%", "%%");
}

/** Of any of the texts of `units/`. */
export function requireLine(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: it is they that are looked for
  const hasControls = /[\u0000-\u001f\u007f]/.test(text);
  if (!hasControls && !text.endsWith("\\")) return text;
  const problem = hasControls
    ? "it has control characters, need none"
    : "it ends with a backslash, which would take the next line in";
  const message = `Cannot write ${JSON.stringify(text)} into a configuration: ${problem}`;
  throw new AgentError("E_USAGE", message);
}
