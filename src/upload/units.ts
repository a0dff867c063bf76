/**
 * `--unit=`: what journalctl -u finds: what the unit wrote, and what others that may be believed wrote about it.
 * systemd 252: logs-show.c: add_matches_for_unit(), journalctl.c: add_units(), unit-name.c: unit_name_mangle().
 */
import { AgentError } from "../errors.ts";
import type { Condition, Term, TermTable } from "./conditions.ts";
import { compileGlob, isGlob } from "./glob.ts";

/** sd-messages.h: SD_MESSAGE_COREDUMP. */
const COREDUMP_MESSAGE_ID = "fc2e22bc6ee647b6b90729ab34a250b1";
const UNIT_NAME_SIZE_MAX = 255;
const UNIT_TYPES = "service|mount|swap|socket|target|device|automount|timer|path|slice|scope";
const VALID_UNIT_NAME = new RegExp(
  `^[0-9A-Za-z:_.\\\\-]+(?:@[0-9A-Za-z:_.\\\\@-]*)?\\.(?:${UNIT_TYPES})$`,
);
const VALID_GLOB = /^[0-9A-Za-z:_.\\@[\]!*?-]+$/;

/** @throws AgentError E_CONFIG for an empty name */
export function unitCondition(names: readonly string[], terms: TermTable): Condition {
  const units = names.map(mangleUnitName);
  const inPattern = anyOf(units.filter(isGlob).map(compileGlob));
  const plain = units.filter((unit) => !isGlob(unit));
  const isSlice = (unit: string): boolean => unit.endsWith(".slice");
  const inField = (name: string): Term => terms.oneOf(name, plain, inPattern);
  const root = terms.oneOf("_UID", ["0"]);
  const alternatives = [
    [inField("_SYSTEMD_UNIT")],
    [terms.oneOf("MESSAGE_ID", [COREDUMP_MESSAGE_ID]), root, inField("COREDUMP_UNIT")],
    [terms.oneOf("_PID", ["1"]), inField("UNIT")],
    [root, inField("OBJECT_SYSTEMD_UNIT")],
  ];
  if (inPattern !== undefined || plain.some(isSlice)) {
    const isSliceInPattern =
      inPattern === undefined
        ? undefined
        : (unit: string): boolean => isSlice(unit) && inPattern(unit);
    alternatives.push([terms.oneOf("_SYSTEMD_SLICE", plain.filter(isSlice), isSliceInPattern)]);
  }
  return alternatives;
}

/**
 * The unit's name, or a pattern of names, for what somebody may write instead: "sshd", "/home".
 * @throws AgentError E_CONFIG
 */
export function mangleUnitName(name: string): string {
  if (name === "") throw new AgentError("E_CONFIG", 'Cannot use "" as a unit: it needs a name');
  if (isUnitName(name) || (isGlob(name) && VALID_GLOB.test(name))) return name;
  const path = name.startsWith("/") ? escapePath(name) : undefined;
  if (path !== undefined)
    return `${path}.${/^\/(?:dev|sys)\/+[^/]/.test(name) ? "device" : "mount"}`;
  const escaped = escapeBytes(name.replaceAll("/", "-"), /[^0-9A-Za-z:_.\\@[\]!*?-]/g);
  return isGlob(escaped) || isUnitName(escaped) ? escaped : `${escaped}.service`;
}

function anyOf(
  patterns: readonly ((text: string) => boolean)[],
): ((text: string) => boolean) | undefined {
  if (patterns.length === 0) return undefined;
  return (text) => patterns.some((pattern) => pattern(text));
}

function isUnitName(name: string): boolean {
  return name.length <= UNIT_NAME_SIZE_MAX && VALID_UNIT_NAME.test(name);
}

/** unit-name.c: unit_name_path_escape(). Undefined for a path that leads up. */
function escapePath(path: string): string | undefined {
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) return undefined;
  if (parts.length === 0) return "-";
  return parts
    .map((part) => escapeBytes(part, /[^0-9A-Za-z:_.]/g))
    .join("-")
    .replace(/^\./, escapeByte("."));
}

/** @param others bytes, as characters, that cannot stay as they are */
function escapeBytes(text: string, others: RegExp): string {
  return Buffer.from(text).toString("latin1").replace(others, escapeByte);
}

function escapeByte(byte: string): string {
  return `\\x${byte.charCodeAt(0).toString(16).padStart(2, "0")}`;
}
