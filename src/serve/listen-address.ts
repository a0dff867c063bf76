/**
 * Addresses to listen on, in the syntax of ListenStream= (systemd.socket(5)), and "-N" for
 * descriptor N inherited from the service manager.
 */
import { isIPv4, isIPv6 } from "node:net";
import { AgentError } from "../errors.ts";

export type ListenAddress =
  | {
      kind: "tcp";
      /** Numeric, without brackets, with `%scope` where given; undefined = every address. */
      host: string | undefined;
      port: number;
    }
  /** An abstract name starts with a NUL byte. */
  | { kind: "unix"; path: string }
  | { kind: "inherited"; fd: number };

export interface ListenAddressOptions {
  /** Lets the kernel choose the port; for tests. */
  allowPortZero?: boolean;
}

/** sun_path of sockaddr_un, without the final NUL. */
const UNIX_PATH_SIZE_MAX = 107;

/** @throws AgentError E_USAGE naming what is wrong with the text. */
export function parseListenAddress(
  text: string,
  options: ListenAddressOptions = {},
): ListenAddress {
  if (/^-\d+$/.test(text) || text === "0") return parseInherited(text);
  if (text.startsWith("/") || text.startsWith("@")) return parseUnix(text);
  if (text.startsWith("vsock:")) {
    throw refused(text, "AF_VSOCK is not supported, need a TCP or UNIX address");
  }
  if (/^\d+$/.test(text)) return tcp(text, undefined, text, options);
  if (text.startsWith("[")) return parseBracketed(text, options);
  const colon = text.lastIndexOf(":");
  if (colon === -1) throw refused(text, "neither a port, an address nor a path", HINT);
  const host = text.slice(0, colon);
  if (isIPv6(host)) throw refused(text, `"${host}" needs brackets around it`, HINT);
  if (!isIPv4(host)) throw refused(text, `"${host}" is not a numeric IPv4 address`, HINT);
  return tcp(text, host, text.slice(colon + 1), options);
}

/** The address as `parseListenAddress()` takes it. */
export function formatListenAddress(address: ListenAddress): string {
  if (address.kind === "inherited") return `-${address.fd}`;
  if (address.kind === "unix") return address.path.replace(/^\0/, "@");
  if (address.host === undefined) return String(address.port);
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  return `${host}:${address.port}`;
}

const HINT = "Use PORT, A.B.C.D:PORT, [IPv6]:PORT, /path/of/socket, @abstract-name or -N";

function parseInherited(text: string): ListenAddress {
  const fd = Math.abs(Number(text));
  // 0, 1 and 2 are the standard streams; sd_listen_fds(3) starts at 3.
  if (fd < 3 || fd > 0x7fffffff) {
    throw refused(text, `descriptor ${fd} is never inherited, need 3 or above`);
  }
  return { kind: "inherited", fd };
}

function parseUnix(text: string): ListenAddress {
  if (text.length === 1) throw refused(text, "the name is empty");
  const size = Buffer.byteLength(text);
  if (size > UNIX_PATH_SIZE_MAX) {
    throw refused(text, `${size} bytes, at most ${UNIX_PATH_SIZE_MAX} fit a socket's name`);
  }
  if (text.includes("\0")) throw refused(text, "a NUL byte in the name");
  return { kind: "unix", path: text.startsWith("@") ? `\0${text.slice(1)}` : text };
}

function parseBracketed(text: string, options: ListenAddressOptions): ListenAddress {
  const match = /^\[([^\]%]*)(%[\w.-]+)?\]:([^:]*)$/.exec(text);
  if (match === null) throw refused(text, "not of the form [IPv6]:PORT", HINT);
  const [, host = "", scope = "", port = ""] = match;
  if (!isIPv6(host)) throw refused(text, `"${host}" is not an IPv6 address`, HINT);
  return tcp(text, host + scope, port, options);
}

function tcp(
  text: string,
  host: string | undefined,
  portText: string,
  options: ListenAddressOptions,
): ListenAddress {
  const port = /^\d{1,5}$/.test(portText) ? Number(portText) : Number.NaN;
  if (!(port <= 65535)) throw refused(text, `port "${portText}" is not a number from 1 to 65535`);
  if (port === 0 && options.allowPortZero !== true) {
    throw refused(text, "port 0, need a number from 1 to 65535");
  }
  return { kind: "tcp", host, port };
}

function refused(text: string, reason: string, hint?: string): AgentError {
  return new AgentError(
    "E_USAGE",
    `Cannot listen on "${text}": ${reason}`,
    hint === undefined ? {} : { hint },
  );
}
