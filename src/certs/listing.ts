/** What an authority has issued, as its index has it. */
import { join } from "node:path";
import { readOptionalText } from "./authority.ts";
import { AUTHORITY_FILES } from "./directory.ts";
import { type IndexEntry, parseIndex } from "./index-file.ts";

export interface ListedCertificate extends Omit<IndexEntry, "status"> {
  /** "replaced": the host has a newer one; this one is still valid. */
  status: "valid" | "replaced" | "expired" | "revoked";
  /** "old": of the authority before this one, during a change. */
  authority: "current" | "old";
}

/** In the order they were issued. @throws AgentError E_CERT for a broken index */
export function listEntries(directory: string, nowMs: number): ListedCertificate[] {
  const entries = (["old", "current"] as const).flatMap((authority) => {
    const path = join(directory, AUTHORITY_FILES[authority].index);
    const index = parseIndex(readOptionalText(path), path);
    return index.map((entry) => ({ ...entry, status: statusOf(entry, nowMs), authority }));
  });
  const latest = new Map<string, ListedCertificate>();
  for (const entry of entries) {
    if (entry.status !== "valid") continue;
    const former = latest.get(entry.name);
    if (former !== undefined) former.status = "replaced";
    latest.set(entry.name, entry);
  }
  return entries;
}

function statusOf(entry: IndexEntry, nowMs: number): ListedCertificate["status"] {
  if (entry.status === "R") return "revoked";
  return entry.status === "E" || entry.expiresMs < nowMs ? "expired" : "valid";
}
