/** What `agent serve` runs with, after configuration files and command line are merged. */

/** Encodings of request bodies this program decodes, in the order it announces them. */
export const WIRE_ENCODINGS = ["zstd", "xz", "lz4", "gzip"] as const;
export type WireEncoding = (typeof WIRE_ENCODINGS)[number];

/** Limits on disk use: bytes, counts and seconds; undefined = automatic, 0 = no limit. */
export interface RetentionSettings {
  maxUseBytes: number | undefined;
  keepFreeBytes: number | undefined;
  maxFileSizeBytes: number | undefined;
  maxFiles: number | undefined;
  /** Archived files whose newest entry is older are deleted. */
  maxRetentionSec: number;
  /** A file whose oldest entry is older is rotated. */
  maxFileSec: number;
}

/** Limits on what one sender, one connection and the whole process may take. */
export interface IngestLimits {
  /** Fields of one entry. */
  entryFieldsMax: number;
  /** Bytes of one field, name included. */
  fieldSizeMax: number;
  /** Bytes of one entry. */
  entrySizeMax: number;
  /** Bytes of unfinished entries and undecoded bodies held by all connections together. */
  inFlightBytesMax: number;
  connectionsMax: number;
  connectionsPerPeerMax: number;
  /** Bytes of one request head (request line and headers). */
  headSizeMax: number;
  /** A connection must finish TLS and its first request head within this, and a host that enrols send its request. */
  handshakeTimeoutMs: number;
  /** A request whose head has begun must complete it, and an unfinished entry must grow, within this. */
  stalledTimeoutMs: number;
}

/** What is required of a client's certificate. */
export interface TrustSettings {
  /** "all": clients are not checked. Otherwise the CA file. */
  authority: "all" | string;
  /** Revocation lists, PEM or DER. */
  crlFiles: readonly string[];
  /** Patterns (`*` and `?`) of which one must match the sender's name; empty = every holder. */
  allowSubject: readonly string[];
}

export interface ServeSettings {
  /** Each is an address as ListenStream= takes it, or "-N" for inherited descriptor N. */
  listenHttps: readonly string[];
  listenHttp: readonly string[];
  listenRaw: readonly string[];
  /** systemd-journal-gatewayd addresses to pull from. */
  urls: readonly string[];
  /** A command whose stdout is an export stream. */
  getter: string | undefined;
  /** Export files to import; "-" is stdin. */
  files: readonly string[];
  /** Directory (split by host) or file (one for all), absolute. */
  output: string;
  splitMode: "host" | "none";
  keyFile: string;
  certificateFile: string;
  trust: TrustSettings;
  /** Announced in Accept-Encoding; empty = none. */
  announcedEncodings: readonly WireEncoding[];
  /** Where the signer is asked for certificates of hosts that enrol; undefined = nobody enrols here. */
  enrollSocket: string | undefined;
  retention: RetentionSettings;
  limits: IngestLimits;
  /** Format of the files written. */
  format: JournalFormatSettings;
}

export interface JournalFormatSettings {
  /** zstd for payloads of at least this many bytes; undefined = never compress. */
  compressThresholdBytes: number | undefined;
  compact: boolean;
  keyedHash: boolean;
}

export const DEFAULT_LIMITS: IngestLimits = {
  entryFieldsMax: 1024 + 64,
  fieldSizeMax: 768 * 1024 * 1024,
  entrySizeMax: 770 * 1024 * 1024,
  inFlightBytesMax: 1024 * 1024 * 1024,
  connectionsMax: 16384,
  connectionsPerPeerMax: 256,
  headSizeMax: 128 * 1024,
  handshakeTimeoutMs: 30_000,
  stalledTimeoutMs: 120_000,
};
