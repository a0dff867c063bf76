/**
 * How a host gets its certificate from its receiver, and a new one while the present one is valid. The key is made here
 * and stays here. `src/serve/enrollment/` is the other side.
 */
import type { KeyObject } from "node:crypto";
import { type Certificate, readCertificate, readCertificates } from "../certs/certificate.ts";
import { formatPrivateKey, generateKey, isSameKey, readPrivateKey } from "../certs/keys.ts";
import { alternativeNames } from "../certs/names.ts";
import { readPem } from "../certs/pem.ts";
import { dueMs } from "../certs/profiles.ts";
import { authorityFingerprint, prove, type Token } from "../certs/token.ts";
import { vouchedAuthorities } from "../certs/vouched.ts";
import { AgentError } from "../errors.ts";
import type { IdentityFiles } from "../upload/http/client-identity.ts";
import type { ProxyEnvironment } from "../upload/http/proxy.ts";
import type { HostCertificate, KeyedCertificate } from "./host-certificate.ts";
import { type HttpsAnswer, type HttpsRequest, requestOnce } from "./https-request.ts";

export interface EnrollOptions {
  server: string;
  token: Token;
  environment: ProxyEnvironment;
}

export interface RenewOptions {
  server: string;
  /** Where the present ones are, for the messages. */
  files: IdentityFiles & { keyFile: string; certificateFile: string; trust: string };
  present: KeyedCertificate;
  environment: ProxyEnvironment;
}

const ANSWER = "the answer of the receiver";
const ENROLL = "enrol at";
const RENEW = "renew the certificate at";
/** Requests that may be repeated: the receiver was busy, or its answer was lost. The same key gets the same certificate. */
const ATTEMPTS_MAX = 4;
const WAIT_SEC = 1;
/** Longer, an operator does not watch it. */
const WAIT_SEC_MAX = 30;
const NO_FILES: IdentityFiles = { keyFile: undefined, certificateFile: undefined, trust: "all" };

/**
 * Of several receivers, at the first that does it.
 * @throws AgentError E_PEER, E_CERT: what the first one said
 */
export async function enrollAtFirst(
  servers: readonly string[],
  options: Omit<EnrollOptions, "server">,
): Promise<{ server: string; host: KeyedCertificate }> {
  const failures: AgentError[] = [];
  for (const server of servers) {
    try {
      return { server, host: await enroll({ ...options, server }) };
    } catch (error) {
      if (!(error instanceof AgentError)) throw error;
      failures.push(error);
    }
  }
  throw failures[0] ?? new RangeError("A token needs a server");
}

/**
 * The receiver is believed only what the token says: first whose certificate the authority's is, then, on a connection that
 * this authority vouches for, the rest.
 * @throws AgentError E_PEER, E_CERT
 */
export async function enroll(options: EnrollOptions): Promise<KeyedCertificate> {
  const { server, token, environment } = options;
  const authority = await fetchAuthority(options);
  const key = await generateKey("p256");
  const request = await requestFor(token.name, key);
  const answer = await askPatiently({
    server,
    verb: ENROLL,
    method: "POST",
    path: "/enroll",
    headers: { Authorization: `Token ${prove(token.secret, request)}` },
    body: request,
    identity: { ca: authority },
    environment,
    files: { ...NO_FILES, trust: "the authority that the token names" },
    checksServer: true,
  });
  requireSuccess(answer, ENROLL, server);
  const trusted = readCertificates(authority, "of the authority");
  const host = readAnswer(answer.body, { name: token.name, key, trusted });
  return { ...host, key: await formatPrivateKey(key, undefined) };
}

/**
 * With the same key: that it is ours is what the authority goes by.
 * @returns "off" when nobody enrols there
 * @throws AgentError E_PEER, E_CERT
 */
export async function renewAtReceiver(options: RenewOptions): Promise<HostCertificate | "off"> {
  const { server, files, present, environment } = options;
  const key = readPrivateKey(present.key, files.keyFile);
  const { name } = readCertificate(present.certificate, files.certificateFile).facts;
  const answer = await askPatiently({
    server,
    verb: RENEW,
    method: "POST",
    path: "/renew",
    body: await requestFor(name, key),
    identity: { key: present.key, cert: present.certificate, ca: present.authority },
    environment,
    files,
    checksServer: true,
  });
  if (answer.status === 404) return "off";
  requireSuccess(answer, RENEW, server);
  const trusted = readCertificates(present.authority, files.trust);
  return readAnswer(answer.body, { name, key, trusted });
}

