/**
 * Reads back from a receiver of ours, which hands no journals out, whether it has an entry: the entry is sent once more, and the
 * answer says how many of it were stored already (`Journal-Entries:`, `src/serve/upload-request.ts`).
 */
import { readFileSync } from "node:fs";
import { formatId128 } from "../bytes/id128.ts";
import { parseCursor } from "../journal/cursor.ts";
import type { ProxyEnvironment } from "../upload/http/proxy.ts";
import type { UploadUrl } from "../upload/http/upload-url.ts";
import { requestOnce } from "./https-request.ts";
import type { CertificatePlaces } from "./plan.ts";

export interface ReceiptRequest {
  /** https: */
  url: UploadUrl;
  places: CertificatePlaces;
  environment: ProxyEnvironment;
  /** Of the entry. */
  cursor: string;
  message: string;
}

/** @returns undefined: a receiver that does not say. @throws AgentError E_PEER */
export async function isStoredThere(request: ReceiptRequest): Promise<boolean | undefined> {
  const { url, places, environment } = request;
  const { key: keyFile, certificate: certificateFile, authority: trust } = places;
  const { headers } = await requestOnce({
    server: url.text,
    verb: "ask",
    method: "POST",
    path: url.target,
    headers: { "Content-Type": "application/vnd.fdo.journal" },
    body: formatEntry(request),
    identity: { key: readPem(keyFile), cert: readPem(certificateFile), ca: readPem(trust) },
    files: { keyFile, certificateFile, trust },
    environment,
    checksServer: true,
  });
  const [, duplicates] = /duplicates=(\d+)/.exec(headers.get("journal-entries") ?? "") ?? [];
  return duplicates === undefined ? undefined : duplicates === "1";
}

/** In the export format, as much of it as says which one it is. */
function formatEntry({ cursor, message }: ReceiptRequest): string {
  const { realtimeUsec, monotonicUsec, bootId } = parseCursor(cursor);
  const lines = [
    `__CURSOR=${cursor}`,
    `__REALTIME_TIMESTAMP=${realtimeUsec}`,
    `__MONOTONIC_TIMESTAMP=${monotonicUsec}`,
    ...(bootId === undefined ? [] : [`_BOOT_ID=${formatId128(bootId)}`]),
    `MESSAGE=${message}`,
  ];
  return `${lines.join("\n")}\n\n`;
}

function readPem(file: string): string {
  return readFileSync(file, "latin1");
}
