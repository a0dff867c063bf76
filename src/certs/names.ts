/** Names that certificates carry: the host's, which also names its files, and the alternative ones. */
import { isIPv4, isIPv6 } from "node:net";
import { AgentError } from "../errors.ts";

export interface AlternativeName {
  type: "dns" | "ip";
  value: string;
}

/** ub-common-name of RFC 5280, appendix A.1. */
const HOST_NAME_LENGTH_MAX = 64;
/** RFC 1035 2.3.4. */
const DNS_NAME_LENGTH_MAX = 253;
const DNS_LABEL = /^[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/;
/** Of one certificate; nobody has more names. */
const ALTERNATIVE_NAMES_MAX = 100;
/** Their .pem and .key are the authority's own files. */
const RESERVED_NAMES = ["ca", "ca-old", "ca-new", "crl"];

/**
 * What Netdata's script takes for NAME, and an underscore, which host names have in practice.
 * @throws AgentError E_USAGE
 */
export function parseHostName(text: string): string {
  if (text.length > HOST_NAME_LENGTH_MAX) {
    const problem = `${text.length} characters, need at most ${HOST_NAME_LENGTH_MAX}`;
    const hint = "Choose a short one; the long one can be a further name: NAME DNS:LONG-NAME";
    throw unusable("name", `${text.slice(0, 20)}…`, problem, hint);
  }
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(text) || text.includes("..")) {
    const hint = hasNonAscii(text)
      ? "A name with other letters is written in its xn-- form"
      : "It becomes the name of files, so it is like web1 or web1.example.net";
    throw unusable("name", text, "need letters, digits, '.', '-', '_', the first no sign", hint);
  }
  if (RESERVED_NAMES.includes(text.toLowerCase())) {
    throw unusable("name", text, "the authority's own files have this name", undefined);
  }
  return text;
}

/**
 * "DNS:web1", "IP:192.0.2.7", or the bare name or address.
 * @throws AgentError E_USAGE
 */
export function parseAlternativeName(text: string): AlternativeName {
  const [, prefix, value = text] = /^([A-Za-z ]+):(?!:)(.*)$/s.exec(text) ?? [];
  // An address such as fe80::1 or abc:0:… has a colon of its own.
  if (prefix === undefined || isIPv6(text)) {
    return isAddress(text) ? addressName(text) : dnsName(text);
  }
  switch (prefix.toUpperCase()) {
    case "DNS":
      return dnsName(value);
    case "IP":
    case "IP ADDRESS":
      return addressName(value);
    default:
      throw unusable("name", text, "need DNS:… or IP:…, or the plain name or address", undefined);
  }
}

/**
 * Of a certificate: its own name first, each once.
 * @throws AgentError E_USAGE
 */
export function alternativeNames(
  name: string,
  others: readonly AlternativeName[],
): AlternativeName[] {
  const own = parseAlternativeName(name);
  const unique = new Map([own, ...others].map((each) => [nameKey(each), each]));
  if (unique.size > ALTERNATIVE_NAMES_MAX) {
    const problem = `${unique.size} names, need at most ${ALTERNATIVE_NAMES_MAX}`;
    throw new AgentError("E_USAGE", `Cannot put all names into one certificate: ${problem}`);
  }
  return [...unique.values()];
}

export function isSameNames(a: readonly AlternativeName[], b: readonly AlternativeName[]): boolean {
  const keys = new Set(a.map(nameKey));
  return keys.size === new Set(b.map(nameKey)).size && b.every((each) => keys.has(nameKey(each)));
}

/** "DNS:web1" */
export function formatAlternativeName({ type, value }: AlternativeName): string {
  return `${type === "dns" ? "DNS" : "IP"}:${value}`;
}

export function formatAlternativeNames(names: readonly AlternativeName[]): string {
  return names.length === 0 ? "no further names" : names.map(formatAlternativeName).join(", ");
}

/** The shortest form of an address, as `ip addr` shows it. */
export function canonicalAddress(text: string): string {
  return isIPv6(text) ? new URL(`http://[${text}]`).hostname.slice(1, -1) : text;
}

function nameKey({ type, value }: AlternativeName): string {
  return `${type}:${value.toLowerCase()}`;
}

function isAddress(text: string): boolean {
  return isIPv4(text) || isIPv6(text);
}

function addressName(text: string): AlternativeName {
  // A zone (%eth0) is of one host alone.
  if (!isAddress(text) || text.includes("%")) {
    throw unusable("address", text, "need one like 192.0.2.7 or 2001:db8::7", undefined);
  }
  return { type: "ip", value: canonicalAddress(text) };
}

/** A wildcard may be the first label; what looks like an address but is none is a slip. */
function dnsName(text: string): AlternativeName {
  const labels = text.replace(/^\*\.(?=.)/, "").split(".");
  const isName = text.length <= DNS_NAME_LENGTH_MAX && labels.every((each) => DNS_LABEL.test(each));
  if (!isName || /^\d+$/.test(labels.at(-1) ?? "")) {
    const hint = hasNonAscii(text)
      ? "A name with other letters is written in its xn-- form"
      : undefined;
    throw unusable("DNS name", text, "need one like web1 or web1.example.net", hint);
  }
  return { type: "dns", value: text };
}

function hasNonAscii(text: string): boolean {
  return [...text].some((letter) => letter > "~");
}

function unusable(what: string, text: string, need: string, hint: string | undefined): AgentError {
  const details = hint === undefined ? {} : { hint };
  return new AgentError("E_USAGE", `Cannot use ${what} ${JSON.stringify(text)}: ${need}`, details);
}
