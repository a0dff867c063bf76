/** The seams of `serve`: who delivers bytes (sources), who turns them into entries, who stores them. */
import type { Entry } from "../journal/entry.ts";

/** What a stream of entries is written in: the journal export format, or our batch format. */
export type EntryFormat = "export" | "batch";

/** How one stream of entries went, so far or at its end. */
export interface IngestCounts {
  /** Entries that are new and stored. */
  stored: number;
  /** Entries recognised as stored before. */
  duplicates: number;
  /** Entries refused, by reason. */
  refused: ReadonlyMap<string, number>;
}

/** Stores the entries of one sender. Made by the store; one per request or stream. */
export interface Sink {
  /**
   * Takes one entry (valid only during the call).
   * @throws AgentError E_NO_SPACE or E_IO when it cannot be stored now; the sender has to repeat it.
   */
  add(entry: Entry): void;
  /**
   * Takes the entries of a block of the batch format that a BatchDecoder has found to be sound (valid only
   * during the call). The blocks of a sink are those of one body, from its first on.
   * @throws AgentError like `add`
   */
  addBlock(block: Uint8Array): void;
  /** Resolves when everything added so far is on disk (fdatasync); rejects like `add` throws. */
  commit(): Promise<void>;
  /**
   * Whoever adds has to wait for this before adding much more; undefined = go on.
   * @throws AgentError like `add`, for entries added before
   */
  ready(): Promise<void> | undefined;
  /** The stream ended. Never throws. */
  close(): void;
  /** Entries that were new, and those known before; exact after a commit. */
  readonly stored: number;
  readonly duplicates: number;
}

/** Where entries go. */
export interface SinkOpener {
  /** @param sender name of the sender as the operator knows it: "web1", "192.0.2.7". */
  openSink(sender: string): Sink;
}

/** One body or stream from one sender, possibly compressed. */
export interface IngestStream {
  /**
   * Takes the next bytes; they may be reused by the caller afterwards. Returns a promise when the
   * caller has to pause its source until it settles.
   * @throws AgentError (or rejects): E_NO_SPACE/E_IO (try again later), E_LIMIT (too large now),
   * E_EXPORT_SYNTAX (the encoding is broken).
   */
  push(chunk: Uint8Array): Promise<void> | undefined;
  /**
   * End of the stream. Resolves after everything is on disk.
   * @param onHandedOver called before, when the store has been given everything: what other streams bring
   * from then on comes behind it.
   */
  end(onHandedOver?: () => void): Promise<IngestResult>;
  /** The peer went away: whole entries are kept, the rest is dropped. Never throws. */
  abort(): void;
}

export interface IngestResult {
  counts: IngestCounts;
  /** Bytes of an unfinished entry at the end; 0 when the stream ended cleanly. */
  trailingBytes: number;
}

export interface Ingest {
  /**
   * @param encoding the Content-Encoding in lower case, undefined for plain.
   * @param format undefined for the export format.
   * @throws AgentError E_IO, E_NO_SPACE when the sender's file cannot be opened.
   */
  open(sender: string, encoding: string | undefined, format?: EntryFormat): IngestStream;
}
