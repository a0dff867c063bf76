/** What `agent upload` runs with, after configuration files and command line are merged. */

/** Encodings of request bodies, in the order of preference. */
export const UPLOAD_ENCODINGS = ["zstd", "xz", "lz4", "gzip"] as const;
export type UploadEncoding = (typeof UPLOAD_ENCODINGS)[number];

export interface EncodingSetting {
  encoding: UploadEncoding;
  /** The encoder's own scale; undefined = its default. */
  level: number | undefined;
}

/** Which journals are read. The first that is not empty counts: exportFiles, files, directory, machine; else the local ones. */
export interface PlaceSettings {
  /** Export-format files to send in place of a journal; "-" is stdin. */
  exportFiles: readonly string[];
  /** Glob patterns of journal files. */
  files: readonly string[];
  directory: string | undefined;
  /** A local container's journal, by the name machinectl knows. */
  machine: string | undefined;
  /** "name": that namespace; "*": all; "+name": it and the default one; undefined: the default one. */
  namespace: string | undefined;
  /** System journals only, user journals only (of the caller), or both when neither is set. */
  system: boolean;
  user: boolean;
  /** Journals of all machines, what was received from others included. */
  merge: boolean;
}

/** The local journals of this machine. */
export const LOCAL_PLACES: PlaceSettings = {
  exportFiles: [],
  files: [],
  directory: undefined,
  machine: undefined,
  namespace: undefined,
  system: false,
  user: false,
  merge: false,
};

/**
 * Which entries of these journals, from where on; times in microseconds of the wall clock. A cursor goes before a saved
 * position, `lines` only counts without either. Of export files, `sinceUsec` and `untilUsec` alone hold.
 */
export interface StartSettings {
  /** Both as journalctl writes cursors. The entry itself is sent after `cursor`, and not after `afterCursor`. */
  cursor: string | undefined;
  afterCursor: string | undefined;
  sinceUsec: number | undefined;
  untilUsec: number | undefined;
  /** "all" = every boot; else an id of 32 hex digits, or which one: 0 = the current, -1 = the one before, 1 = the first. */
  boot: string | undefined;
  /** Start this many entries that are wanted before the end. */
  lines: number | undefined;
  /** Entries older than this when they are read are passed over. */
  maxAgeUsec: number | undefined;
}

/** Which entries are sent; lists of one kind are alternatives, different kinds all have to hold. */
export interface SelectionSettings {
  /** As journalctl -u: names, with ".service" where there is no suffix, and patterns. */
  units: readonly string[];
  identifiers: readonly string[];
  /** Syslog priorities 0..7 that are sent; undefined = all. */
  priorities: readonly number[] | undefined;
  /** Syslog facilities 0..23 that are sent; empty = all. */
  facilities: readonly number[];
  /** Regular expressions, one of which has to be found in MESSAGE. */
  grep: readonly string[];
  /** Alternatives (the "+" of journalctl), each a list of "FIELD=value". */
  matches: readonly (readonly string[])[];
  excludeUnits: readonly string[];
  excludeIdentifiers: readonly string[];
  excludeFacilities: readonly number[];
  excludePriorities: readonly number[];
  excludeGrep: readonly string[];
  /** Each alternative, if all of its "FIELD=value" hold, keeps an entry from being sent. */
  excludeMatches: readonly (readonly string[])[];
}

/** What is changed in entries on their way. */
export interface TransformSettings {
  /** Patterns (`*`, `?`) of names of fields that are not sent. */
  dropFields: readonly string[];
  redactFields: readonly RedactSetting[];
  addFields: readonly { name: string; value: string }[];
}

export interface RedactSetting {
  /** Pattern of field names. */
  names: string;
  /** What is replaced in the values; undefined = the whole value. */
  expression: string | undefined;
  replacement: string;
}

export interface BatchSettings {
  /** A batch is closed when its body has so many bytes, or so long after its first entry. */
  sizeMax: number;
  delayMs: number;
  /** Batches sent and not acknowledged yet, towards a receiver that recognises what it has stored. */
  inFlightMax: number;
}

export interface RetrySettings {
  /** Infinity = go on for ever. */
  attemptsMax: number;
  durationUsecMax: number;
}

export interface UploadSettings {
  /** As given, in the order of preference. */
  urls: readonly string[];
  targets: "failover" | "mirror";
  /** PEM files; "-" or undefined where there is none = no client certificate. */
  keyFile: string | undefined;
  certificateFile: string | undefined;
  /** "all": neither chain nor host name is checked. Otherwise the CA file. */
  trust: "all" | string;
  headers: readonly { name: string; value: string }[];
  /** Files with a bearer token, or "user:password". */
  bearerTokenFile: string | undefined;
  basicAuthFile: string | undefined;
  /** http://, https:// proxy; undefined = as the environment says; "" = none. */
  proxy: string | undefined;
  /** Without progress for so long a connection is given up. Infinity = never. */
  networkTimeoutUsec: number;
  /** A connection is replaced at this age, between two batches. */
  connectionAgeUsec: number;
  /**
   * Which encodings may be used, if the receiver announces them; empty = none. In the batch format, which is small
   * already, large bodies are compressed only where the network turns out to be slow.
   */
  compression: readonly EncodingSetting[];
  /** Use the first at once and for every body, whatever the receiver says it takes, as long as it decodes it. */
  forceCompression: boolean;
  places: PlaceSettings;
  start: StartSettings;
  selection: SelectionSettings;
  transform: TransformSettings;
  batch: BatchSettings;
  retry: RetrySettings;
  /** 0 = no limit. */
  rateLimit: { bytesPerSec: number; entriesPerSec: number };
  follow: boolean;
  /** Undefined = the position is not kept. That in export files never is. */
  stateFile: string | undefined;
  /** Undefined = "quarantine" beside the state file, or none without one. */
  quarantineFile: string | undefined;
  quarantineSizeMax: number;
  /** As systemd-journal-upload does: end with the first failure instead of trying again. */
  exitOnFailure: boolean;
}

export const DEFAULT_STATE_FILE = "/var/lib/systemd/journal-upload/state";
export const DEFAULT_BATCH: BatchSettings = {
  sizeMax: 4 * 1024 * 1024,
  delayMs: 1000,
  inFlightMax: 2,
};
export const DEFAULT_QUARANTINE_SIZE_MAX = 64 * 1024 * 1024;
