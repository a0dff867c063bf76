/** What went wrong between us and a receiver, in words: what is, what is at fault, what to do about it. */
import { isIP } from "node:net";
import { AgentError, errnoOf, reasonOf } from "../../errors.ts";
import type { UploadFailure } from "../delivery-types.ts";
import type { IdentityFiles } from "./client-identity.ts";
import { ConnectError } from "./connect-first.ts";
import type { Breakage } from "./connection.ts";
import { type RefusedCertificate, UntrustedServer } from "./dial.ts";
import type { ProxyUrl } from "./proxy.ts";
import { ProxyRefusal } from "./tunnel.ts";
import { formatAuthority, type UploadUrl } from "./upload-url.ts";

/** What messages are about. */
export interface FailureContext {
  /** For the messages: "upload to". */
  verb: string;
  url: UploadUrl;
  proxy: ProxyUrl | undefined;
  files: IdentityFiles;
  /** When our own certificate ends. */
  certificateEndMs: number | undefined;
  nowMs: number;
  networkTimeoutMs: number;
  connectTimeoutMs: number;
}

type Phase = UploadFailure["phase"];
interface Words {
  what: string;
  hint?: string | undefined;
}

/** Thrown into a dial that takes too long. */
export const DIAL_TIMEOUT = Symbol("time is up");

/** Why there is no connection. @param cause what `dial()` rejected with. */
export function describeDialFailure(
  context: FailureContext,
  phase: Phase,
  cause: unknown,
): AgentError {
  // Our own files: they say which one.
  if (cause instanceof AgentError) return cause;
  return makeError(context, dialWords(context, phase, cause), cause);
}

/** Why a connection that there was is gone. @param hasAnswered it has answered a request. */
export function describeBreakage(
  context: FailureContext,
  breakage: Breakage,
  hasAnswered: boolean,
): Pick<UploadFailure, "phase" | "error"> {
  if (breakage.kind === "error") {
    // With TLS 1.3 a server says what it thinks of our certificate after the handshake.
    const words = hasAnswered ? undefined : alertWords(context, breakage.cause);
    const phase = words === undefined ? "request" : "tls";
    const error = makeError(context, words ?? brokenWords(breakage.cause), breakage.cause);
    return { phase, error };
  }
  return {
    phase: "request",
    error: makeError(context, breakageWords(context, breakage, hasAnswered)),
  };
}

function makeError(context: FailureContext, { what, hint }: Words, cause?: unknown): AgentError {
  return new AgentError("E_PEER", `Cannot ${context.verb} "${context.url.text}": ${what}`, {
    ...(hint === undefined ? {} : { hint }),
    ...(cause === undefined || typeof cause === "symbol" ? {} : { cause }),
  });
}

function dialWords(context: FailureContext, phase: Phase, cause: unknown): Words {
  const { url, proxy } = context;
  if (cause === DIAL_TIMEOUT) return timeoutWords(context, phase);
  if (cause instanceof ProxyRefusal) return refusalWords(context, cause);
  if (cause instanceof UntrustedServer) return certificateWords(context, cause);
  if (phase === "resolve") return lookupWords((proxy ?? url).host, cause);
  if (cause instanceof ConnectError) return connectWords(context, cause);
  if (phase === "proxy") return { what: `${proxyName(context)} fails: ${socketReason(cause)}` };
  return alertWords(context, cause) ?? handshakeWords(context, cause);
}

function timeoutWords(context: FailureContext, phase: Phase): Words {
  const { url, proxy, connectTimeoutMs } = context;
  const { host, port } = proxy ?? url;
  const time = `within ${connectTimeoutMs / 1000} s`;
  switch (phase) {
    case "resolve":
      return { what: `no name server has answered for "${host}" ${time}`, hint: lookupHint(host) };
    case "connect":
      return {
        what: `${formatAuthority(host, port)} has not answered ${time}`,
        hint: SILENCE_HINT,
      };
    case "proxy":
      return { what: `${proxyName(context)} has not answered ${time}` };
    default:
      return {
        what: `the TLS handshake was not done ${time}`,
        hint: `Does ${formatAuthority(url.host, url.port)} speak TLS? "http://" is for those that do not`,
      };
  }
}

const SILENCE_HINT = "A firewall may drop the packets, or the host is down";

function lookupHint(host: string): string {
  return `See what the resolver says: getent hosts ${host}`;
}

const UNKNOWN_NAME_CODES = ["ENOTFOUND", "ENODATA", "EAI_NONAME", "EAI_NODATA"];

function lookupWords(host: string, cause: unknown): Words {
  const code = (errnoOf(cause) ?? "").replace(/^DNS_/, "");
  const hint = lookupHint(host);
  if (UNKNOWN_NAME_CODES.includes(code)) {
    return { what: `the host name "${host}" is unknown`, hint };
  }
  if (code === "EAI_AGAIN" || code === "ETIMEOUT") {
    return { what: `no name server answers for "${host}"`, hint };
  }
  return { what: `the host name "${host}" cannot be looked up (${code || reasonOf(cause)})`, hint };
}

