/**
 * The signer: answers one question of the receiver, for a host that has a token or a certificate. What the question says of
 * the host is believed only where the directory and the signature of the request bear it out; names, role and time of a
 * certificate come from the token or the former certificate, never from the request.
 */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { AgentError, errnoOf } from "../errors.ts";
import {
  DIRECTORY_PATIENCE_MS,
  QUESTION_SIZE_MAX,
  SIGNER_OPERATIONS,
  type SignerAnswer,
  type SignerQuestion,
} from "../platform/signer-protocol.ts";
import { Authority, type AuthorityOptions, readRequired } from "./authority.ts";
import { readCertificate } from "./certificate.ts";
import { certificateFile } from "./directory.ts";
import { parseIndex } from "./index-file.ts";
import { type Draft, type HostFiles, readHost, signOne } from "./issue.ts";
import { isSameKey } from "./keys.ts";
import { alternativeNames, parseHostName } from "./names.ts";
import { BACKDATE_MS, DAY_MS, dueMs } from "./profiles.ts";
import { draftOf } from "./renew.ts";
import { isProven, parseProof } from "./token.ts";
import { findToken, hashKey, readTokens, type StoredToken, tokensFile } from "./token-store.ts";
import { readListsText, readTrustedText } from "./trust-files.ts";
import { type CertificateRequest, createVoucher, readRequest } from "./x509.ts";

export interface AnswerOptions extends Omit<AuthorityOptions, "patienceMs"> {
  /** What was done, for the log. */
  inform(message: string): void;
}

/**
 * Of one name, valid at a time, unless the last one is due: whoever has a key, or has seen a request, could fill the index by
 * renewing without end, but is not to keep a host from the renewal that it needs.
 */
export const CERTIFICATES_PER_NAME_MAX = 20;
/** A host looks at a voucher when it comes; a receiver that keeps one is not to show it later. */
const VOUCHER_MS = DAY_MS;
/** Letters of an answer that is no certificate. */
const TEXT_LENGTH_MAX = 300;
/** Of what the receiver says, letters in the log. */
const ADDRESS_SHOWN_MAX = 100;

/** @param line of JSON. Never throws for what is wrong with the question or the directory: that is the answer. */
export async function answerQuestion(line: string, options: AnswerOptions): Promise<SignerAnswer> {
  const question = parseQuestion(line);
  if (question === undefined) return answer(400, "malformed", "The question is malformed");
  try {
    if (question.op === "authority") {
      const path = (file: string): string => join(options.directory, file);
      return { status: 200, text: readTrustedText({ path }) };
    }
    using authority = await Authority.open({ ...options, patienceMs: DIRECTORY_PATIENCE_MS });
    const given =
      question.op === "enroll"
        ? await enroll(authority, question)
        : await renew(authority, question);
    report(question, given, options);
    return given;
  } catch (error) {
    return troubleAnswer(error, options);
  }
}

/** Undefined for anything that is none. */
function parseQuestion(line: string): SignerQuestion | undefined {
  if (line.length > QUESTION_SIZE_MAX) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { op, proof, request, name, address } = value as Record<string, unknown>;
  const known = SIGNER_OPERATIONS.find((each) => each === op);
  const isText = (text: unknown): boolean => text === undefined || typeof text === "string";
  const isWhole = known !== undefined && [proof, request, name].every(isText);
  return isWhole && typeof address === "string" ? (value as SignerQuestion) : undefined;
}

async function enroll(
  authority: Authority,
  { proof = "", request = "" }: SignerQuestion,
): Promise<SignerAnswer> {
  const tokens = readTokens(authority);
  const shown = parseProof(proof);
  const token = shown === undefined ? undefined : findToken(tokens, shown.publicKey);
  // Whoever has not the token learns nothing of it.
  if (shown === undefined || token === undefined || !isProven(shown, request)) {
    return answer(403, "unknown", "This token is not valid here");
  }
  if (token.expiresMs <= authority.nowMs) {
    const end = new Date(token.expiresMs).toISOString();
    return answer(403, "expired", `This token expired at ${end}`);
  }
  const read = await readHostRequest(request);
  if ("status" in read) return read;
  if (read.commonName !== token.name) {
    const asked = JSON.stringify(read.commonName);
    return answer(403, "wrong-name", `This token is for "${token.name}", not for ${asked}`);
  }
  const host = readHost(authority, token.name);
  const key = hashKey(read.publicKey);
  if (token.key !== undefined) return await answerAgain(authority, token, key, host);
  const problem = takenBy(host, token, read);
  if (problem !== undefined) return problem;
  const trust = await trustText(authority);
  const used = tokens.map((each) => (each === token ? { ...token, key } : each));
  await signOne(authority, draftFor(token, read, host), [tokensFile(used, authority.nowMs)]);
  return certificateAnswer(authority, token.name, trust);
}

/** A token that was used is good for one thing: the same certificate again, for whoever has the key. */
async function answerAgain(
  authority: Authority,
  token: StoredToken,
  key: string,
  { certificate, status }: HostFiles,
): Promise<SignerAnswer> {
  const isSame = certificate !== undefined && hashKey(certificate.x509.publicKey) === key;
  if (key === token.key && isSame && status === "valid") {
    return certificateAnswer(authority, token.name, await trustText(authority));
  }
  return answer(403, "used", "This token was used already, need a new one");
}

/** Why the name is not to be had. */
function takenBy(
  { status, certificate }: HostFiles,
  token: StoredToken,
  { publicKey }: CertificateRequest,
): SignerAnswer | undefined {
  if (status === "revoked" && certificate?.x509.publicKey.equals(publicKey)) {
    return answer(403, "revoked", "The key of this request is revoked, need a new one");
  }
  if (status !== "valid" || token.replaces) return undefined;
  return answer(403, "taken", `"${token.name}" has got a certificate since the token was made`);
}

