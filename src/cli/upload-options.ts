/**
 * How `agent upload` delivers: options, keys of journal-upload.conf, defaults. What it reads and sends is in
 * upload-source-options.ts. The stock keys and options are systemd-journal-upload's; the rest has names of its own.
 */
import { AgentError } from "../errors.ts";
import { chooseProxy } from "../upload/http/proxy.ts";
import { parseUploadUrl } from "../upload/http/upload-url.ts";
import {
  DEFAULT_BATCH,
  DEFAULT_QUARANTINE_SIZE_MAX,
  type EncodingSetting,
  type RetrySettings,
  UPLOAD_ENCODINGS,
  type UploadEncoding,
  type UploadSettings,
} from "../upload/settings.ts";
import { formatSize, formatTimeSpan, parseCount, parseSize, parseTimeSpan } from "./args.ts";
import { addHeader, parseHeader } from "./header.ts";
import type { ReadContext, Setting } from "./setting.ts";
import {
  authority,
  choice,
  collection,
  type Described,
  flag,
  optional,
  path,
  readEncodingWords,
  readPath,
  scalar,
} from "./setting-kinds.ts";
import { ALL_SOURCE_SETTINGS } from "./upload-source-options.ts";

const TARGET = "Where entries go (at least one)";
const TRUST = "Certificates and trust";
const DELIVERY = "Delivery";
const FAILURE = "When it fails";

const SECOND_USEC = 1_000_000;
const MINUTE_USEC = 60 * SECOND_USEC;

const DEFAULT_NETWORK_TIMEOUT_USEC = 2 * MINUTE_USEC;
const DEFAULT_CONNECTION_AGE_USEC = 60 * MINUTE_USEC;
const BATCH_SIZE_MAX = 256 * 1024 ** 2;
const BATCH_DELAY_USEC_MAX = 10 * MINUTE_USEC;
const IN_FLIGHT_MAX = 16;

/** Levels the encoders know; undefined: there is nothing to choose. */
const LEVELS: Record<UploadEncoding, { minimum: number; maximum: number } | undefined> = {
  zstd: { minimum: 1, maximum: 22 },
  xz: { minimum: 0, maximum: 9 },
  lz4: undefined,
  gzip: { minimum: 1, maximum: 9 },
};

const DEFAULT_COMPRESSION: readonly EncodingSetting[] = UPLOAD_ENCODINGS.map((encoding) => {
  return { encoding, level: undefined };
});

const NO_RETRY_LIMIT: RetrySettings = {
  attemptsMax: Number.POSITIVE_INFINITY,
  durationUsecMax: Number.POSITIVE_INFINITY,
};

export const TARGET_SETTINGS = {
  urls: {
    ...collection<string>(
      {
        name: "url",
        short: "u",
        key: "URL",
        valueHint: "URL",
        group: TARGET,
        description:
          "Send to the receiver at URL: [https://|http://]HOST[:PORT][/PATH], port 19532 and HTTPS where it does not say; those of a later file replace those of the files before it",
      },
      {
        add: (previous, text) => [...previous, readUrl(text)],
        showItems: (urls) => urls.map(withoutPassword).join(" "),
      },
    ),
    startsAnewInEachFile: true,
  },
  targets: choice<UploadSettings["targets"]>(
    {
      name: "targets",
      key: "Targets",
      group: TARGET,
      description:
        "Of several receivers, send to the first that takes it, or to each, at its own pace",
    },
    ["failover", "mirror"],
  ),
  proxy: optional(
    {
      name: "proxy",
      key: "Proxy",
      valueHint: "URL|no",
      group: TARGET,
      description: "HTTP proxy to go through",
      defaultText: "https_proxy=, http_proxy=, all_proxy=, no_proxy= of the environment",
    },
    readProxy,
  ),
  headers: collection<UploadSettings["headers"][number]>(
    {
      name: "header",
      key: "Header",
      valueHint: '"NAME: VALUE"',
      group: TARGET,
      description:
        "Add a header to each request, with the escapes of C; values of one name are joined",
    },
    {
      add: (previous, text) => addHeader(previous, parseHeader(text)),
      showItems: (headers) => headers.map(showHeader).join(" "),
    },
  ),
  bearerTokenFile: optional(
    {
      name: "bearer-token-file",
      key: "BearerTokenFile",
      valueHint: "FILE",
      group: TARGET,
      description:
        "Send the token in FILE, or in the systemd credential of that name, with each request",
    },
    readSecretPath,
  ),
  basicAuthFile: optional(
    {
      name: "basic-auth-file",
      key: "BasicAuthFile",
      valueHint: "FILE",
      group: TARGET,
      description: "The same with USER:PASSWORD",
    },
    readSecretPath,
  ),
};

