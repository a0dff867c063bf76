/**
 * One request to a systemd-journal-gatewayd: its headers, and what the answer means. Bun's fetch
 * holds the server back when the body is not read (measured: 192 MB through a slow reader, 40 MB
 * more RSS), reports a body that was cut, and keeps the TCP connection probed.
 */
import { AgentError, errnoOf, reasonOf } from "../../errors.ts";
import { parseRetryAfterMs } from "../../platform/backoff.ts";
import { type Gateway, rangeFrom } from "./gateway.ts";
import { type GatewayTls, loadGatewayTls } from "./gateway-tls.ts";

export interface GatewayRequest {
  tls: GatewayTls;
  /** Cursor of the entry to start with; undefined = everything there is. */
  cursor: string | undefined;
  nowMs: number;
  signal: AbortSignal;
}

export type GatewayAnswer =
  | { kind: "open"; body: ReadableStream<Uint8Array> }
  | {
      kind: "refused";
      error: AgentError;
      /** What the gateway asks us to wait; 0 = nothing. */
      retryAfterMs: number;
      /** It may be the cursor it refuses. */
      rangeRefused: boolean;
    };

const JOURNAL_TYPE = "application/vnd.fdo.journal";

/** Text of a refusal shown to the operator. */
const REASON_SIZE_MAX = 200;

/**
 * Asks for entries. The body of a refusal is never taken for entries.
 * @throws AgentError E_CERT for our own certificates; E_PEER when no answer came.
 */
export async function requestEntries(
  gateway: Gateway,
  request: GatewayRequest,
): Promise<GatewayAnswer> {
  const secure = gateway.href.startsWith("https:");
  const tlsOptions = secure ? await loadGatewayTls(request.tls) : undefined;
  let response: Response;
  try {
    response = await fetch(gateway.href, {
      headers: requestHeaders(gateway, request.cursor),
      // A redirect could lead from https to http, or to a host that was not asked for.
      redirect: "manual",
      keepalive: false,
      // The caller watches for silence; Bun's own limit is five minutes.
      timeout: false,
      signal: request.signal,
      ...(tlsOptions === undefined ? {} : { tls: tlsOptions }),
    });
  } catch (cause) {
    throw connectionError(gateway, cause);
  }
  const problem = answerProblem(response);
  if (problem === undefined) return { kind: "open", body: response.body ?? emptyBody() };
  return {
    kind: "refused",
    error: await refusal(gateway, response, problem),
    retryAfterMs: [429, 503].includes(response.status)
      ? parseRetryAfterMs(response.headers.get("retry-after"), request.nowMs)
      : 0,
    rangeRefused: request.cursor !== undefined && [400, 416].includes(response.status),
  };
}

/** What went wrong on the connection, in words; the runtime's texts talk to programmers. */
export function connectionError(gateway: Gateway, cause: unknown): AgentError {
  const code = errnoOf(cause) ?? "";
  const [what, hint] = CONNECTION_PROBLEMS[code] ?? [reasonOf(cause), undefined];
  return new AgentError("E_PEER", `Cannot pull from "${gateway.href}": ${what}`, {
    ...(hint === undefined ? {} : { hint }),
    cause,
  });
}

const CA_HINT = "--trust= must name the CA that signed the gateway's certificate";

const CONNECTION_PROBLEMS: Record<string, [what: string, hint: string | undefined]> = {
  ECONNREFUSED: ["the connection is refused", "is systemd-journal-gatewayd.socket active there?"],
  ECONNRESET: ["the connection was cut", undefined],
  ETIMEDOUT: ["the host does not answer", undefined],
  ENOTFOUND: ["the host name is unknown", undefined],
  EPROTO: ["the TLS handshake failed", "the gateway may want another client certificate"],
  ERR_TLS_CERT_ALTNAME_INVALID: ["its certificate is for another host", undefined],
  DEPTH_ZERO_SELF_SIGNED_CERT: ["its certificate is self-signed and not trusted", CA_HINT],
  SELF_SIGNED_CERT_IN_CHAIN: ["its certificate is of a CA that is not trusted", CA_HINT],
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: ["its certificate is of a CA that is not trusted", CA_HINT],
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: ["its certificate is of a CA that is not trusted", CA_HINT],
  UNABLE_TO_GET_ISSUER_CERT: ["its certificate is of a CA that is not trusted", CA_HINT],
  CERT_REVOKED: ["its certificate is revoked", undefined],
  UNABLE_TO_GET_CRL: ["there is no revocation list of its CA", "give one with --crl="],
  CRL_HAS_EXPIRED: ["the revocation list of its CA is out of date", "publish a new one"],
  CERT_HAS_EXPIRED: ["its certificate has expired", undefined],
  CERT_NOT_YET_VALID: ["its certificate is not valid yet", "compare the clocks"],
};

function requestHeaders(gateway: Gateway, cursor: string | undefined): Record<string, string> {
  return {
    Accept: JOURNAL_TYPE,
    // A proxy's compression would hold entries back until its block is full.
    "Accept-Encoding": "identity",
    ...(gateway.authorization === undefined ? {} : { Authorization: gateway.authorization }),
    ...(cursor === undefined ? {} : { Range: rangeFrom(cursor) }),
  };
}

function answerProblem(response: Response): string | undefined {
  if (response.status !== 200 && response.status !== 206) {
    return `it answers ${response.status}`;
  }
  const type = response.headers.get("content-type")?.split(";")[0]?.trim().toLowerCase();
  // A plain file server knows no better type than octet-stream.
  if (type === undefined || type === JOURNAL_TYPE || type === "application/octet-stream") {
    return undefined;
  }
  return `it sends "${type}", "${JOURNAL_TYPE}" is needed`;
}

async function refusal(gateway: Gateway, response: Response, problem: string): Promise<AgentError> {
  const location = response.headers.get("location");
  const hint = location === null ? undefined : `it points to "${location}": use that URL`;
  const reason = await firstLine(response);
  return new AgentError(
    "E_PEER",
    `Cannot pull from "${gateway.href}": ${problem}${reason === "" ? "" : `, "${reason}"`}`,
    hint === undefined ? {} : { hint },
  );
}

/** The start of the first line of a refusal's body, without control characters. */
async function firstLine(response: Response): Promise<string> {
  const reader = response.body?.getReader();
  if (reader === undefined) return "";
  try {
    const { value } = await reader.read();
    const text = new TextDecoder().decode(value?.subarray(0, REASON_SIZE_MAX));
    return (text.split(/[\r\n]/)[0] ?? "").replace(/\p{Cc}/gu, " ").trim();
  } catch {
    // The status says enough.
    return "";
  } finally {
    reader.cancel().catch(() => {});
  }
}

function emptyBody(): ReadableStream<Uint8Array> {
  return new ReadableStream({ start: (controller) => controller.close() });
}
