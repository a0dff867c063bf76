/**
 * What the active sources (files, a command's output, gateways) have in common: how bytes get from
 * a readable into an ingest stream, and what is told of it at the end.
 */
import { AgentError } from "../../errors.ts";
import type { IngestCounts, IngestResult, IngestStream } from "../ingest-types.ts";

/** How one source ended: all read, given up, or told to stop before its end. */
export type SourceOutcome = "done" | "failed" | "stopped";

export interface SourceReport {
  name: string;
  outcome: SourceOutcome;
  /** Of everything this source delivered; without a stream that was aborted. */
  counts: IngestCounts;
  /** Why it failed; for a gateway that was stopped, what kept it from being followed. */
  error: AgentError | undefined;
}

export interface PumpOptions {
  /** Makes the error of a read that failed from what the read threw. */
  readError(cause: unknown): AgentError;
  /** Called with each chunk before it is delivered. */
  onChunk?(chunk: Uint8Array): void;
  /** Called before each read, and when a chunk has arrived or the stream ended. */
  onWait?(waiting: boolean): void;
  signal: AbortSignal;
}

/**
 * Delivers `body` to `stream`, reading on only when the stream has taken what was read. Returns at
 * the end of the body, soon after the signal, or when the body was cut: then with the error. The
 * stream is not ended; the body is cancelled unless it was read to its end.
 * @throws AgentError what `stream.push` throws.
 */
export async function pump(
  body: ReadableStream<Uint8Array>,
  stream: IngestStream,
  options: PumpOptions,
): Promise<AgentError | undefined> {
  const { signal } = options;
  const reader = body.getReader();
  // A body that failed cannot be cancelled either, and its error was reported by read().
  const cancel = (): void => void reader.cancel().catch(() => {});
  signal.addEventListener("abort", cancel, { once: true });
  try {
    while (!signal.aborted) {
      options.onWait?.(true);
      const chunk = await readChunk(reader, options);
      options.onWait?.(false);
      if (chunk === undefined || chunk instanceof AgentError) return chunk;
      options.onChunk?.(chunk);
      const pause = stream.push(chunk);
      if (pause !== undefined) await settledOrAborted(pause, signal);
    }
    return undefined;
  } finally {
    signal.removeEventListener("abort", cancel);
    cancel();
  }
}

/** Resolves when `pause` does or the signal fires, whichever is first; rejects as `pause` does. */
export async function settledOrAborted(pause: Promise<void>, signal: AbortSignal): Promise<void> {
  if (signal.aborted) {
    pause.catch(() => {});
    return;
  }
  const { promise: aborted, resolve: stop } = Promise.withResolvers<void>();
  const onAbort = (): void => stop();
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    await Promise.race([pause, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/**
 * The report of a source whose stream was ended: an incomplete or useless stream is a failure too.
 * @param cut what kept it from being read to its end, if anything did.
 */
export function reportEnd(
  name: string,
  result: IngestResult,
  cut: AgentError | undefined,
): SourceReport {
  const { counts } = result;
  const error = cut ?? endError(name, result);
  return { name, outcome: error === undefined ? "done" : "failed", counts, error };
}

/** The report of a source whose stream was aborted. */
export function reportAbort(name: string, error: AgentError | undefined): SourceReport {
  return { name, outcome: error === undefined ? "stopped" : "failed", counts: noCounts(), error };
}

export function noCounts(): IngestCounts {
  return { stored: 0, duplicates: 0, refused: new Map() };
}

export function addCounts(a: IngestCounts, b: IngestCounts): IngestCounts {
  const refused = new Map(a.refused);
  for (const [reason, count] of b.refused) refused.set(reason, (refused.get(reason) ?? 0) + count);
  return { stored: a.stored + b.stored, duplicates: a.duplicates + b.duplicates, refused };
}

/** @returns `error` if it is ours; anything else is a bug and is thrown. */
export function expectAgentError(error: unknown): AgentError {
  if (error instanceof AgentError) return error;
  throw error;
}

/** One line for the log: message and hint. */
export function describeError(error: AgentError): string {
  return error.hint === undefined ? error.message : `${error.message}; ${error.hint}`;
}

async function readChunk(
  reader: { read(): Promise<{ done: boolean; value?: Uint8Array | undefined }> },
  options: PumpOptions,
): Promise<Uint8Array | AgentError | undefined> {
  try {
    const { done, value } = await reader.read();
    return done ? undefined : value;
  } catch (cause) {
    return options.signal.aborted ? undefined : options.readError(cause);
  }
}

function endError(name: string, result: IngestResult): AgentError | undefined {
  const { counts, trailingBytes } = result;
  if (trailingBytes > 0) {
    return new AgentError(
      "E_EXPORT_SYNTAX",
      `Cannot import all of "${name}": it ends inside an entry, ${trailingBytes} bytes are lost`,
      { hint: "the entries before it are stored; import a complete stream again for the rest" },
    );
  }
  const refusedCount = counts.refused.values().reduce((sum, count) => sum + count, 0);
  if (refusedCount > 0 && counts.stored + counts.duplicates === 0) {
    const reasons = [...counts.refused].map(([reason, count]) => `${reason}=${count}`).join(" ");
    return new AgentError(
      "E_EXPORT_SYNTAX",
      `Cannot import "${name}": none of its ${refusedCount} entries was taken (${reasons})`,
      { hint: "a stream as journalctl -o export writes it is needed" },
    );
  }
  return undefined;
}
