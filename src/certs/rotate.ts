/**
 * Change of the authority, in three steps between which hosts are brought up to date:
 *
 *   1. prepare  a new authority beside the present one; `ca.pem` holds both, so that hosts learn to trust both
 *   2. switch   from now on the new one signs, and every host's certificate is renewed
 *   3. finish   the old one is trusted no more
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { AgentError } from "../errors.ts";
import { type Authority, readOptional, readOptionalText } from "./authority.ts";
import { type CertificateFacts, readCertificate, readCertificates } from "./certificate.ts";
import { newAuthorityFiles } from "./create.ts";
import { AUTHORITY_FILES, PUBLIC_ACCESS, SECRET_ACCESS } from "./directory.ts";
import { isEncrypted, type KeyType } from "./keys.ts";
import { listEntries } from "./listing.ts";
import { AUTHORITY_NAME } from "./profiles.ts";

export type RotationStage = "none" | "prepared" | "switched";

export interface RotationState {
  stage: RotationStage;
  /** Those that are trusted; the first one signs. */
  authorities: CertificateFacts[];
  /** Hosts with no valid certificate of the new authority. */
  stillOld: string[];
  /** Hosts that have one of each: the old one may still be in use there. */
  renewed: string[];
}

const { current: CURRENT, old: OLD, new: NEW } = AUTHORITY_FILES;

export function rotationState(directory: string, nowMs: number): RotationState {
  const path = (file: string): string => join(directory, file);
  const trusted = readCertificates(
    readOptionalText(path(CURRENT.certificate)),
    CURRENT.certificate,
  );
  const authorities = trusted.map(({ facts }) => facts);
  if (existsSync(path(OLD.certificate))) {
    const entries = listEntries(directory, nowMs).filter(({ authority }) => authority === "old");
    return { stage: "switched", authorities, ...sort(entries) };
  }
  const isPrepared = existsSync(path(NEW.certificate));
  const entries = isPrepared ? listEntries(directory, nowMs) : [];
  return {
    stage: isPrepared ? "prepared" : "none",
    authorities,
    stillOld: sort(entries).stillOld,
    renewed: [],
  };
}

/** Step 1. @throws AgentError E_USAGE when a change is under way */
export async function prepareRotation(
  authority: Authority,
  request: { keyType: KeyType; days: number; passphrase: string | undefined },
): Promise<void> {
  requireStage(authority, "none", "a change is under way already");
  const present = await authority.signer();
  const keyPem = readOptionalText(authority.path(CURRENT.key));
  const inherited = isEncrypted(keyPem) ? await authority.passphrase() : undefined;
  const commonName = followingName(
    readCertificate(present.certificate, CURRENT.certificate).facts.name,
  );
  const made = await newAuthorityFiles(
    { ...request, commonName, passphrase: request.passphrase ?? inherited },
    NEW,
    authority.nowMs,
  );
  const lists = await authority.listsFile();
  authority.commit({
    replace: [
      { ...lists, data: `${lists.data}${made.list}` },
      { name: CURRENT.certificate, data: present.certificate + made.certificate, ...PUBLIC_ACCESS },
      ...made.files,
    ],
  });
}

/** Step 2. @throws AgentError E_USAGE when there is nothing prepared */
export async function switchAuthority(authority: Authority): Promise<void> {
  requireStage(authority, "prepared", "no new authority is prepared");
  const [former, next] = [await authority.signer(), await authority.signer("new")];
  const text = (file: string): Buffer => readOptional(authority.path(file));
  authority.commit({
    replace: [
      { name: OLD.index, data: text(CURRENT.index), ...PUBLIC_ACCESS },
      { name: OLD.key, data: text(CURRENT.key), ...SECRET_ACCESS },
      { name: OLD.certificate, data: former.certificate, ...PUBLIC_ACCESS },
      { name: CURRENT.index, data: "", ...PUBLIC_ACCESS },
      { name: CURRENT.key, data: text(NEW.key), ...SECRET_ACCESS },
      { name: CURRENT.certificate, data: next.certificate + former.certificate, ...PUBLIC_ACCESS },
    ],
    remove: [NEW.key, NEW.certificate],
  });
}

/** Step 3. The old index stays, under the date. @throws AgentError E_USAGE while hosts depend on the old one */
export async function finishRotation(authority: Authority, isForced: boolean): Promise<void> {
  requireStage(authority, "switched", "the new authority does not sign yet");
  const { stillOld } = rotationState(authority.directory, authority.nowMs);
  if (stillOld.length > 0 && !isForced) {
    const problem = `${stillOld.length} hosts have certificates of the old one only: ${shortList(stillOld)}`;
    const hint = "agent certs renew NAME, or revoke it; --force cuts them off";
    throw new AgentError("E_USAGE", `Cannot end the change: ${problem}`, { hint });
  }
  const present = await authority.signer();
  const lists = await authority.listsFile({ stages: ["current"] });
  const record = `${OLD.index}-${new Date(authority.nowMs).toISOString().slice(0, 10)}`;
  // A second one on the same day adds to it.
  const issued = [readOptional(authority.path(record)), authority.readIndex("old")];
  authority.commit({
    replace: [
      lists,
      { name: record, data: Buffer.concat(issued), ...PUBLIC_ACCESS },
      { name: CURRENT.certificate, data: present.certificate, ...PUBLIC_ACCESS },
    ],
    remove: [OLD.key, OLD.index, OLD.certificate],
  });
}

function requireStage(authority: Authority, wanted: RotationStage, problem: string): void {
  const { stage } = rotationState(authority.directory, authority.nowMs);
  if (stage === wanted) return;
  const next = {
    none: "agent certs rotate-ca prepares one",
    prepared: "When all hosts have the new ca.pem: agent certs rotate-ca --switch",
    switched: "When all hosts have new certificates: agent certs rotate-ca --finish",
  }[stage];
  throw new AgentError("E_USAGE", `Cannot change the authority: ${problem}`, { hint: next });
}

function sort(entries: ReturnType<typeof listEntries>): { stillOld: string[]; renewed: string[] } {
  const named = (status: string): string[] => [
    ...new Set(entries.filter((entry) => entry.status === status).map(({ name }) => name)),
  ];
  const stillOld = named("valid");
  return { stillOld, renewed: named("replaced").filter((name) => !stillOld.includes(name)) };
}

/** Authorities of different keys have different names: clients find the one that signed by its name. */
function followingName(name: string): string {
  const [, stem = AUTHORITY_NAME, count = "1"] = /^(.+?)(?: (\d{1,4}))?$/.exec(name) ?? [];
  return `${stem} ${Number(count) + 1}`;
}

function shortList(names: readonly string[]): string {
  return names.length <= 5 ? names.join(", ") : `${names.slice(0, 5).join(", ")}, …`;
}
