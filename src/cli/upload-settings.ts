/** Configuration files, environment and command line → what `upload` runs with. */
import { statSync } from "node:fs";
import { join, resolve } from "node:path";
import { AgentError } from "../errors.ts";
import type { LoadedConfig } from "../platform/config-files.ts";
import { parseUploadUrl } from "../upload/http/upload-url.ts";
import type { PlaceSettings, UploadSettings } from "../upload/settings.ts";
import type { CommandLine } from "./options.ts";
import { isMatch, parseMatches } from "./selection.ts";
import {
  type GivenValue,
  type GivenValues,
  isOnCommandLine,
  mergeSettings,
  type Problem,
  readGroup,
  type Setting,
  settingValue,
} from "./setting.ts";
import {
  ALL_UPLOAD_SETTINGS,
  DELIVERY_SETTINGS,
  FAILURE_SETTINGS,
  TARGET_SETTINGS,
  TRUST_SETTINGS,
} from "./upload-options.ts";
import {
  EXCLUSIVE_PLACES,
  PLACE_SETTINGS,
  RANGE_SETTINGS,
  SELECTION_SETTINGS,
  TRANSFORM_SETTINGS,
} from "./upload-source-options.ts";

/** `process.env` fits. */
export interface UploadEnvironment {
  /** Where the service manager has put the credentials of the unit. systemd.exec(5) */
  readonly CREDENTIALS_DIRECTORY?: string | undefined;
  readonly [name: string]: string | undefined;
}

export interface UploadSetupOptions {
  environment: UploadEnvironment;
  /** As systemd-journal-upload does: words are files, and the first failure is the end. */
  isStock: boolean;
}

export interface UploadSetup {
  settings: UploadSettings;
  /** For showing where a value is from. */
  values: GivenValues;
  problems: Problem[];
}

/** @throws AgentError E_USAGE for a bad value on the command line. */
export function resolveUploadSettings(
  config: LoadedConfig,
  line: CommandLine,
  { environment, isStock }: UploadSetupOptions,
): UploadSetup {
  const merged = mergeSettings(ALL_UPLOAD_SETTINGS, "Upload", config, line.uses);
  const isMatchWord = (word: string): boolean => !isStock && (word === "+" || isMatch(word));
  const exportFiles = line.words.filter((word) => !isMatchWord(word));
  const matchWords = line.words.filter(isMatchWord);
  const values = withoutOverridden(withMatchWords(merged.values, matchWords), exportFiles);
  const value = <T>(setting: Setting<T>): T => settingValue(values, setting);
  const isEncrypted = usesTls(value(TARGET_SETTINGS.urls));
  const ownFile = (setting: Setting<string>): string | undefined =>
    isEncrypted && value(setting) !== "-" ? value(setting) : undefined;
  const { follow, stateFile, ...start } = readGroup(values, RANGE_SETTINGS);
  const { rateLimitBytes, rateLimitEntries, ...delivery } = readGroup(values, DELIVERY_SETTINGS);
  const settings: UploadSettings = {
    urls: value(TARGET_SETTINGS.urls),
    targets: value(TARGET_SETTINGS.targets),
    keyFile: ownFile(TRUST_SETTINGS.keyFile),
    certificateFile: ownFile(TRUST_SETTINGS.certificateFile),
    trust: value(TRUST_SETTINGS.trust),
    headers: value(TARGET_SETTINGS.headers),
    bearerTokenFile: secretFile(values, TARGET_SETTINGS.bearerTokenFile, environment),
    basicAuthFile: secretFile(values, TARGET_SETTINGS.basicAuthFile, environment),
    proxy: value(TARGET_SETTINGS.proxy),
    networkTimeoutUsec: value(FAILURE_SETTINGS.networkTimeoutUsec),
    connectionAgeUsec: delivery.connectionAgeUsec,
    compression: delivery.compression,
    forceCompression: delivery.forceCompression,
    places: { exportFiles, ...readGroup(values, PLACE_SETTINGS) },
    start,
    selection: readGroup(values, SELECTION_SETTINGS),
    transform: readGroup(values, TRANSFORM_SETTINGS),
    batch: {
      sizeMax: delivery.batchSize,
      delayMs: delivery.batchDelayMs,
      inFlightMax: delivery.inFlight,
    },
    retry: value(FAILURE_SETTINGS.retry),
    rateLimit: { bytesPerSec: rateLimitBytes, entriesPerSec: rateLimitEntries },
    // What is in files has an end.
    follow: follow && exportFiles.length === 0,
    stateFile,
    quarantineFile: value(FAILURE_SETTINGS.quarantineFile),
    quarantineSizeMax: value(FAILURE_SETTINGS.quarantineSize),
    exitOnFailure: isStock,
  };
  return { settings, values, problems: merged.problems };
}

/** What forbids to start with these settings; each code is E_USAGE or E_CONFIG. Nothing is opened. */
export function listViolations({ settings, values }: UploadSetup): AgentError[] {
  return [
    ...targetViolations(settings, values),
    ...placeViolations(settings.places),
    ...mirrorViolations(settings),
    ...startViolations(settings),
  ];
}

/** Whether one of the receivers is to show a certificate. */
export function usesTls(urls: readonly string[]): boolean {
  return urls.some((url) => parseUploadUrl(url).isSecure);
}

