/** Which proxy leads to a receiver, as the environment says it to curl and so to the stock uploader. */
import { BlockList, isIP } from "node:net";
import { AgentError } from "../../errors.ts";
import {
  formatAuthority,
  splitUrl,
  type UploadUrl,
  type UrlUse,
  withoutUser,
} from "./upload-url.ts";

export interface ProxyUrl {
  /** For messages: without user and password. */
  text: string;
  /** The connection to the proxy itself is encrypted. */
  isSecure: boolean;
  host: string;
  port: number;
  /** "user:password". */
  userinfo: string | undefined;
}

/** `process.env` fits. */
export interface ProxyEnvironment {
  readonly no_proxy?: string | undefined;
  readonly NO_PROXY?: string | undefined;
  readonly [name: string]: string | undefined;
}

/** What curl takes where a proxy has no port. */
const DEFAULT_PORT = { http: 1080, https: 443 } as const;

/**
 * @param setting the configured proxy, used for every host; "" = none; undefined = as the environment says.
 * @returns undefined = connect directly.
 * @throws AgentError E_CONFIG for what is no http: or https: proxy.
 */
export function chooseProxy(
  url: UploadUrl,
  setting: string | undefined,
  environment: ProxyEnvironment,
): ProxyUrl | undefined {
  if (setting !== undefined) return setting === "" ? undefined : parseProxy(setting);
  const text = proxyVariable(url.isSecure, environment);
  if (text === "") return undefined;
  const exceptions = environment.no_proxy || environment.NO_PROXY || "";
  return isExcepted(url, exceptions) ? undefined : parseProxy(text);
}

/** HTTP_PROXY is left out: in a CGI program a client sets it, by a header "Proxy". */
function proxyVariable(isSecure: boolean, environment: ProxyEnvironment): string {
  const names = isSecure ? ["https_proxy", "HTTPS_PROXY"] : ["http_proxy"];
  for (const name of [...names, "all_proxy", "ALL_PROXY"]) {
    const value = environment[name];
    if (value !== undefined && value !== "") return value;
  }
  return "";
}

const PROXY: UrlUse = {
  verb: "use proxy",
  defaultScheme: "http",
  hint: "See Proxy=, http_proxy, https_proxy and all_proxy; no_proxy names exceptions",
};

/** @throws AgentError E_CONFIG. */
function parseProxy(text: string): ProxyUrl {
  if (/^socks/i.test(text)) {
    const problem = "it is a SOCKS proxy, an HTTP proxy is needed";
    const message = `Cannot use proxy "${withoutUser(text)}": ${problem}`;
    throw new AgentError("E_CONFIG", message, { hint: PROXY.hint });
  }
  const { isSecure, userinfo, host, port: givenPort } = splitUrl(text, PROXY);
  const scheme = isSecure ? "https" : "http";
  const port = givenPort ?? DEFAULT_PORT[scheme];
  return { text: `${scheme}://${formatAuthority(host, port)}`, isSecure, host, port, userinfo };
}

/**
 * `no_proxy`: "*", or names that also stand for what is below them, addresses, and networks, each
 * perhaps with a port; separated by commas or blanks.
 */
function isExcepted(url: UploadUrl, exceptions: string): boolean {
  return exceptions.split(/[\s,]+/).some((exception) => {
    if (exception === "") return false;
    if (exception === "*") return true;
    if (exception.includes("/")) return isInNetwork(url.host, exception);
    const [, bracketed, plain, port] =
      /^(?:\[(.*)\]|([^:]*|.*:.*:.*))(?::(\d+))?$/.exec(exception) ?? [];
    if (port !== undefined && Number(port) !== url.port) return false;
    return isSameOrBelow(url.host, bracketed ?? plain ?? "");
  });
}

function isSameOrBelow(host: string, exception: string): boolean {
  const name = exception
    .replace(/^\*?\./, "")
    .replace(/\.$/, "")
    .toLowerCase();
  const own = host.replace(/\.$/, "").toLowerCase();
  if (isIP(own) !== 0) return sameAddress(own, name);
  return own === name || own.endsWith(`.${name}`);
}

/** "::1" and "0:0:0:0:0:0:0:1" are. */
function sameAddress(address: string, other: string): boolean {
  const version = isIP(other);
  if (version !== isIP(address)) return false;
  return isInNetwork(address, `${other}/${version === 6 ? 128 : 32}`);
}

function isInNetwork(address: string, network: string): boolean {
  const [base = "", prefix = ""] = network.split("/");
  const family = isIP(base) === 6 ? "ipv6" : "ipv4";
  const bitsMax = family === "ipv6" ? 128 : 32;
  const isNetwork = isIP(base) !== 0 && /^\d{1,3}$/.test(prefix) && Number(prefix) <= bitsMax;
  if (!isNetwork || isIP(address) !== isIP(base)) return false;
  const list = new BlockList();
  list.addSubnet(base, Number(prefix), family);
  return list.check(address, family);
}
