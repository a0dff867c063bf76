/** One request over HTTPS, on a connection of its own: for the few questions that an installation asks a receiver. */
import type { Socket } from "node:net";
import { AgentError } from "../errors.ts";
import type { ClientIdentity, IdentityFiles } from "../upload/http/client-identity.ts";
import {
  DIAL_TIMEOUT,
  describeBreakage,
  describeDialFailure,
} from "../upload/http/describe-failure.ts";
import { dial } from "../upload/http/dial.ts";
import { chooseProxy, type ProxyEnvironment } from "../upload/http/proxy.ts";
import { formatAuthority, parseUploadUrl } from "../upload/http/upload-url.ts";
import { VERSION } from "../version.ts";

export interface HttpsRequest {
  /** As `URL=` has it: scheme, host, perhaps a port; a path is not looked at. */
  server: string;
  /** For the messages: "enrol at". */
  verb: string;
  method: "GET" | "POST";
  path: string;
  headers?: Readonly<Record<string, string>>;
  body?: string;
  /** PEM texts of what is shown and trusted. */
  identity: ClientIdentity["context"];
  /** Where proxies are named: https_proxy, no_proxy. */
  environment: ProxyEnvironment;
  /** Where these come from, for the messages. */
  files: IdentityFiles;
  /** False: whoever answers, for a certificate whose fingerprint is known. */
  checksServer: boolean;
  /** For all of it; default: half a minute. */
  timeoutMs?: number;
}

export interface HttpsAnswer {
  status: number;
  /** Names in lower case. */
  headers: ReadonlyMap<string, string>;
  body: string;
}

const TIMEOUT_MS = 30_000;
const HEAD_SIZE_MAX = 64 * 1024;
/** Certificates and lists of revoked ones: the longest list that `agent certs` is measured with has 0.4 MB. */
const ANSWER_SIZE_MAX = 16 * 1024 * 1024;

/** @throws AgentError E_PEER: no connection, not whom we trust, no answer that can be understood */
export async function requestOnce(request: HttpsRequest): Promise<HttpsAnswer> {
  const url = parseUploadUrl(request.server);
  if (!url.isSecure) {
    const message = `Cannot ${request.verb} "${url.text}": need a URL that begins with "https:"`;
    throw new AgentError("E_USAGE", message);
  }
  const { timeoutMs = TIMEOUT_MS } = request;
  const proxy = chooseProxy(url, undefined, request.environment);
  const context = {
    verb: request.verb,
    url: { ...url, text: `https://${formatAuthority(url.host, url.port)}` },
    proxy,
    files: request.files,
    certificateEndMs: undefined,
    nowMs: Date.now(),
    networkTimeoutMs: timeoutMs,
    connectTimeoutMs: timeoutMs,
  };
  let phase: Parameters<typeof describeDialFailure>[1] = "resolve";
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(DIAL_TIMEOUT), timeoutMs);
  try {
    const socket = await dial({
      url,
      proxy,
      identity: { context: request.identity, certificateEndMs: undefined },
      checksServer: request.checksServer,
      userAgent: `agent/${VERSION}`,
      signal: abort.signal,
      onPhase: (next) => {
        phase = next;
      },
    }).catch((cause) => {
      throw describeDialFailure(context, phase, cause);
    });
    const answer = await exchange(socket, formatRequest(request, url.host, url.port), abort.signal);
    if ("kind" in answer) throw describeBreakage(context, answer, false).error;
    return answer;
  } finally {
    clearTimeout(timer);
  }
}

function formatRequest(
  { method, path, headers = {}, body }: HttpsRequest,
  host: string,
  port: number,
): string {
  const all = {
    Host: formatAuthority(host, port),
    "User-Agent": `agent/${VERSION}`,
    ...(body === undefined ? {} : { "Content-Length": `${Buffer.byteLength(body)}` }),
    Connection: "close",
    ...headers,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} HTTP/1.1\r\n${lines.join("")}\r\n${body ?? ""}`;
}

type Breakage = Parameters<typeof describeBreakage>[1];

/** Sends and reads one answer, of which our receiver always says how long it is. Never rejects. */
function exchange(
  socket: Socket,
  text: string,
  signal: AbortSignal,
): Promise<HttpsAnswer | Breakage> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let size = 0;
    let head: AnswerHead | Breakage | undefined;
    const settle = (outcome: HttpsAnswer | Breakage): void => {
      signal.removeEventListener("abort", stall);
      socket.destroy();
      resolve(outcome);
    };
    const stall = (): void => settle({ kind: "stalled" });
    const take = (chunk: Buffer): void => {
      chunks.push(chunk);
      size += chunk.length;
      head ??= parseHead(Buffer.concat(chunks).toString("latin1"));
      if (head === undefined) return;
      if ("kind" in head) settle(head);
      else if (size >= head.end + head.length) settle(answerOf(head, Buffer.concat(chunks)));
    };
    signal.addEventListener("abort", stall);
    socket.on("error", (cause) => settle({ kind: "error", cause }));
    socket.on("data", take);
    socket.on("close", () => settle({ kind: "ended" }));
    socket.write(text);
  });
}

interface AnswerHead extends Omit<HttpsAnswer, "body"> {
  /** Where the body begins, and its size. */
  end: number;
  length: number;
}

/** Undefined = it is not complete yet. */
function parseHead(text: string): AnswerHead | Breakage | undefined {
  const headEnd = text.indexOf("\r\n\r\n");
  if (headEnd < 0)
    return text.length > HEAD_SIZE_MAX ? malformed("its head is too long") : undefined;
  const [statusLine = "", ...lines] = text.slice(0, headEnd).split("\r\n");
  const status = /^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(statusLine)?.[1];
  if (status === undefined) return malformed("it is not HTTP/1.1");
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(":");
    headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
  }
  const length = headers.get("content-length") ?? "";
  if (!/^\d{1,9}$/.test(length)) return malformed("it does not say how long it is");
  if (Number(length) > ANSWER_SIZE_MAX)
    return malformed(`it has ${length} bytes, at most ${ANSWER_SIZE_MAX} can be`);
  return { status: Number(status), headers, end: headEnd + 4, length: Number(length) };
}

function answerOf({ status, headers, end, length }: AnswerHead, bytes: Buffer): HttpsAnswer {
  return { status, headers, body: bytes.toString("latin1", end, end + length) };
}

function malformed(text: string): Breakage {
  return { kind: "malformed", text, isTls: false };
}