async function askPatiently(request: HttpsRequest): Promise<HttpsAnswer> {
  for (let attempt = 1; ; attempt++) {
    const isLast = attempt === ATTEMPTS_MAX;
    let waitSec = WAIT_SEC;
    try {
      const answer = await requestOnce(request);
      if (isLast || ![429, 503].includes(answer.status)) return answer;
      waitSec = Number(answer.headers.get("retry-after") ?? WAIT_SEC);
      if (!(waitSec <= WAIT_SEC_MAX)) return answer;
    } catch (error) {
      if (isLast || !(error instanceof AgentError) || error.code !== "E_PEER") throw error;
    }
    await Bun.sleep(waitSec * 1000);
  }
}

/** PEM of the authority that the token names, whoever the other side is. */
async function fetchAuthority({ server, token, environment }: EnrollOptions): Promise<string> {
  const answer = await requestOnce({
    server,
    verb: ENROLL,
    method: "GET",
    path: "/enroll/authority",
    identity: {},
    environment,
    files: NO_FILES,
    checksServer: false,
  });
  requireSuccess(answer, ENROLL, server);
  const named = readPem(answer.body).find(
    ({ label, der }) =>
      label === "CERTIFICATE" && authorityFingerprint(der).equals(token.fingerprint),
  );
  if (named !== undefined) return named.text;
  const hint =
    "The token is of another authority, or somebody stands between this host and the receiver";
  throw new AgentError(
    "E_PEER",
    `Cannot enrol at "${server}": its authority is not the one that the token names`,
    { hint },
  );
}

async function requestFor(name: string, key: KeyObject): Promise<string> {
  // Loaded when it is needed: it is large.
  const { createRequest } = await import("../certs/x509.ts");
  return await createRequest({ commonName: name, names: alternativeNames(name, []), key });
}

function requireSuccess({ status, body }: HttpsAnswer, verb: string, server: string): void {
  if (status === 200) return;
  if (status === 404) {
    const hint = "On the server: agent install --role=server --enroll";
    throw new AgentError("E_PEER", `Cannot ${verb} "${server}": it does not enrol hosts`, { hint });
  }
  const [line = ""] = body.trim().split("\n");
  // It is somebody else's text, for a terminal.
  const text = line.replace(/[^\x20-\x7e]/g, "?").slice(0, 300);
  throw new AgentError("E_PEER", `Cannot ${verb} "${server}": it answers ${status}: ${text}`);
}

/**
 * What was signed has to be what was asked for.
 * @param trusted authorities that have to have signed it, or vouch for the one that has
 */
function readAnswer(
  text: string,
  { name, key, trusted }: { name: string; key: KeyObject; trusted: readonly Certificate[] },
): HostCertificate {
  const certificates = readCertificates(text, ANSWER);
  const leaf = certificates.find(({ facts }) => !facts.isAuthority);
  const offered = certificates.filter(({ facts }) => facts.isAuthority);
  const fail = (problem: string): AgentError =>
    new AgentError("E_CERT", `Cannot use ${ANSWER}: ${problem}`);
  if (leaf === undefined || offered.length === 0) {
    throw fail("need the certificates of this host and of its authority");
  }
  if (!isSameKey(key, leaf.x509.publicKey)) throw fail("the certificate is for another key");
  if (leaf.facts.name !== name) {
    const other = JSON.stringify(leaf.facts.name);
    throw fail(`the certificate is for ${other}, need one for "${name}"`);
  }
  const nowMs = Date.now();
  // An old one shown once more would run out before the next renewal.
  if (dueMs(leaf.facts) <= nowMs)
    throw fail(`the certificate is old, it ends on ${leaf.x509.validTo}`);
  const authorities = vouchedAuthorities(offered, trusted, nowMs);
  if (!authorities.some(({ x509 }) => leaf.x509.verify(x509.publicKey))) {
    throw fail("no authority that this host trusts, or that one of those vouches for, signed it");
  }
  const lists = readPem(text).filter(({ label }) => label === "X509 CRL");
  return {
    certificate: leaf.pem,
    authority: authorities.map(({ pem }) => pem).join(""),
    lists: lists.map((block) => block.text).join(""),
  };
}