function draftFor(token: StoredToken, { publicKey }: CertificateRequest, host: HostFiles): Draft {
  const { name, role, days } = token;
  const dropsKey = host.key !== undefined && !isSameKey(host.key, publicKey);
  const names = alternativeNames(name, token.names);
  return { name, names, role, days, publicKey, newKey: undefined, dropsKey };
}

async function renew(
  authority: Authority,
  { request = "", name }: SignerQuestion,
): Promise<SignerAnswer> {
  const read = await readHostRequest(request);
  if ("status" in read) return read;
  const { commonName, publicKey } = read;
  if (name !== undefined && name !== commonName) {
    const text = `The request is for ${JSON.stringify(commonName)}, the certificate for ${JSON.stringify(name)}`;
    return answer(403, "wrong-name", text);
  }
  const { certificate, status } = readHost(authority, commonName);
  if (certificate === undefined || status !== "valid") {
    const problem = status === "absent" || status === "valid" ? "unknown" : status;
    return answer(403, problem, `"${commonName}" has no valid certificate of this authority`);
  }
  if (!certificate.x509.publicKey.equals(publicKey)) {
    const text = `The request is not made with the key of the certificate of "${commonName}"`;
    return answer(403, "wrong-key", text);
  }
  const isDue = dueMs(certificate.facts) <= authority.nowMs;
  if (!isDue && countValid(authority, commonName) >= CERTIFICATES_PER_NAME_MAX) {
    const text = `"${commonName}" has ${CERTIFICATES_PER_NAME_MAX} valid certificates already`;
    return answer(429, "too-many", text);
  }
  const trust = await trustText(authority);
  await signOne(authority, await draftOf(certificate, { days: undefined, newKeys: false }));
  return certificateAnswer(authority, commonName, trust);
}

function countValid(authority: Authority, name: string): number {
  const stages = ["current", "old"] as const;
  const entries = stages.flatMap((stage) =>
    parseIndex(authority.readIndex(stage).toString("latin1"), stage),
  );
  return entries.filter((each) => {
    return each.name === name && each.status === "V" && each.expiresMs > authority.nowMs;
  }).length;
}

/** What is wrong with it is for the host to know. */
async function readHostRequest(text: string): Promise<CertificateRequest | SignerAnswer> {
  try {
    const request = await readRequest(text, "of the host");
    parseHostName(request.commonName);
    return request;
  } catch (error) {
    if (error instanceof AgentError) return answer(400, "request", error.message);
    throw error;
  }
}

/** The host's certificate, the authorities, their lists. */
function certificateAnswer(authority: Authority, name: string, trust: string): SignerAnswer {
  const leaf = readRequired(authority.path(certificateFile(name)), "the certificate");
  return { status: 200, text: leaf + trust + readListsText(authority) };
}

/**
 * The authorities, and while they are several, a voucher of each for the others: a host believes no receiver that one is to be
 * trusted that it does not know (`vouched.ts`). Only for those whose keys are here: anybody may have written into `ca.pem`.
 */
async function trustText(authority: Authority): Promise<string> {
  const signers = await Promise.all(authority.stages().map((stage) => authority.signer(stage)));
  const notBeforeMs = authority.nowMs - BACKDATE_MS;
  const validity = { notBeforeMs, notAfterMs: authority.nowMs + VOUCHER_MS };
  const vouchers: string[] = [];
  for (const signer of signers) {
    // Nobody trusts it alone yet.
    if (signer.stage === "new") continue;
    for (const other of signers) {
      if (other === signer) continue;
      // Of no list, and in no index.
      const serial = `4${randomBytes(16).toString("hex").slice(1)}`;
      vouchers.push(await createVoucher(other.certificate, { serial, ...validity }, signer));
    }
  }
  return readTrustedText(authority) + vouchers.join("");
}

/** On one line, and short: part of it may be what the host says. */
function answer(status: number, reason: string, text: string): SignerAnswer {
  return { status, reason, text: printable(text).slice(0, TEXT_LENGTH_MAX) };
}

function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]+/g, "?");
}

/** Who has got which certificate, or why not. */
function report(
  { op, address }: SignerQuestion,
  { status, text }: SignerAnswer,
  { inform }: AnswerOptions,
): void {
  const who = JSON.stringify(printable(address).slice(0, ADDRESS_SHOWN_MAX));
  const what = op === "enroll" ? "Enrolment" : "Renewal";
  if (status !== 200) {
    inform(`${what} refused to ${who}: ${text}`);
    return;
  }
  const { name, serial } = readCertificate(text, "of the host").facts;
  inform(`${what}: ${who} has certificate ${serial} of "${name}"`);
}

/** What the directory's state is, is for the log and not for strangers. */
function troubleAnswer(error: unknown, { report: warn }: AnswerOptions): SignerAnswer {
  if (!(error instanceof AgentError)) throw error;
  warn(error.hint === undefined ? error.message : `${error.message} (${error.hint})`);
  if (error.code === "E_BUSY") return answer(503, "busy", "The authority is busy, try again");
  if (errnoOf(error.cause) === "ERR_MISSING_PASSPHRASE") {
    warn(
      "Enrolment needs an authority's key without a passphrase, or --passphrase-file= in a drop-in of journal-agent-enroll@.service",
    );
    const text = "The authority's key has a passphrase: somebody has to sign there, by hand";
    return answer(503, "passphrase", text);
  }
  return answer(503, "trouble", "The authority cannot answer now, its log says why");
}