/** `FIELD=value` words are one more use of --match=. */
function withMatchWords(values: GivenValues, words: readonly string[]): GivenValues {
  if (words.length === 0) return values;
  const setting = SELECTION_SETTINGS.matches;
  const before = isOnCommandLine(values, setting) ? settingValue(values, setting) : [];
  const value = [...before, ...parseMatches(words)];
  return new Map([...values, [setting.name, { value, origin: "command line" }]]);
}

/** A place that the command line names is read in place of those that files name. */
function withoutOverridden(values: GivenValues, exportFiles: readonly string[]): GivenValues {
  const isChosen = EXCLUSIVE_PLACES.some((setting) => isOnCommandLine(values, setting));
  let overridden: readonly Setting<unknown>[] = isChosen ? EXCLUSIVE_PLACES : [];
  if (exportFiles.length > 0) overridden = Object.values(PLACE_SETTINGS);
  const isKept = ([name, { origin }]: [string, GivenValue]): boolean =>
    origin === "command line" || !overridden.some((setting) => setting.name === name);
  return new Map([...values].filter(isKept));
}

/** A name without a slash is a credential of the unit, or else, on the command line, a file in this directory. */
function secretFile(
  values: GivenValues,
  setting: Setting<string | undefined>,
  { CREDENTIALS_DIRECTORY: directory }: UploadEnvironment,
): string | undefined {
  const name = settingValue(values, setting);
  if (name === undefined || name.includes("/")) return name;
  const credential = directory === undefined ? undefined : join(directory, name);
  if (credential !== undefined && statSync(credential, { throwIfNoEntry: false })?.isFile()) {
    return credential;
  }
  return isOnCommandLine(values, setting) ? resolve(name) : name;
}

function* targetViolations(settings: UploadSettings, values: GivenValues): Generator<AgentError> {
  const { urls, bearerTokenFile, basicAuthFile, headers } = settings;
  if (urls.length === 0) {
    const hint =
      "Name the receiver: --url=https://logs.example.net, or URL= in journal-upload.conf";
    yield new AgentError("E_USAGE", "Cannot start: no URL to send to", { hint });
  }
  const { keyFile, certificateFile } = TRUST_SETTINGS;
  const given = [keyFile, certificateFile].filter((setting) => values.has(setting.name));
  const files = given.map((setting) => settingValue(values, setting));
  if (given.length === 1 || (files.includes("-") && files.some((file) => file !== "-"))) {
    yield usage("Cannot use one of --key= and --cert= alone: they belong together");
  }
  const hasHeader = headers.some(({ name }) => name.toLowerCase() === "authorization");
  const secrets = [bearerTokenFile, basicAuthFile].filter((file) => file !== undefined);
  if (secrets.length + (hasHeader ? 1 : 0) > 1) {
    yield usage(
      "Cannot use more than one of --bearer-token-file=, --basic-auth-file= and an Authorization header: a request has one",
    );
  }
  for (const name of secrets.filter((file) => !file.startsWith("/"))) {
    const hint = `Add LoadCredential=${name}:PATH to the unit, or give an absolute path`;
    const message = `Cannot find credential "${name}": the service manager has not handed it over`;
    yield new AgentError("E_CONFIG", message, { hint });
  }
}

function* placeViolations(places: PlaceSettings): Generator<AgentError> {
  const { exportFiles, files, directory, machine, namespace, system, user } = places;
  const named = [
    ...(directory === undefined ? [] : ["--directory="]),
    ...(files.length === 0 ? [] : ["--file="]),
    ...(machine === undefined ? [] : ["--machine="]),
    ...(namespace === undefined ? [] : ["--namespace="]),
  ];
  if (exportFiles.length > 0) {
    const narrowed = [...(system ? ["--system"] : []), ...(user ? ["--user"] : [])];
    const [option] = [...named, ...narrowed, ...(places.merge ? ["--merge"] : [])];
    if (option === undefined) return;
    yield usage(
      `Cannot use "${exportFiles[0]}" with ${option}: a file is read in place of journals`,
    );
  } else if (named.length > 1) {
    yield usage(`Cannot use ${named.join(" with ")}: journals are read in one place`);
  }
}

/** Each receiver has a reader of its own, and what is in a pipe goes to one of them. */
function* mirrorViolations({ targets, urls, places }: UploadSettings): Generator<AgentError> {
  if (targets !== "mirror" || urls.length < 2) return;
  const stream = places.exportFiles.find(isStream);
  if (stream === undefined) return;
  const name = stream === "-" ? "standard input" : `"${stream}"`;
  const hint = "Save it as a file, and send that";
  const message = `Cannot mirror ${name}: it can be read only once, and each receiver needs all of it`;
  yield new AgentError("E_USAGE", message, { hint });
}

/** Of what cannot be read at all is told when it is opened. */
function isStream(path: string): boolean {
  if (path === "-") return true;
  try {
    const stats = statSync(path);
    return !stats.isFile() && !stats.isDirectory();
  } catch {
    return false;
  }
}

function* startViolations({ start }: UploadSettings): Generator<AgentError> {
  const { cursor, afterCursor, sinceUsec, untilUsec } = start;
  if (cursor !== undefined && afterCursor !== undefined) {
    yield usage("Cannot use --cursor= with --after-cursor=: it starts in one place");
  }
  if (sinceUsec !== undefined && untilUsec !== undefined && sinceUsec > untilUsec) {
    yield usage("Cannot use --since= with --until=: it begins after it ends");
  }
}

function usage(message: string): AgentError {
  return new AgentError("E_USAGE", message);
}
