/** Makes upload clients with what tests rarely care about filled in. */
import type { UploadClient, UploadRequest } from "../../src/upload/delivery-types.ts";
import { makeUploadClient, type UploadClientOptions } from "../../src/upload/http/upload-client.ts";
import { parseUploadUrl } from "../../src/upload/http/upload-url.ts";

export type ClientChanges = Partial<Omit<UploadClientOptions, "url">>;

/** Ends with the scope. */
export function openClient(url: string, changes: ClientChanges = {}): UploadClient & Disposable {
  const client = makeUploadClient({
    keyFile: undefined,
    certificateFile: undefined,
    trust: "all",
    bearerTokenFile: undefined,
    basicAuthFile: undefined,
    credentialsDirectory: undefined,
    proxy: undefined,
    networkTimeoutMs: 5000,
    connectTimeoutMs: 5000,
    connectionAgeMs: Number.POSITIVE_INFINITY,
    headers: [],
    userAgent: "agent/test",
    nowMs: Date.now,
    ...changes,
    url: parseUploadUrl(url),
  });
  return Object.assign(client, { [Symbol.dispose]: () => client.close() });
}

/** A plain request with this body. */
export function plainRequest(body: string | Uint8Array): UploadRequest {
  return {
    contentType: "application/vnd.fdo.journal",
    contentEncoding: undefined,
    pieces: [typeof body === "string" ? Buffer.from(body) : body],
    isChunked: false,
  };
}
