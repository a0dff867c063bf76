/** Revocation: marked in the index and told in a new list, both or neither. */
import { AgentError } from "../errors.ts";
import type { Authority } from "./authority.ts";
import { AUTHORITY_FILES, PUBLIC_ACCESS } from "./directory.ts";
import { type IndexEntry, markRevoked, parseIndex } from "./index-file.ts";
import type { RevocationReason } from "./reasons.ts";
import { canonicalSerial } from "./serial.ts";
import { readTokens, tokensFile, withoutNames } from "./token-store.ts";
import type { NewFile } from "./transaction.ts";

export interface Revocation {
  /** Now revoked: of a name every certificate that has not expired. */
  revoked: IndexEntry[];
  /** Was revoked before. */
  already: IndexEntry[];
}

const SERIAL_PREFIX = "serial:";

/**
 * @param targets hosts' names or serial numbers; "serial:01" where a host is called 01.
 * @throws AgentError E_USAGE when there is no such certificate; then none is revoked
 */
export async function revokeCertificates(
  authority: Authority,
  targets: readonly string[],
  reason: RevocationReason,
): Promise<Revocation> {
  const indexes = (["current", "old"] as const).map((stage) => {
    const file = AUTHORITY_FILES[stage].index;
    const text = authority.readIndex(stage).toString("latin1");
    return { stage, file, text, entries: parseIndex(text, authority.path(file)) };
  });
  const every = indexes.flatMap(({ entries }) => entries);
  const { V: revoked = [], R: already = [] } = Object.groupBy(
    findTargets(targets, every, authority.nowMs),
    ({ status }) => status,
  );
  const tokens = tokensWithout(authority, [...revoked, ...already]);
  if (revoked.length === 0) {
    if (tokens.length > 0) authority.commit({ replace: tokens });
    return { revoked, already };
  }
  const revocation = { revokedMs: authority.nowMs, reason };
  const serials = new Set(revoked.map(({ serial }) => serial));
  const files = indexes
    .filter(({ entries }) => entries.some(({ serial }) => serials.has(serial)))
    .map(({ file, text }) => {
      const data = Buffer.from(markRevoked(text, serials, revocation), "latin1");
      return { name: file, data, ...PUBLIC_ACCESS };
    });
  // As they are in the files then: the list is made of them.
  for (const entry of revoked) Object.assign(entry, revocation, { status: "R" });
  const known = new Map(indexes.map(({ stage, entries }) => [stage, entries] as const));
  const lists = await authority.listsFile({ indexes: known });
  authority.commit({ replace: [...files, lists, ...tokens] });
  return { revoked, already };
}

/** Whoever is cut off does not come back by a token that was made before. Nothing when there is no such token. */
function tokensWithout(authority: Authority, entries: readonly IndexEntry[]): NewFile[] {
  const tokens = readTokens(authority);
  const others = withoutNames(tokens, new Set(entries.map(({ name }) => name)));
  return others.length === tokens.length ? [] : [tokensFile(others, authority.nowMs)];
}

/** Those revoked already among them; without those that have expired. */
function findTargets(
  targets: readonly string[],
  entries: readonly IndexEntry[],
  nowMs: number,
): IndexEntry[] {
  const byName = Map.groupBy(entries, ({ name }) => name);
  const bySerial = new Map(entries.map((entry) => [entry.serial, entry]));
  const found = targets.flatMap((target) => {
    const meant = findTarget(target, byName, bySerial);
    const open = meant.filter(({ status, expiresMs }) => {
      return status === "R" || (status === "V" && expiresMs >= nowMs);
    });
    if (open.length > 0) return open;
    throw new AgentError("E_USAGE", `Cannot revoke "${target}": its certificate has expired`);
  });
  return [...new Set(found)];
}

/** A name counts before a serial. */
function findTarget(
  target: string,
  byName: ReadonlyMap<string, IndexEntry[]>,
  bySerial: ReadonlyMap<string, IndexEntry>,
): IndexEntry[] {
  const named = byName.get(target);
  if (named !== undefined) return named;
  const digits = target.startsWith(SERIAL_PREFIX) ? target.slice(SERIAL_PREFIX.length) : target;
  const isSerial = /^[0-9A-Fa-f:]+$/.test(digits);
  const entry = isSerial ? bySerial.get(canonicalSerial(digits)) : undefined;
  if (entry !== undefined) return [entry];
  const hint = "agent certs list shows names and serial numbers";
  const message = `Cannot revoke "${target}": no certificate has this name or serial number`;
  throw new AgentError("E_USAGE", message, { hint });
}
