/** Revocation: marked in the index and told in a new list, both or neither. */
import { AgentError } from "../errors.ts";
import type { Authority } from "./authority.ts";
import { AUTHORITY_FILES, PUBLIC_ACCESS, type Stage } from "./directory.ts";
import { type IndexEntry, markRevoked, parseIndex } from "./index-file.ts";
import type { RevocationReason } from "./reasons.ts";
import { canonicalSerial } from "./serial.ts";

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
  const revocation = { revokedMs: authority.nowMs, reason };
  const indexes = readIndexes(authority);
  const meant = findTargets(targets, [...indexes.values()].flat(), authority.nowMs);
  const revoked = meant.filter(({ status }) => status === "V");
  const serials = new Set(revoked.map(({ serial }) => serial));
  if (revoked.length > 0) {
    const isNew = ({ serial }: IndexEntry): boolean => serials.has(serial);
    const touched = [...indexes].filter(([, entries]) => entries.some(isNew));
    for (const [stage, entries] of indexes) {
      const marked = entries.map((each) =>
        isNew(each) ? { ...each, ...revocation, status: "R" as const } : each,
      );
      indexes.set(stage, marked);
    }
    const files = touched.map(([stage]) => ({
      name: AUTHORITY_FILES[stage].index,
      data: Buffer.from(
        markRevoked(authority.readIndex(stage).toString("latin1"), serials, revocation),
        "latin1",
      ),
      ...PUBLIC_ACCESS,
    }));
    authority.commit({ replace: [...files, await authority.listsFile({ indexes })] });
  }
  return { revoked, already: meant.filter(({ status }) => status === "R") };
}

function readIndexes(authority: Authority): Map<Stage, IndexEntry[]> {
  const stages: Stage[] = ["current", "old"];
  return new Map(
    stages.map((stage) => {
      const text = authority.readIndex(stage).toString("latin1");
      return [stage, parseIndex(text, authority.path(AUTHORITY_FILES[stage].index))];
    }),
  );
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
