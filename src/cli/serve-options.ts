/**
 * Everything `agent serve` can be told: options, keys of journal-remote.conf, defaults. The stock
 * keys and options are systemd-journal-remote's; the rest has names of its own.
 */
import { resolve } from "node:path";
import { AgentError } from "../errors.ts";
import { parseListenAddress } from "../serve/listen-address.ts";
import {
  DEFAULT_LIMITS,
  type IngestLimits,
  type ServeSettings,
  WIRE_ENCODINGS,
  type WireEncoding,
} from "../serve/settings.ts";
import {
  formatSize,
  formatTimeSpan,
  parseBoolean,
  parseCount,
  parseSize,
  parseTimeSpan,
} from "./args.ts";
import type { ReadContext, Setting } from "./setting.ts";
import {
  authority,
  type Described,
  flag,
  list,
  optional,
  path,
  readEncodingWords,
  readPath,
  scalar,
} from "./setting-kinds.ts";

const SOURCES = "Where entries come from (at least one)";
const OUTPUT = "Where they go";
const TRUST = "Certificates and trust";
const RETENTION = "Disk use (0 = no limit)";
const LIMITS = "Limits on senders";

const SECOND_USEC = 1_000_000;
const DAY_USEC = 86_400 * SECOND_USEC;

export const SERVE_SETTINGS = {
  listenHttps: addresses({
    name: "listen-https",
    valueHint: "ADDR|-N",
    group: SOURCES,
    description:
      "Receive over HTTPS at ADDR (PORT, A.B.C.D:PORT, [IPv6]:PORT, /path, @name) or on the inherited descriptor N",
  }),
  listenHttp: addresses({
    name: "listen-http",
    valueHint: "ADDR|-N",
    group: SOURCES,
    description: "The same over HTTP: neither encrypted nor authenticated",
  }),
  listenRaw: addresses({
    name: "listen-raw",
    valueHint: "ADDR|-N",
    group: SOURCES,
    description: "Receive bare export streams at ADDR: neither encrypted nor authenticated",
  }),
  urls: list({
    name: "url",
    valueHint: "URL",
    group: SOURCES,
    description: "Pull from the systemd-journal-gatewayd at URL, and follow it",
  }),
  getter: optional({
    name: "getter",
    valueHint: "COMMAND",
    group: SOURCES,
    description: "Run COMMAND (no shell) and read an export stream from its output",
  }),
  announcedEncodings: {
    name: "accept-encoding",
    key: "Compression",
    takesValue: "always",
    valueHint: "LIST|no",
    group: SOURCES,
    description: "Compression of uploads to announce, best first",
    defaultText: WIRE_ENCODINGS.join(" "),
    fallback: WIRE_ENCODINGS,
    read: readEncodings,
    show: showEncodings,
  } as Setting<readonly WireEncoding[]>,
  output: scalar<string | undefined>(
    {
      name: "output",
      short: "o",
      valueHint: "DIR|FILE",
      group: OUTPUT,
      description: "Write DIR/remote-SENDER.journal, or FILE with --split-mode=none",
      defaultText: "/var/log/journal/remote",
    },
    undefined,
    { read: (text) => resolve(text), show: (value) => value ?? "automatic" },
  ),
  splitMode: scalar<"host" | "none" | undefined>(
    {
      name: "split-mode",
      key: "SplitMode",
      valueHint: "host|none",
      group: OUTPUT,
      description: "One file for each sender, or one for all",
      defaultText: "host; none for files and --getter=",
    },
    undefined,
    { read: readSplitMode, show: (value) => value ?? "automatic" },
  ),
  compress: flag({
    name: "compress",
    group: OUTPUT,
    description: "Compress large fields in the files written",
    fallback: true,
  }),
  seal: {
    ...flag({
      name: "seal",
      key: "Seal",
      group: OUTPUT,
      description: "Accepted for compatibility: files are not sealed",
      fallback: false,
    }),
    read: readSeal,
  },
  keyFile: path(
    {
      name: "key",
      key: "ServerKeyFile",
      valueHint: "FILE",
      group: TRUST,
      description: "Private key of the server, PEM",
    },
    "/etc/ssl/private/journal-remote.pem",
  ),
  certificateFile: path(
    {
      name: "cert",
      key: "ServerCertificateFile",
      valueHint: "FILE",
      group: TRUST,
      description: "Certificate of the server, PEM, with its chain",
    },
    "/etc/ssl/certs/journal-remote.pem",
  ),
  authority: authority({
    group: TRUST,
    description: 'CA whose certificates may send, PEM; "all" turns the check off',
  }),
  crlFiles: list(
    {
      name: "crl",
      key: "CRLFile",
      valueHint: "FILE",
      group: TRUST,
      description: "Revocation list, PEM or DER, read again when it changes",
    },
    readPath,
  ),
  allowSubject: list({
    name: "allow-subject",
    key: "AllowSubject",
    valueHint: "PATTERN",
    group: TRUST,
    description: "Accept only senders whose name in the certificate matches (* and ?)",
  }),
  enrollSocket: optional(
    {
      name: "enroll-socket",
      key: "EnrollSocket",
      valueHint: "PATH",
      group: TRUST,
      description:
        "Let hosts with a token of agent certs token enrol over HTTPS, by the signer at this socket",
      defaultText: "off",
    },
    readPath,
  ),
};