function connectWords({ url, proxy }: FailureContext, error: ConnectError): Words {
  const { host, port } = proxy ?? url;
  const at = formatAuthority(error.address, port);
  const name = proxy === undefined ? "" : "the proxy ";
  const of = host === error.address ? "" : ` of "${host}"`;
  const more = error.addressCount > 1 ? ` and ${error.addressCount - 1} more` : "";
  const where = `${name}${at}${more}${of}`;
  const [what, hint] = CONNECT_WORDS[error.code] ?? [`cannot be connected to (${error.code})`];
  return { what: `${where} ${what}`, hint };
}

const CONNECT_WORDS: Record<string, readonly [what: string, hint?: string]> = {
  ECONNREFUSED: ["refuses the connection", "Is the receiver running, and is this its port?"],
  ENOANSWER: ["does not answer, or refuses the connection", SILENCE_HINT],
  ETIMEDOUT: ["does not answer", SILENCE_HINT],
  ENETUNREACH: ["cannot be reached: there is no route to its network", "See: ip route"],
  EHOSTUNREACH: ["cannot be reached: there is no route to it", "See: ip route"],
  ENETDOWN: ["cannot be reached: the network is down", "See: ip link"],
  EACCES: ["may not be connected to", "A firewall of this host forbids it"],
  EPERM: ["may not be connected to", "A firewall of this host forbids it"],
  ECONNRESET: ["cut the connection at once", "Is this the receiver's port?"],
};

function proxyName({ proxy }: FailureContext): string {
  return `the proxy "${proxy?.text}"`;
}

function refusalWords(context: FailureContext, { status }: ProxyRefusal): Words {
  const { host, port } = context.url;
  const name = proxyName(context);
  if (status === undefined) return { what: `${name} does not speak HTTP` };
  if (status === 407) {
    const hint = "Put user and password into its URL: http://USER:PASSWORD@HOST:PORT";
    return { what: `${name} wants a user and a password (status 407)`, hint };
  }
  const what = `${name} does not let us to ${formatAuthority(host, port)} (status ${status})`;
  return { what, hint: "no_proxy names hosts that are connected to directly" };
}

/** The server showed a certificate that we do not take. */
function certificateWords(context: FailureContext, { code, certificate }: UntrustedServer): Words {
  const isProxy = certificate.host === context.proxy?.host && context.proxy?.isSecure === true;
  const whose = isProxy ? "the proxy's certificate" : "the server's certificate";
  const { issuer, validFrom, validTo } = certificate;
  const file = context.files.trust;
  switch (code) {
    case "ERR_TLS_CERT_ALTNAME_INVALID":
      return wrongNameWords(whose, certificate);
    case "CERT_HAS_EXPIRED":
      return {
        what: `${whose} has expired at ${validTo}`,
        hint: "Renew it there; compare the clocks",
      };
    case "CERT_NOT_YET_VALID":
      return { what: `${whose} is not valid before ${validFrom}`, hint: "Compare the clocks" };
    case "CERT_REVOKED":
      return { what: `${whose} is revoked` };
    default: {
      const reason = UNTRUSTED_CODES.includes(code) ? "" : ` (${code})`;
      return {
        what: `${whose} is not signed by an authority in "${file}", but by "${issuer}"${reason}`,
        hint: "TrustedCertificateFile= or --trust= must name the file with the authority that signed it",
      };
    }
  }
}

/** Several names for one thing: no way from the certificate to one that is trusted. */
const UNTRUSTED_CODES = [
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "CERT_SIGNATURE_FAILURE",
];

function wrongNameWords(whose: string, { host, names }: RefusedCertificate): Words {
  const has = names === "" ? "no name" : names.replaceAll("IP Address:", "IP:");
  const what = `${whose} is for another host: it has ${has}, "${host}" is needed`;
  const isAddress = isIP(host) !== 0;
  const kind = isAddress ? "IP" : "DNS";
  // Such as Netdata's script makes when it is given no aliases.
  const isNameOnly = names.startsWith("CN:") && isAddress;
  const hint = isNameOnly
    ? `Use the name in URL= or --url=, or issue a certificate with subjectAltName=IP:${host}`
    : `Use one of its names in URL= or --url=, or issue it with subjectAltName=${kind}:${host}`;
  return { what, hint };
}

/** What TLS servers say with an alert; undefined = it is none. */
function alertWords(context: FailureContext, cause: unknown): Words | undefined {
  const text = `${errnoOf(cause) ?? ""} ${reasonOf(cause)}`;
  const alert = ALERTS.find(({ name }) => text.includes(name));
  if (alert === undefined) return undefined;
  return alert.isAboutUs ? refusedWords(context, alert.text) : { what: alert.text };
}

