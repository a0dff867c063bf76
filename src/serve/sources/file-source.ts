/**
 * Imports one export file, pipe or standard input. Hot for files: guarded by scripts/bench.
 *
 * A regular file is read synchronously into one reused buffer, which costs a tenth of what an
 * asynchronous read does, and the event loop gets its turn between two chunks. Everything else may
 * block, so it is read when it is readable.
 */
import { fstatSync, readSync } from "node:fs";
import { stat } from "node:fs/promises";
import { setImmediate as nextTurn } from "node:timers/promises";
import { AgentError, reasonOf } from "../../errors.ts";
import { type Input, openInput, STDIN_FD } from "../../platform/open-input.ts";
import type { Ingest, IngestStream } from "../ingest-types.ts";
import {
  expectAgentError,
  pump,
  reportAbort,
  reportEnd,
  type SourceReport,
  settledOrAborted,
} from "./source.ts";

/** Bytes read at once from a regular file: a few milliseconds of parsing and storing. */
export const FILE_CHUNK_SIZE = 1024 * 1024;

export interface FileSourceOptions {
  ingest: Ingest;
  /** Called after each chunk with the bytes of it. */
  onBytes?(byteCount: number): void;
  signal: AbortSignal;
}

/** The name a file's entries are filed under: its path as given, "stdin" for "-". */
export function fileSourceName(path: string): string {
  return path === "-" ? "stdin" : path;
}

/**
 * Bytes that importing `path` will read, if that is known now: undefined for pipes, devices and
 * files that cannot be examined.
 */
export async function importSize(path: string): Promise<number | undefined> {
  try {
    const stats = path === "-" ? fstatSync(STDIN_FD) : await stat(path);
    return stats.isFile() ? stats.size : undefined;
  } catch {
    // importFile() meets the same error and reports it.
    return undefined;
  }
}

/** Reads `path` ("-" is standard input) to its end. Never rejects but for a bug. */
export async function importFile(path: string, options: FileSourceOptions): Promise<SourceReport> {
  const name = fileSourceName(path);
  let input: Input | undefined;
  let stream: IngestStream | undefined;
  try {
    input = await openInput(path, options.signal);
    stream = options.ingest.open(name, undefined);
    const cut = await readInput(input, name, stream, options);
    if (options.signal.aborted) {
      stream.abort();
      return reportAbort(name, undefined);
    }
    return reportEnd(name, await stream.end(), cut);
  } catch (error) {
    stream?.abort();
    return reportAbort(name, expectAgentError(error));
  } finally {
    await input?.close();
  }
}

/** @returns the error that ended the reading early, if one did. */
async function readInput(
  input: Input,
  name: string,
  stream: IngestStream,
  options: FileSourceOptions,
): Promise<AgentError | undefined> {
  const readError = (cause: unknown): AgentError =>
    new AgentError("E_IO", `Cannot read "${name}": ${reasonOf(cause)}`, { cause });
  if (input.stats.isFile()) {
    const cause = await readRegularFile(input.fd, stream, options);
    return cause === undefined ? undefined : readError(cause);
  }
  return pump(Bun.file(input.fd).stream(), stream, {
    readError,
    onChunk: (chunk) => options.onBytes?.(chunk.length),
    signal: options.signal,
  });
}

/**
 * Reads from the descriptor's position on: standard input may have been read in part by others.
 * @returns what a failed read threw.
 */
async function readRegularFile(
  fd: number,
  stream: IngestStream,
  options: FileSourceOptions,
): Promise<unknown> {
  const { signal, onBytes } = options;
  const buffer = new Uint8Array(FILE_CHUNK_SIZE);
  while (!signal.aborted) {
    let size: number;
    try {
      size = readSync(fd, buffer, 0, buffer.length, null);
    } catch (cause) {
      return cause;
    }
    if (size === 0) break;
    const pause = stream.push(buffer.subarray(0, size));
    if (pause !== undefined) await settledOrAborted(pause, signal);
    onBytes?.(size);
    await nextTurn();
  }
  return undefined;
}
