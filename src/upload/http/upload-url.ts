/**
 * Where to upload to. What systemd-journal-upload's URLs meant they go on to mean, except where it
 * built nonsense: it put ":19532/upload" behind a path, and the standard port behind an address.
 *
 * | given | requested |
 * |---|---|
 * | `h`, `https://h`, `https://h/` | `https://h:19532/upload` |
 * | `http://h:1234`, `http://h:1234/` | `http://h:1234/upload` |
 * | `https://h/insert/journald` | `https://h:443/insert/journald/upload`: a path without a port means a web server |
 * | `https://h:1/a/upload` | as it is |
 * | `http://h:1/x?y=z` | `http://h:1/x/upload?y=z` |
 * | `http://h:1/x?y=z#` | `http://h:1/x?y=z`: behind a "#" nothing is added |
 */
import { isIP, isIPv6 } from "node:net";
import { AgentError } from "../../errors.ts";

export interface UploadUrl {
  /** For messages and logs: the whole URL, without user and password. */
  text: string;
  isSecure: boolean;
  /** A name, or an address without brackets. */
  host: string;
  port: number;
  /** Path and query of the request. */
  target: string;
  /** "user:password", if the URL has it. */
  userinfo: string | undefined;
}

const DEFAULT_PORT = 19532;
const UPLOAD_PATH = "/upload";
const UPLOAD: UrlUse = {
  verb: "upload to",
  defaultScheme: "https",
  hint: 'URL= or --url= takes "https://HOST[:PORT][/PATH]" or "http://…"',
};
const URL_PARTS = /^(?:([a-z][a-z0-9+.-]*):\/\/)?([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?$/is;
const AUTHORITY = /^(?:(.*)@)?(\[[^\]]*\]|[^:]*)(?::(.*))?$/s;

/** @throws AgentError E_CONFIG. */
export function parseUploadUrl(text: string): UploadUrl {
  const { isSecure, userinfo, host, port, path, query, isVerbatim } = splitUrl(text, UPLOAD);
  const isBare = (path === "" || path === "/") && !isVerbatim;
  const target = `${isVerbatim ? path : uploadPath(path)}${query}`;
  return withText({
    isSecure,
    host,
    port: port ?? (isBare ? DEFAULT_PORT : isSecure ? 443 : 80),
    target: encodeTarget(text, target),
    userinfo,
  });
}

/** "host:port", an IPv6 address in brackets. */
export function formatAuthority(host: string, port: number): string {
  return `${isIPv6(host) ? `[${host}]` : host}:${port}`;
}

/** What a URL is read for. */
export interface UrlUse {
  /** For messages: "upload to". */
  verb: string;
  /** Where there is none in it. */
  defaultScheme: "http" | "https";
  hint: string;
}

export interface UrlParts {
  isSecure: boolean;
  userinfo: string | undefined;
  host: string;
  port: number | undefined;
  /** As given. */
  path: string;
  /** With its "?", or "". */
  query: string;
  /** There is a "#". */
  isVerbatim: boolean;
}

/** @throws AgentError E_CONFIG. */
export function splitUrl(text: string, use: UrlUse): UrlParts {
  const [, givenScheme, authority = "", path = "", query = "", fragment] =
    URL_PARTS.exec(text.trim()) ?? [];
  const scheme = (givenScheme ?? use.defaultScheme).toLowerCase();
  const [, userinfo, givenHost = "", givenPort] = AUTHORITY.exec(authority) ?? [];
  const complain = (problem: string): AgentError =>
    new AgentError("E_CONFIG", `Cannot ${use.verb} "${withoutUser(text)}": ${problem}`, {
      hint: use.hint,
    });
  if (scheme !== "http" && scheme !== "https") {
    throw complain(`it begins with "${scheme}:", "https:" or "http:" is needed`);
  }
  if (isIPv6(authority)) throw complain(`the address needs brackets, as in "[${authority}]"`);
  if (givenHost === "") throw complain("there is no host in it");
  const host = parseHost(givenHost);
  if (host === undefined) throw complain(`"${givenHost}" is no host name and no address`);
  const port = givenPort === undefined ? undefined : parsePort(givenPort);
  // Of a password then, which belongs into no message.
  if (Number.isNaN(port) && !authority.includes("@") && text.includes("@")) {
    throw complain('"/", "?" and "#" in a user or password are written as %2F, %3F and %23');
  }
  if (Number.isNaN(port)) throw complain(`its port is "${givenPort}", 1 to 65535 is needed`);
  return {
    isSecure: scheme === "https",
    userinfo: userinfo === undefined ? undefined : decodePercents(userinfo),
    host,
    port,
    path,
    query,
    isVerbatim: fragment !== undefined,
  };
}

/** For messages: user information may hold a password, and that what ends it if it is written wrongly. */
export function withoutUser(url: string): string {
  return url.replace(/^([^/?#]*:\/\/)?.*@/s, "$1");
}

function parseHost(text: string): string | undefined {
  if (text.startsWith("[")) {
    const address = text.slice(1, -1);
    return isIPv6(address) ? address : undefined;
  }
  if (/[\s"<>\\^`{|}%[\]]/.test(text)) return undefined;
  try {
    // Also turns names of other scripts into what the DNS knows.
    const { hostname } = new URL(`http://${text}/`);
    return isIP(hostname) === 6 ? undefined : hostname;
  } catch {
    return undefined;
  }
}

/** NaN = not a port. */
function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65535 ? port : Number.NaN;
}

function decodePercents(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function uploadPath(path: string): string {
  const bare = path.replace(/\/{1,64}$/, "");
  return bare.endsWith(UPLOAD_PATH) ? bare : `${bare}${UPLOAD_PATH}`;
}

/** Blanks and letters outside of ASCII are percent-encoded; the rest stays as it was given. */
function encodeTarget(text: string, target: string): string {
  const rooted = target.startsWith("/") ? target : `/${target}`;
  return rooted.replace(/[^\x21-\x7e]+/g, (characters) => {
    try {
      return encodeURIComponent(characters);
    } catch (cause) {
      const problem = "its path is no valid text";
      throw new AgentError("E_CONFIG", `Cannot upload to "${withoutUser(text)}": ${problem}`, {
        cause,
      });
    }
  });
}

function withText(url: Omit<UploadUrl, "text">): UploadUrl {
  const scheme = url.isSecure ? "https" : "http";
  return { text: `${scheme}://${formatAuthority(url.host, url.port)}${url.target}`, ...url };
}
