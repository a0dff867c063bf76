/**
 * How a systemd-journal-gatewayd is addressed: its URL, the name its entries are filed under, and
 * the cursors that say where to go on. systemd-journal-gatewayd.service(8), version 252 on.
 */
import { AgentError } from "../../errors.ts";

/** `__CURSOR=` and six parts of at most 34 bytes each, with room to spare. */
const CURSOR_LINE_SIZE_MAX = 512;

/** One gateway to pull from. */
export interface Gateway {
  /** Names the sender: the host, without brackets round an IPv6 address. */
  name: string;
  /** What to request, without user and password. */
  href: string;
  /** Value of the Authorization header, from the user and password of the URL. */
  authorization: string | undefined;
}

/**
 * Understands what `--url=` takes: a URL whose path is used as it is when it holds `/entries`, and
 * is completed by it otherwise. Without a scheme it is `http`, as curl assumes. `follow` is asked for
 * unless the URL says something about it.
 * @throws AgentError E_USAGE when it is not an http or https URL.
 */
export function parseGateway(text: string): Gateway {
  const url = parseHttpUrl(text);
  if (!url.pathname.includes("/entries")) {
    url.pathname = `${url.pathname.replace(/\/+$/, "")}/entries`;
  }
  // The parameters are systemd's, not a form's: `follow` has no "=", and the rest stays as typed.
  if (!/[?&]follow(?:[=&]|$)/.test(url.search)) {
    url.search += url.search === "" ? "?follow" : "&follow";
  }
  url.hash = "";
  const authorization = basicAuthorization(url);
  url.username = "";
  url.password = "";
  return { name: url.hostname.replace(/^\[|\]$/g, ""), href: url.href, authorization };
}

/**
 * Gateways with names of their own: what is stored under a name says where its gateway goes on, so no
 * two may share one. The first keeps the host; another of that host is called `host:port`, and a
 * third by all that tells it apart. The same URL given twice counts once.
 * @throws AgentError E_USAGE like `parseGateway`.
 */
export function parseGateways(texts: readonly string[]): Gateway[] {
  const byHref = new Map<string, Gateway>();
  const names = new Set<string>();
  for (const text of texts) {
    const gateway = parseGateway(text);
    if (byHref.has(gateway.href)) continue;
    const { host, pathname, search } = new URL(gateway.href);
    const candidates = [gateway.name, host, `${host}${pathname}${search}`, gateway.href];
    const name = candidates.find((candidate) => !names.has(candidate)) ?? gateway.href;
    names.add(name);
    byHref.set(gateway.href, { ...gateway, name });
  }
  return [...byHref.values()];
}

/**
 * The Range that starts **at** the entry of `cursor`. Skipping it instead is no better: at the end of
 * the journal old gateways then send it all the same. It is stored and so recognised, and that it
 * comes first shows that nothing between it and the next one is gone.
 */
export function rangeFrom(cursor: string): string {
  return `entries=${cursor}`;
}

/** Reads the cursor on the first line of a gateway's answer, however the answer is cut to chunks. */
export class LeadingCursor {
  readonly #head = new Uint8Array(CURSOR_LINE_SIZE_MAX);
  #length = 0;

  /** @returns the cursor, once: when its line is complete. Undefined before, after, and if none. */
  push(chunk: Uint8Array): string | undefined {
    if (this.#length === CURSOR_LINE_SIZE_MAX) return undefined;
    const taken = chunk.subarray(0, CURSOR_LINE_SIZE_MAX - this.#length);
    this.#head.set(taken, this.#length);
    this.#length += taken.length;
    const lineEnd = this.#head.indexOf(0x0a);
    if (lineEnd < 0) return undefined;
    const line = new TextDecoder("latin1").decode(this.#head.subarray(0, lineEnd));
    this.#length = CURSOR_LINE_SIZE_MAX;
    return /^__CURSOR=(.+)$/.exec(line)?.[1];
  }
}

/** Whether two cursors name one entry: same sequence (`s`) and number (`i`). */
export function isSameEntry(cursor: string, other: string): boolean {
  return part(cursor, "s") === part(other, "s") && part(cursor, "i") === part(other, "i");
}

function part(cursor: string, key: string): string | undefined {
  const prefix = `${key}=`;
  return cursor
    .split(";")
    .find((text) => text.startsWith(prefix))
    ?.slice(prefix.length);
}

function parseHttpUrl(text: string): URL {
  const url = URL.parse(/^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`);
  if (url !== null && /^https?:$/.test(url.protocol)) return url;
  throw new AgentError(
    "E_USAGE",
    `Cannot pull from "${text}": it is not a URL, http://HOST[:PORT] or https://HOST[:PORT] is needed`,
  );
}

function basicAuthorization(url: URL): string | undefined {
  if (url.username === "" && url.password === "") return undefined;
  const pair = `${decodePart(url.username)}:${decodePart(url.password)}`;
  return `Basic ${Buffer.from(pair, "utf8").toString("base64")}`;
}

/** URL leaves a stray "%" as it was typed, which decodeURIComponent() refuses. */
function decodePart(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
