/** The seams of `upload`: who reads entries, who makes requests of them, who brings those to a receiver. */
import type { AgentError } from "../errors.ts";
import type { JournalEntry } from "../journal/reader/journal-entry.ts";
import type { SequenceTail } from "../journal/reader/start.ts";

/** Where reading goes on after a restart. */
export interface Position {
  /** Of the last entry, as journalctl writes it. */
  cursor: string;
  /** The last entry read of each seqnum id (32 hex digits), from which reading goes on where its file is still there. */
  tails: ReadonlyMap<string, SequenceTail>;
}

/** What cannot be sent because it is gone: vacuumed before it was read, or damaged. */
export interface SourceLosses {
  /** Entries deleted before they were read, as far as sequence numbers tell. */
  vacuumed: number;
  /** Fields, entries and files passed over because they are damaged, by reason. */
  damaged: ReadonlyMap<string, number>;
}

/** Entries that a source passes over at a stretch: takes some milliseconds, with expressions some tens. */
export const PASSED_MAX = 1024;

/** Entries in the order in which they are to be sent. */
export interface EntrySource {
  /**
   * The next entry, valid until the next call; undefined = none at the moment (then `wait`), or none among those that
   * were looked at so far (then `isPausing`), or the end (then `isEnded`). Never blocks; never throws for what is wrong with a journal: that is counted and logged.
   */
  next(): JournalEntry | undefined;
  /** Everything there is to send was returned. Never true while following. */
  readonly isEnded: boolean;
  /** There may be more at once, for which others need not be kept waiting. */
  readonly isPausing: boolean;
  /** Resolves when there may be more, or it has ended, or the signal is aborted. */
  wait(signal: AbortSignal): Promise<void>;
  /** Of the last entry returned. A new object each time. */
  position(): Position | undefined;
  readonly losses: SourceLosses;
  /** Why something that was to be read could not be read to its end; what can be read is read nonetheless. */
  readonly failure?: AgentError | undefined;
  /** Entries that wait to be read, as far as headers tell: for the status line and the progress bar. */
  backlog(): number;
  close(): void;
}

/** One POST. */
export interface UploadRequest {
  contentType: string;
  /** Undefined = plain. */
  contentEncoding: string | undefined;
  /**
   * The body. With `isChunked` each piece is sent as one chunk of its own (stock receivers need a compressed frame
   * to be one), else there is a Content-Length.
   */
  pieces: readonly Uint8Array[];
  isChunked: boolean;
}

export interface UploadAnswer {
  kind: "answer";
  status: number;
  /** Names in lower case; a repeated header's values joined by ", ". */
  headers: ReadonlyMap<string, string>;
  /** The beginning of the body, for messages. */
  text: string;
}

/** There was no answer. */
export interface UploadFailure {
  kind: "failure";
  /** How far it got: resolving the name, connecting, the proxy, the TLS handshake, the request. */
  phase: "resolve" | "connect" | "proxy" | "tls" | "request";
  /** Bytes of this request's body that were handed to the network. */
  bytesSent: number;
  /** E_PEER, E_CERT (our own key or certificate, a CA file) with what, where and a hint. */
  error: AgentError;
}

/** One receiver. Requests are sent in order, on one connection, the next one without waiting for the answer. */
export interface UploadClient {
  /** Never rejects. When a connection breaks, all requests on it fail. */
  send(request: UploadRequest): Promise<UploadAnswer | UploadFailure>;
  /** Ends the connection and all requests on it at once. */
  close(): void;
}