/** `undefined` is the automatic value, which depends on the file system. */
export const RETENTION_SETTINGS = {
  maxUseBytes: size({
    name: "max-use",
    key: "MaxUse",
    description: "Disk space all files may take together",
    defaultText: "10% of the file system, at most 4G",
  }),
  keepFreeBytes: size({
    name: "keep-free",
    key: "KeepFree",
    description: "Disk space to leave to others",
    defaultText: "5% of the file system, at most 4G",
  }),
  maxFileSizeBytes: size({
    name: "max-file-size",
    key: "MaxFileSize",
    description: "A larger file is rotated",
    defaultText: "an eighth of --max-use=, at most 128M",
  }),
  maxFiles: scalar<number | undefined>(
    {
      name: "max-files",
      key: "MaxFiles",
      valueHint: "COUNT",
      group: RETENTION,
      description: "Files to keep",
      defaultText: "100",
    },
    undefined,
    {
      read: (text) => parseCount(text, 0, Number.MAX_SAFE_INTEGER),
      show: (value) => (value === undefined ? "automatic" : String(value)),
    },
  ),
  maxRetentionSec: age({
    name: "max-retention",
    key: "MaxRetentionSec",
    description: "Archived files with nothing newer are deleted",
  }),
  maxFileSec: age({
    name: "max-file-age",
    key: "MaxFileSec",
    description: "A file with older entries is rotated",
  }),
};

export const LIMIT_SETTINGS: { [K in keyof IngestLimits]: Setting<number> } = {
  connectionsMax: count("connectionsMax", 1_000_000, {
    name: "max-connections",
    key: "MaxConnections",
    description: "Connections at a time",
  }),
  connectionsPerPeerMax: count("connectionsPerPeerMax", 1_000_000, {
    name: "max-connections-per-peer",
    key: "MaxConnectionsPerPeer",
    description: "Connections at a time from one address",
  }),
  entryFieldsMax: count("entryFieldsMax", DEFAULT_LIMITS.entryFieldsMax, {
    name: "max-entry-fields",
    key: "MaxEntryFields",
    description: "Fields of one entry",
  }),
  fieldSizeMax: bytes("fieldSizeMax", DEFAULT_LIMITS.fieldSizeMax, {
    name: "max-field-size",
    key: "MaxFieldSize",
    description: "Size of one field",
  }),
  entrySizeMax: bytes("entrySizeMax", DEFAULT_LIMITS.entrySizeMax, {
    name: "max-entry-size",
    key: "MaxEntrySize",
    description: "Size of one entry; never more than --max-in-flight=",
  }),
  inFlightBytesMax: bytes("inFlightBytesMax", Number.MAX_SAFE_INTEGER, {
    name: "max-in-flight",
    key: "MaxInFlight",
    description: "Memory for unfinished entries of all connections together",
  }),
  headSizeMax: bytes("headSizeMax", 1024 ** 2, {
    name: "max-header-size",
    key: "MaxHeaderSize",
    description: "Size of the head of an HTTP request",
  }),
  handshakeTimeoutMs: timeout("handshakeTimeoutMs", {
    name: "handshake-timeout",
    key: "HandshakeTimeoutSec",
    description: "For the TLS handshake and the first request to arrive",
  }),
  stalledTimeoutMs: timeout("stalledTimeoutMs", {
    name: "stall-timeout",
    key: "StallTimeoutSec",
    description: "For a request or an entry that has begun to grow",
  }),
};