const ALERTS: readonly { name: string; text: string; isAboutUs: boolean }[] = [
  { name: "ALERT_CERTIFICATE_REQUIRED", text: "", isAboutUs: true },
  { name: "ALERT_HANDSHAKE_FAILURE", text: "handshake failure", isAboutUs: true },
  { name: "ALERT_UNKNOWN_CA", text: "it does not know its authority", isAboutUs: true },
  { name: "ALERT_CERTIFICATE_EXPIRED", text: "it has expired", isAboutUs: true },
  { name: "ALERT_CERTIFICATE_REVOKED", text: "it is revoked", isAboutUs: true },
  { name: "ALERT_CERTIFICATE_UNKNOWN", text: "certificate unknown", isAboutUs: true },
  { name: "ALERT_UNSUPPORTED_CERTIFICATE", text: "of the wrong kind", isAboutUs: true },
  { name: "ALERT_BAD_CERTIFICATE", text: "bad certificate", isAboutUs: true },
  { name: "ALERT_ACCESS_DENIED", text: "access denied", isAboutUs: true },
  { name: "ALERT_DECRYPT_ERROR", text: "decrypt error", isAboutUs: true },
  {
    name: "ALERT_PROTOCOL_VERSION",
    text: "the server speaks no TLS that is new enough, 1.2 is needed",
    isAboutUs: false,
  },
  {
    name: "UNSUPPORTED_PROTOCOL",
    text: "the server speaks no TLS that is new enough, 1.2 is needed",
    isAboutUs: false,
  },
  { name: "UNRECOGNIZED_NAME", text: "the server does not know that host name", isAboutUs: false },
];

/** The server does not take our certificate, or misses one. */
function refusedWords(context: FailureContext, alert: string): Words {
  const { certificateFile, keyFile } = context.files;
  const needsOne =
    "--key= and --cert= (ServerKeyFile=, ServerCertificateFile=) name what we show it";
  if (certificateFile === undefined || keyFile === undefined) {
    if (alert !== "handshake failure") {
      return { what: "the server wants a client certificate, there is none", hint: needsOne };
    }
    const what =
      "the server breaks off the TLS handshake, perhaps for lack of a client certificate";
    return { what, hint: needsOne };
  }
  const { certificateEndMs, nowMs } = context;
  const isExpired = certificateEndMs !== undefined && certificateEndMs <= nowMs;
  const reason = alert === "" ? "" : ` (${alert})`;
  return {
    what: `the server refuses our certificate "${certificateFile}"${reason}`,
    hint: isExpired
      ? `It has expired at ${new Date(certificateEndMs).toISOString()}: renew it`
      : "It has to be signed by an authority that the server trusts, and not be revoked",
  };
}

const CERTIFICATE_LOG_HINT = "It may not take our certificate: its log may say why";

function handshakeWords({ url }: FailureContext, cause: unknown): Words {
  const text = `${errnoOf(cause) ?? ""} ${reasonOf(cause)}`;
  if (/WRONG_VERSION_NUMBER|HTTP_REQUEST|PACKET_LENGTH_TOO_LONG/.test(text)) {
    return {
      what: `${formatAuthority(url.host, url.port)} does not speak TLS, which "https:" means`,
      hint: 'Use "http://" if it is meant to be without encryption',
    };
  }
  if (/ECONNRESET|disconnected/.test(text)) {
    return {
      what: "the server closed the connection during the TLS handshake",
      hint: CERTIFICATE_LOG_HINT,
    };
  }
  return { what: `the TLS handshake failed: ${reasonOf(cause)}` };
}

function brokenWords(cause: unknown): Words {
  return { what: `the connection broke: ${socketReason(cause)}` };
}

function socketReason(cause: unknown): string {
  switch (errnoOf(cause)) {
    case "ECONNRESET":
      return "it was reset";
    case "EPIPE":
      return "the other side has closed it";
    case "ETIMEDOUT":
    case "EHOSTUNREACH":
      return "the other side does not answer any more";
    default:
      return reasonOf(cause);
  }
}

function breakageWords(
  { url, networkTimeoutMs }: FailureContext,
  breakage: Exclude<Breakage, { kind: "error" }>,
  hasAnswered: boolean,
): Words {
  switch (breakage.kind) {
    case "ended":
      return {
        what: "the server closed the connection without an answer",
        // With TLS 1.3 that is how some servers refuse a certificate.
        hint: url.isSecure && !hasAnswered ? CERTIFICATE_LOG_HINT : undefined,
      };
    case "stalled":
      return {
        what: `nothing has moved on the connection for ${networkTimeoutMs / 1000} s`,
        hint: "NetworkTimeoutSec= says how long to wait for progress",
      };
    case "malformed":
      if (breakage.isTls) {
        return { what: "the server speaks TLS", hint: 'Use "https://" in URL= or --url=' };
      }
      return { what: `the answer cannot be understood: ${breakage.text}` };
    case "given-up":
      return {
        what: `the connection ended after the answer ${breakage.status} to what was sent before`,
      };
    case "early":
      return {
        what: `the server answered ${breakage.status} and went away before it had everything`,
      };
    case "closed-here":
      return { what: "it was called off" };
  }
}
