/** A file or a URL as a file of ours, with its SHA-256. */
import { createHash } from "node:crypto";
import { createReadStream, statSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import { AgentError, errnoOf, reasonOf } from "../errors.ts";

export interface Download {
  /** A path, or a URL that begins with http: or https:. */
  source: string;
  /** Made anew, mode 0600, and synced. */
  target: string;
}

/** Ours are about 110 MB. */
const SIZE_MAX = 1024 * 1024 * 1024;
const CHECKSUM_SIZE_MAX = 1024 * 1024;
/** Without a byte for so long a download is given up. */
const STALL_MS = 60_000;

export function isUrl(source: string): boolean {
  return /^https?:\/\//i.test(source);
}

/**
 * @returns the SHA-256 of what was fetched, in hexadecimal digits
 * @throws AgentError E_PEER, E_IO, E_NO_SPACE, E_LIMIT; no file is left then
 */
export async function fetchFile({ source, target }: Download): Promise<string> {
  await rm(target, { force: true });
  try {
    const chunks = isUrl(source) ? (await openUrl(source, SIZE_MAX)).chunks : readChunks(source);
    return await store(chunks, target, source);
  } catch (error) {
    await rm(target, { force: true });
    if (error instanceof AgentError) throw error;
    const code = errnoOf(error) === "ENOSPC" ? "E_NO_SPACE" : isUrl(source) ? "E_PEER" : "E_IO";
    const hint = code === "E_NO_SPACE" ? "Make room there" : undefined;
    throw new AgentError(code, `Cannot fetch "${source}": ${reasonOf(error)}`, {
      cause: error,
      ...(hint === undefined ? {} : { hint }),
    });
  }
}

/**
 * What is published beside a URL: `URL.sha256`, or its line in `SHA256SUMS`.
 * @throws AgentError E_CONFIG when there is none; E_PEER
 */
export async function fetchChecksum(url: string): Promise<string> {
  const name = decodeURIComponent(new URL(url).pathname.replace(/^.*\//, ""));
  const own = new URL(url);
  own.pathname += ".sha256";
  const sums = [own, new URL("SHA256SUMS", url)];
  for (const place of sums) {
    const text = await fetchText(place.href);
    const found = text === undefined ? undefined : findChecksum(text, name, place === own);
    if (found !== undefined) return found;
  }
  const places = sums.map(({ href }) => `"${href}"`).join(" nor ");
  const message = `Cannot check "${url}": neither ${places} has its SHA-256, need it`;
  throw new AgentError("E_CONFIG", message, { hint: "Give it with --sha256=" });
}

/** As sha256sum(1) writes it: "HASH  NAME", or "HASH *NAME"; in a file of its own the hash may be alone. */
function findChecksum(text: string, name: string, isOwn: boolean): string | undefined {
  for (const line of text.split("\n")) {
    const [, hash, file = ""] =
      /^([0-9a-fA-F]{64})(?:\s+\*?(?:.*\/)?([^/]+?))?\s*$/.exec(line) ?? [];
    if (hash !== undefined && (file === name || (isOwn && file === ""))) return hash.toLowerCase();
  }
  return undefined;
}

/** Undefined when there is none there. */
async function fetchText(url: string): Promise<string | undefined> {
  try {
    const opened = await openUrl(url, CHECKSUM_SIZE_MAX);
    const chunks: Uint8Array[] = [];
    for await (const chunk of opened.chunks) chunks.push(chunk);
    return Buffer.concat(chunks).toString("latin1");
  } catch (error) {
    if (error instanceof MissingFile) return undefined;
    if (error instanceof AgentError) throw error;
    throw new AgentError("E_PEER", `Cannot fetch "${url}": ${reasonOf(error)}`, { cause: error });
  }
}

/** The server says that there is no such file. */
class MissingFile extends AgentError {}

interface OpenedUrl {
  chunks: AsyncIterable<Uint8Array>;
}

async function openUrl(url: string, sizeMax: number): Promise<OpenedUrl> {
  const abort = new AbortController();
  let timer = setTimeout(() => abort.abort(), STALL_MS);
  const fail = (problem: string): AgentError =>
    new AgentError("E_PEER", `Cannot fetch "${url}": ${problem}`);
  let response: Response;
  try {
    response = await fetch(url, { signal: abort.signal });
  } catch (error) {
    clearTimeout(timer);
    throw fail(abort.signal.aborted ? `no answer within ${STALL_MS / 1000} s` : reasonOf(error));
  }
  const { status, ok, body } = response;
  const isDowngraded = /^https:/i.test(url) && !/^https:/i.test(response.url);
  const announced = Number(response.headers.get("content-length") ?? "0");
  const problem = isDowngraded
    ? `it leads to "${response.url}", need https:`
    : announced > sizeMax
      ? tooLong(sizeMax)
      : undefined;
  if (!ok || body === null || problem !== undefined) {
    clearTimeout(timer);
    abort.abort();
    if (problem !== undefined) throw fail(problem);
    const text = `Cannot fetch "${url}": status ${status}`;
    throw status === 404 || status === 410
      ? new MissingFile("E_PEER", text)
      : fail(`status ${status}`);
  }
  async function* chunks(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
    let size = 0;
    try {
      for await (const chunk of stream) {
        clearTimeout(timer);
        timer = setTimeout(() => abort.abort(), STALL_MS);
        size += chunk.length;
        if (size > sizeMax) throw fail(tooLong(sizeMax));
        yield chunk;
      }
    } catch (error) {
      if (abort.signal.aborted) throw fail(`nothing came for ${STALL_MS / 1000} s`);
      throw error;
    } finally {
      clearTimeout(timer);
      abort.abort();
    }
    // Bun's fetch ends a body that was cut short without an error where the connection is closed in order.
    if (announced > 0 && size < announced && response.headers.get("content-encoding") === null) {
      throw fail(`it was cut short: ${size} of ${announced} bytes came`);
    }
  }
  return { chunks: chunks(body) };
}

function tooLong(sizeMax: number): string {
  return `it has more than ${sizeMax / 1024 / 1024} MiB, which is too much`;
}

async function* readChunks(path: string): AsyncGenerator<Uint8Array> {
  if (statSync(path).size > SIZE_MAX) {
    throw new AgentError("E_LIMIT", `Cannot install "${path}": ${tooLong(SIZE_MAX)}`);
  }
  yield* createReadStream(path);
}

async function store(
  chunks: AsyncIterable<Uint8Array>,
  target: string,
  source: string,
): Promise<string> {
  const hash = createHash("sha256");
  let size = 0;
  const file = await open(target, "wx", 0o600);
  try {
    for await (const chunk of chunks) {
      hash.update(chunk);
      await file.writeFile(chunk);
      size += chunk.length;
    }
    await file.sync();
  } finally {
    await file.close();
  }
  if (size > 0) return hash.digest("hex");
  throw new AgentError("E_PEER", `Cannot fetch "${source}": it is empty`);
}
