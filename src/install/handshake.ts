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
    // Some of what is waited for tells of an end of its own.
    throw describeDialFailure(context, phase, signal.aborted ? signal.reason : cause);
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
  const [, status, text = ""] = /^HTTP\/1\.[01] (\d{3})[^]*?\r\n\r\n([^]*)$/.exec(answer) ?? [];
  const message = `Cannot ${context.verb} "${context.url.text}":`;
  if (status === undefined) {
    throw new AgentError("E_PEER", `${message} what answers there does not speak HTTP`, {
      hint: "Is this the receiver's port?",
    });
  }
  // A receiver may want a password besides, which is the service's to know.
  if (status.startsWith("2") || status === WANTS_CREDENTIALS) return;
  const said = text.trim().split("\n", 1)[0] ?? "";
  throw new AgentError(
    "E_PEER",
    `${message} it answers ${status}${said === "" ? "" : ` (${said})`}`,
    {
      hint: "Its log says more; is this the receiver's URL, and our certificate one that it trusts?",
    },
  );
}

const WANTS_CREDENTIALS = "401";
/** Of an answer. */
const ANSWER_SIZE_MAX = 16 * 1024;

/** Up to its end, which the receiver was asked for. */
function readAnswer(socket: Socket, signal: AbortSignal): Promise<string | Breakage> {
  const { promise, resolve } = Promise.withResolvers<string | Breakage>();
  let text = "";
  const end = (): void => resolve(text === "" ? { kind: "ended" } : text);
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
    if (text.length > ANSWER_SIZE_MAX) end();
  });
  socket.once("error", (cause) => resolve(text === "" ? { kind: "error", cause } : text));
  socket.once("end", end);
  socket.once("close", end);
  signal.addEventListener("abort", () => resolve(text === "" ? { kind: "stalled" } : text), {
    once: true,
  });
  return promise;
}
