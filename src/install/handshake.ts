/** Tries a receiver as a sender would: name, address, TLS with both certificates, and its answer. */
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { AgentError } from "../errors.ts";
import { type IdentityFiles, loadClientIdentity } from "../upload/http/client-identity.ts";
import {
  DIAL_TIMEOUT,
  describeBreakage,
  describeDialFailure,
  type FailureContext,
} from "../upload/http/describe-failure.ts";
import { dial } from "../upload/http/dial.ts";
import type { ProxyUrl } from "../upload/http/proxy.ts";
import { formatAuthority, type UploadUrl } from "../upload/http/upload-url.ts";
import { VERSION } from "../version.ts";

export interface Handshake {
  url: UploadUrl;
  proxy?: ProxyUrl | undefined;
  /** Where it is, whatever the name resolves to. */
  addresses?: readonly string[];
  files: IdentityFiles;
  /** And asks whether it takes uploads from us: with TLS 1.3, the handshake does not tell. */
  greets: boolean;
  timeoutMs: number;
}

type Breakage = Parameters<typeof describeBreakage>[1];

/** What is wrong with it; else the fingerprint of the server's certificate, undefined without TLS. */
export type HandshakeOutcome = { problem: AgentError } | { fingerprint: string | undefined };

/** Never rejects, but for bugs. */
export async function tryHandshake(handshake: Handshake): Promise<HandshakeOutcome> {
  const { url, files, timeoutMs, greets } = handshake;
  const context: FailureContext = {
    verb: "talk to",
    url,
    proxy: handshake.proxy,
    files,
    certificateEndMs: undefined,
    nowMs: Date.now(),
    networkTimeoutMs: timeoutMs,
    connectTimeoutMs: timeoutMs,
  };
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(DIAL_TIMEOUT), timeoutMs);
  try {
    const socket = await open(handshake, context, abort.signal);
    const fingerprint =
      socket instanceof TLSSocket ? socket.getPeerX509Certificate()?.fingerprint256 : undefined;
    try {
      if (greets) await greet(socket, context, url, abort.signal);
    } finally {
      socket.destroy();
    }
    return { fingerprint };
  } catch (error) {
    if (error instanceof AgentError) return { problem: error };
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** @throws AgentError */
async function open(
  handshake: Handshake,
  context: FailureContext,
  signal: AbortSignal,
): Promise<Socket> {
  const { url, proxy, addresses, files } = handshake;
  const identity = loadClientIdentity(files);
  context.certificateEndMs = identity.certificateEndMs;
  let phase: Parameters<typeof describeDialFailure>[1] = "resolve";
  try {
    return await dial({
      url,
      proxy,
      ...(addresses === undefined ? {} : { addresses }),
      identity,
      checksServer: files.trust !== "all",
      userAgent: `agent/${VERSION}`,
      signal,
      onPhase: (next) => {
        phase = next;
      },
    });
  } catch (cause) {
    throw describeDialFailure(context, phase, cause);
  }
}

/**
 * Sends an upload of nothing. What the receiver thinks of us is in its answer: ours reads a request before it refuses.
 * @throws AgentError
 */
async function greet(
  socket: Socket,
  context: FailureContext,
  { target }: UploadUrl,
  signal: AbortSignal,
): Promise<void> {
  const { host, port } = context.url;
  const head = [
    `POST ${target} HTTP/1.1`,
    `Host: ${formatAuthority(host, port)}`,
    `User-Agent: agent/${VERSION}`,
    "Content-Type: application/vnd.fdo.journal",
    "Content-Length: 0",
    "Connection: close",
  ];
  socket.write(`${head.join("\r\n")}\r\n\r\n`);
  const answer = await readAnswer(socket, signal);
  if (typeof answer !== "string") throw describeBreakage(context, answer, false).error;
  const [, status] = /^HTTP\/1\.[01] (\d{3})/.exec(answer) ?? [];
  const fail = (what: string, hint: string): AgentError =>
    new AgentError("E_PEER", `Cannot ${context.verb} "${context.url.text}": ${what}`, { hint });
  if (status === undefined) {
    throw fail("what answers there does not speak HTTP", "Is this the receiver's port?");
  }
  // One that wants a password besides says so: the password is the service's to know.
  const wantsPassword = status === "401" && /^www-authenticate:/im.test(answer);
  if (status.startsWith("2") || wantsPassword) return;
  const said = answer.slice(headEnd(answer)).trim().split("\n", 1)[0] ?? "";
  throw fail(
    `it answers ${status}${said === "" ? "" : ` ("${said}")`}`,
    "Is this the receiver's URL, and our certificate one that it trusts? Its log says more",
  );
}

/** Of an answer. */
const ANSWER_SIZE_MAX = 16 * 1024;

/** Up to its end, or the end of the connection, which the receiver was asked for. */
function readAnswer(socket: Socket, signal: AbortSignal): Promise<string | Breakage> {
  const { promise, resolve } = Promise.withResolvers<string | Breakage>();
  let text = "";
  const end = (): void => resolve(text === "" ? { kind: "ended" } : text);
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
    if (isWhole(text) || text.length > ANSWER_SIZE_MAX) end();
  });
  socket.once("error", (cause) => resolve(text === "" ? { kind: "error", cause } : text));
  socket.once("end", end);
  socket.once("close", end);
  signal.addEventListener("abort", () => resolve(text === "" ? { kind: "stalled" } : text), {
    once: true,
  });
  return promise;
}

function isWhole(answer: string): boolean {
  const [, length] = /^content-length: *(\d+)/im.exec(answer.slice(0, headEnd(answer))) ?? [];
  return length !== undefined && answer.length >= headEnd(answer) + Number(length);
}

/** 0 = it is not there yet. */
function headEnd(answer: string): number {
  const end = answer.indexOf("\r\n\r\n");
  return end < 0 ? 0 : end + 4;
}