export const TRUST_SETTINGS = {
  keyFile: path(
    {
      name: "key",
      key: "ServerKeyFile",
      valueHint: "FILE|-",
      group: TRUST,
      description: "Private key of this sender, PEM, with --cert=; - is none",
    },
    "/etc/ssl/private/journal-upload.pem",
    "-",
  ),
  certificateFile: path(
    {
      name: "cert",
      key: "ServerCertificateFile",
      valueHint: "FILE|-",
      group: TRUST,
      description: "Certificate of this sender, PEM, with its chain; - is none",
    },
    "/etc/ssl/certs/journal-upload.pem",
    "-",
  ),
  trust: authority({
    group: TRUST,
    description:
      'CA that receivers have their certificates from, PEM; "all" (in files "-") turns off the check of both the certificate and the host name',
  }),
};

export const DELIVERY_SETTINGS = {
  batchSize: scalar<number>(
    {
      name: "batch-size",
      key: "BatchSize",
      valueHint: "BYTES",
      group: DELIVERY,
      description: "Send a batch when it has this size, before compression",
      defaultText: formatSize(DEFAULT_BATCH.sizeMax),
    },
    DEFAULT_BATCH.sizeMax,
    { read: (text) => parseSize(text, 1024, BATCH_SIZE_MAX), show: formatSize },
  ),
  batchDelayMs: scalar<number>(
    {
      name: "batch-delay",
      key: "BatchDelaySec",
      valueHint: "TIME",
      group: DELIVERY,
      description: "Send a batch this long after its first entry, whatever its size",
      defaultText: formatTimeSpan(DEFAULT_BATCH.delayMs * 1000),
    },
    DEFAULT_BATCH.delayMs,
    {
      read: (text) => Math.ceil(parseTimeSpan(text, 0, BATCH_DELAY_USEC_MAX) / 1000),
      show: (value) => formatTimeSpan(value * 1000),
    },
  ),
  inFlight: scalar<number>(
    {
      name: "in-flight",
      key: "InFlight",
      valueHint: "COUNT",
      group: DELIVERY,
      description:
        "Batches sent and not acknowledged yet, towards an agent serve; one towards others",
      defaultText: String(DEFAULT_BATCH.inFlightMax),
    },
    DEFAULT_BATCH.inFlightMax,
    { read: (text) => parseCount(text, 1, IN_FLIGHT_MAX), show: String },
  ),
  compression: scalar<readonly EncodingSetting[]>(
    {
      name: "compression",
      key: "Compression",
      valueHint: "LIST|no",
      group: DELIVERY,
      description:
        "Compression to use if the receiver takes it, best first, each with its level if need be: zstd:3 gzip",
      defaultText: UPLOAD_ENCODINGS.join(" "),
    },
    DEFAULT_COMPRESSION,
    { read: readCompression, show: showCompression },
  ),
  forceCompression: flag({
    name: "force-compression",
    key: "ForceCompression",
    group: DELIVERY,
    description: "Use the first at once, before the receiver has said what it takes",
    fallback: false,
  }),
  rateLimitBytes: scalar<number>(
    {
      name: "rate-limit-bytes",
      key: "RateLimitBytes",
      valueHint: "BYTES",
      group: DELIVERY,
      description: "Send at most this much a second, as it goes out; 0 = no limit",
      defaultText: "no limit",
    },
    0,
    { read: (text) => parseSize(text, 0, Number.MAX_SAFE_INTEGER), show: formatSize },
  ),
  rateLimitEntries: scalar<number>(
    {
      name: "rate-limit-entries",
      key: "RateLimitEntries",
      valueHint: "COUNT",
      group: DELIVERY,
      description: "Send at most so many entries a second; 0 = no limit",
      defaultText: "no limit",
    },
    0,
    { read: (text) => parseCount(text, 0, Number.MAX_SAFE_INTEGER), show: String },
  ),
  connectionAgeUsec: patience({
    name: "connection-age",
    key: "ConnectionAgeSec",
    fallback: DEFAULT_CONNECTION_AGE_USEC,
    group: DELIVERY,
    description: "Connect anew after this time, to follow the receiver's name",
  }),
};

