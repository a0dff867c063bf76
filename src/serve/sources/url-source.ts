/**
 * Follows one systemd-journal-gatewayd for ever: pull from where the stored entries end, and when
 * the connection ends for whatever reason, wait and pull again. What is stored is the only state,
 * so no cut can lose an entry, and an entry that comes twice is recognised by the store.
 */
import type { AgentError } from "../../errors.ts";
import { retryDelayMs } from "../../platform/backoff.ts";
import type { Clock } from "../../platform/clock.ts";
import type { Ingest, IngestCounts, IngestStream } from "../ingest-types.ts";
import { Complaints } from "./complaints.ts";
import { type Gateway, isSameEntry, LeadingCursor } from "./gateway.ts";
import { connectionError, requestEntries } from "./gateway-client.ts";
import type { GatewayTls } from "./gateway-tls.ts";
import {
  addCounts,
  expectAgentError,
  noCounts,
  type PumpOptions,
  pump,
  type SourceReport,
} from "./source.ts";

/**
 * Longest silence on a connection. A gateway sends nothing while its journal is idle, and a firewall
 * or a crash can take it away without a word; asking again costs one repeated entry.
 */
const GATEWAY_IDLE_MS_MAX = 300_000;

/** Where to go on. */
export interface Resume {
  /** Cursor of the newest stored entry of `sender`; undefined when nothing of it is stored. */
  cursor(sender: string): Promise<string | undefined> | string | undefined;
}

export interface UrlSourceOptions {
  ingest: Ingest;
  resume: Resume;
  tls: GatewayTls;
  clock: Clock;
  /** Instead of five minutes. */
  idleMsMax?: number;
  signal: AbortSignal;
}

/** Returns only after the signal. Never rejects but for a bug. */
export async function followGateway(
  gateway: Gateway,
  options: UrlSourceOptions,
): Promise<SourceReport> {
  const { clock, resume, signal } = options;
  const complaints = new Complaints(gateway, clock);
  let counts: IngestCounts = noCounts();
  let fruitless = 0;
  let wholeJournal = false;
  while (!signal.aborted) {
    const cursor = wholeJournal ? undefined : await resume.cursor(gateway.name);
    const pull = await pullOnce(gateway, cursor, complaints, options);
    counts = addCounts(counts, pull.counts);
    if (pull.error !== undefined) complaints.add(pull.error);
    // Asked without a cursor, a gateway sends all it has and the store picks what is new.
    wholeJournal = pull.rangeRefused;
    if (pull.counts.stored > 0 || pull.idle) fruitless = 0;
    const delayMs = retryDelayMs(fruitless, clock.random());
    fruitless += 1;
    await clock.sleep(Math.max(delayMs, pull.retryAfterMs), signal);
  }
  return { name: gateway.name, outcome: "stopped", counts, error: complaints.current };
}

/** How one connection went. */
interface Pull {
  counts: IngestCounts;
  error: AgentError | undefined;
  retryAfterMs: number;
  rangeRefused: boolean;
  /** It was given up because nothing came for too long. */
  idle: boolean;
}

const EMPTY_PULL: Pull = {
  counts: noCounts(),
  error: undefined,
  retryAfterMs: 0,
  rangeRefused: false,
  idle: false,
};

async function pullOnce(
  gateway: Gateway,
  cursor: string | undefined,
  complaints: Complaints,
  options: UrlSourceOptions,
): Promise<Pull> {
  const connection = new AbortController();
  const stop = (): void => connection.abort();
  options.signal.addEventListener("abort", stop, { once: true });
  const silence = new SilenceTimer(options.idleMsMax ?? GATEWAY_IDLE_MS_MAX, stop);
  const { signal } = connection;
  try {
    // Old gateways send no head before the first entry, so waiting for it is idling too.
    silence.set(true);
    const nowMs = options.clock.now();
    const answer = await requestEntries(gateway, { tls: options.tls, cursor, nowMs, signal });
    silence.set(false);
    if (answer.kind === "refused") return { ...EMPTY_PULL, ...answer };
    const stream = options.ingest.open(gateway.name, undefined);
    complaints.clear();
    const watch = cursor === undefined ? undefined : watchForGap(cursor, complaints);
    const drained = await drain(answer.body, stream, options.signal, {
      readError: (cause) => connectionError(gateway, cause),
      onChunk: (chunk) => watch?.(chunk),
      onWait: (waiting) => silence.set(waiting),
      signal,
    });
    return { ...EMPTY_PULL, ...drained, idle: silence.expired };
  } catch (error) {
    const expected = expectAgentError(error);
    if (signal.aborted) return { ...EMPTY_PULL, idle: silence.expired };
    return { ...EMPTY_PULL, error: expected };
  } finally {
    silence.set(false);
    options.signal.removeEventListener("abort", stop);
    connection.abort();
  }
}

/**
 * Stores what the body brings. A cut loses nothing: whole entries are kept and counted, and the
 * rest comes again. After `stopSignal` the stream may be in the middle of a push, so it is aborted.
 * @throws AgentError when the entries cannot be stored now.
 */
async function drain(
  body: ReadableStream<Uint8Array>,
  stream: IngestStream,
  stopSignal: AbortSignal,
  options: PumpOptions,
): Promise<Pick<Pull, "counts" | "error">> {
  try {
    const error = await pump(body, stream, options);
    if (stopSignal.aborted) {
      stream.abort();
      return { counts: noCounts(), error: undefined };
    }
    const { counts } = await stream.end();
    return { counts, error };
  } catch (error) {
    stream.abort();
    throw error;
  }
}

/** The gateway was asked to start at an entry we have: if it starts elsewhere, it lost that one. */
function watchForGap(cursor: string, complaints: Complaints): (chunk: Uint8Array) => void {
  const leading = new LeadingCursor();
  return (chunk) => {
    const first = leading.push(chunk);
    if (first !== undefined && !isSameEntry(first, cursor)) complaints.addGap(cursor, first);
  };
}

/** Calls back when a wait lasts too long. */
class SilenceTimer {
  readonly #delayMs: number;
  readonly #onExpired: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  expired = false;

  constructor(delayMs: number, onExpired: () => void) {
    this.#delayMs = delayMs;
    this.#onExpired = onExpired;
  }

  /** Starts a wait anew, or ends it. */
  set(waiting: boolean): void {
    clearTimeout(this.#timer);
    if (!waiting) return;
    this.#timer = setTimeout(() => {
      this.expired = true;
      this.#onExpired();
    }, this.#delayMs);
  }
}