export const ALL_SERVE_SETTINGS: readonly Setting<unknown>[] = [
  ...Object.values(SERVE_SETTINGS),
  ...Object.values(RETENTION_SETTINGS),
  ...Object.values(LIMIT_SETTINGS),
];

/** Where files go when nobody says: systemd-journal-remote's places. */
export function defaultOutput(splitMode: ServeSettings["splitMode"]): string {
  const directory = "/var/log/journal/remote";
  return splitMode === "none" ? `${directory}/remote.journal` : directory;
}

function addresses(described: Described<readonly string[]>): Setting<readonly string[]> {
  return list(described, (text) => {
    parseListenAddress(text);
    return text;
  });
}

function size(
  described: Omit<Described<number | undefined>, "group">,
): Setting<number | undefined> {
  return scalar({ valueHint: "BYTES", group: RETENTION, ...described }, undefined, {
    read: (text) => parseSize(text, 0, Number.MAX_SAFE_INTEGER),
    show: (value) => (value === undefined ? "automatic" : formatSize(value)),
  });
}

/** In seconds; 0 = for ever. */
function age(described: Omit<Described<number>, "group">): Setting<number> {
  return scalar({ valueHint: "TIME", group: RETENTION, defaultText: "no limit", ...described }, 0, {
    read: (text) => {
      const usec = parseTimeSpan(text, 0, Number.POSITIVE_INFINITY);
      return Number.isFinite(usec) ? Math.ceil(usec / SECOND_USEC) : 0;
    },
    show: (value) => formatTimeSpan(value * SECOND_USEC),
  });
}

type LimitDescription = Omit<Described<number>, "group" | "defaultText">;

function count(
  limit: keyof IngestLimits,
  maximum: number,
  described: LimitDescription,
): Setting<number> {
  return limitSetting(
    limit,
    { valueHint: "COUNT", ...described },
    {
      read: (text) => parseCount(text, 1, maximum),
      show: String,
    },
  );
}

function bytes(
  limit: keyof IngestLimits,
  maximum: number,
  described: LimitDescription,
): Setting<number> {
  return limitSetting(
    limit,
    { valueHint: "BYTES", ...described },
    {
      read: (text) => parseSize(text, 1024, maximum),
      show: formatSize,
    },
  );
}

/** In milliseconds, from a second to a day. */
function timeout(limit: keyof IngestLimits, described: LimitDescription): Setting<number> {
  return limitSetting(
    limit,
    { valueHint: "TIME", ...described },
    {
      read: (text) => Math.ceil(parseTimeSpan(text, SECOND_USEC, DAY_USEC) / 1000),
      show: (value) => formatTimeSpan(value * 1000),
    },
  );
}

function limitSetting(
  limit: keyof IngestLimits,
  described: LimitDescription,
  functions: Pick<Setting<number>, "read" | "show">,
): Setting<number> {
  const fallback = DEFAULT_LIMITS[limit];
  const defaultText = functions.show(fallback);
  return scalar({ group: LIMITS, defaultText, ...described }, fallback, functions);
}

function readSplitMode(text: string): "host" | "none" {
  if (text === "host" || text === "none") return text;
  throw new AgentError("E_USAGE", `Cannot use split mode "${text}": need "host" or "none"`);
}

function readSeal(text: string, { warn }: ReadContext<boolean>): boolean {
  const isWanted = parseBoolean(text);
  if (isWanted) warn("Sealing is not supported, the files written are not sealed");
  return isWanted;
}

/** Words add up over several assignments. */
function readEncodings(
  text: string,
  context: ReadContext<readonly WireEncoding[]>,
): readonly WireEncoding[] {
  const readWord = (word: string): WireEncoding | undefined =>
    WIRE_ENCODINGS.find((encoding) => encoding === word);
  return [...new Set(readEncodingWords(text, context, { known: WIRE_ENCODINGS, readWord }))];
}

function showEncodings(encodings: readonly WireEncoding[]): string {
  return encodings.length === 0 ? "no" : encodings.join(" ");
}