export const FAILURE_SETTINGS = {
  retry: scalar<RetrySettings>(
    {
      name: "retry",
      key: "Retry",
      valueHint: "COUNT|TIME",
      group: FAILURE,
      description:
        "Give up, with exit status 69, after so many failures in a row or so long without success: 10 or 30min",
      defaultText: "infinity",
    },
    NO_RETRY_LIMIT,
    { read: readRetry, show: showRetry },
  ),
  networkTimeoutUsec: patience({
    name: "network-timeout",
    key: "NetworkTimeoutSec",
    fallback: DEFAULT_NETWORK_TIMEOUT_USEC,
    group: FAILURE,
    description: "Give a connection up that has not moved for this time",
  }),
  quarantineFile: optional(
    {
      name: "quarantine",
      key: "QuarantineFile",
      valueHint: "FILE",
      group: FAILURE,
      description: "Keep entries that the receiver refuses here, in the export format",
      defaultText: '"quarantine" beside the state file',
    },
    readPath,
  ),
  quarantineSize: scalar<number>(
    {
      name: "quarantine-size",
      key: "QuarantineSize",
      valueHint: "BYTES",
      group: FAILURE,
      description: "Keep no more of them than this; 0 = none",
      defaultText: formatSize(DEFAULT_QUARANTINE_SIZE_MAX),
    },
    DEFAULT_QUARANTINE_SIZE_MAX,
    { read: (text) => parseSize(text, 0, Number.MAX_SAFE_INTEGER), show: formatSize },
  ),
};

export const ALL_UPLOAD_SETTINGS: readonly Setting<unknown>[] = [
  ...Object.values(TARGET_SETTINGS),
  ...Object.values(TRUST_SETTINGS),
  ...ALL_SOURCE_SETTINGS,
  ...Object.values(DELIVERY_SETTINGS),
  ...Object.values(FAILURE_SETTINGS),
];

/** A time that may be infinite; 0 is, too. */
function patience({
  fallback,
  ...described
}: Described<number> & { fallback: number }): Setting<number> {
  const about = { valueHint: "TIME", defaultText: formatTimeSpan(fallback), ...described };
  return scalar(about, fallback, {
    read: (text) => {
      const usec = parseTimeSpan(text, 0, Number.POSITIVE_INFINITY);
      return usec === 0 ? Number.POSITIVE_INFINITY : usec;
    },
    show: formatTimeSpan,
  });
}

function readUrl(text: string): string {
  parseUploadUrl(text);
  return text;
}

/** Of the user information in a URL. */
function withoutPassword(url: string): string {
  return url.replace(/^((?:\w+:\/\/)?[^/@:]*):[^/@]*@/, "$1:***@");
}

/** "no" is "": none, whatever the environment says. */
function readProxy(text: string): string {
  if (text === "no") return "";
  chooseProxy(parseUploadUrl("example.net"), text, {});
  return text;
}

/** What may be a secret stays one. */
function showHeader({ name, value }: UploadSettings["headers"][number]): string {
  return `"${name}: ${/auth|token|key|secret|cookie/i.test(name) ? "***" : value}"`;
}

/** A name without a slash may be a credential's: what it means is known when the environment is. */
function readSecretPath(text: string, context: Pick<ReadContext<unknown>, "from">): string {
  return text.includes("/") ? readPath(text, context) : text;
}

/** Words add up over several assignments, a later one of the same encoding sets its level. */
function readCompression(
  text: string,
  context: ReadContext<readonly EncodingSetting[]>,
): readonly EncodingSetting[] {
  const readWord = (word: string): EncodingSetting | undefined => {
    const [name, level, ...rest] = word.split(":");
    const encoding = UPLOAD_ENCODINGS.find((known) => known === name);
    if (encoding === undefined || rest.length > 0) return undefined;
    return { encoding, level: level === undefined ? undefined : readLevel(encoding, level) };
  };
  const words = readEncodingWords(text, context, { known: UPLOAD_ENCODINGS, readWord });
  return [...new Map(words.map((word) => [word.encoding, word])).values()];
}

function readLevel(encoding: UploadEncoding, text: string): number {
  const levels = LEVELS[encoding];
  if (levels !== undefined) return parseCount(text, levels.minimum, levels.maximum);
  throw new AgentError("E_USAGE", `Cannot use "${encoding}:${text}": ${encoding} has no levels`);
}

function showCompression(encodings: readonly EncodingSetting[]): string {
  const words = encodings.map(({ encoding, level }) =>
    level === undefined ? encoding : `${encoding}:${level}`,
  );
  return words.length === 0 ? "no" : words.join(" ");
}

function readRetry(text: string): RetrySettings {
  if (/^\d+$/.test(text)) {
    return { ...NO_RETRY_LIMIT, attemptsMax: parseCount(text, 1, Number.MAX_SAFE_INTEGER) };
  }
  const durationUsecMax = parseTimeSpan(text, SECOND_USEC, Number.POSITIVE_INFINITY);
  return { ...NO_RETRY_LIMIT, durationUsecMax };
}

function showRetry({ attemptsMax, durationUsecMax }: RetrySettings): string {
  return Number.isFinite(attemptsMax) ? String(attemptsMax) : formatTimeSpan(durationUsecMax);
}
