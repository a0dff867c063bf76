/** Configuration files, environment and command line → what `serve` runs with. */
import { statSync } from "node:fs";
import { dirname } from "node:path";
import { AgentError } from "../errors.ts";
import type { LoadedConfig } from "../platform/config-files.ts";
import type { IngestLimits, JournalFormatSettings, ServeSettings } from "../serve/settings.ts";
import { booleanOf } from "./args.ts";
import { type CommandLine, hasOption } from "./options.ts";
import {
  ALL_SERVE_SETTINGS,
  defaultOutput,
  LIMIT_SETTINGS,
  RETENTION_SETTINGS,
  SERVE_SETTINGS,
} from "./serve-options.ts";
import {
  type GivenValues,
  mergeSettings,
  type Problem,
  readGroup,
  settingValue,
} from "./setting.ts";

/** Variables that journald and systemd-journal-remote heed, too; `process.env` fits. */
export interface FormatEnvironment {
  /** A boolean or an algorithm (systemd 254). */
  readonly SYSTEMD_JOURNAL_COMPRESS?: string | undefined;
  readonly SYSTEMD_JOURNAL_COMPACT?: string | undefined;
  readonly SYSTEMD_JOURNAL_KEYED_HASH?: string | undefined;
  readonly [name: string]: string | undefined;
}

export interface ServeSetup {
  settings: ServeSettings;
  /** For showing where a value is from. */
  values: GivenValues;
  problems: Problem[];
}

/** Payloads of at least this size are compressed, as journald does. */
const COMPRESS_THRESHOLD_BYTES = 512;

/** @throws AgentError E_USAGE for a bad value on the command line. */
export function resolveServeSettings(
  config: LoadedConfig,
  line: CommandLine,
  environment: FormatEnvironment,
): ServeSetup {
  const { values, problems } = mergeSettings(ALL_SERVE_SETTINGS, "Remote", config, line.uses);
  const getter = settingValue(values, SERVE_SETTINGS.getter);
  const isImport = getter !== undefined || line.words.length > 0;
  // What --split-mode=host on the command line means for an import is for listViolations() to say.
  const isSplitGiven = hasOption(line, SERVE_SETTINGS.splitMode.name);
  const wanted = settingValue(values, SERVE_SETTINGS.splitMode) ?? "host";
  const splitMode = isImport && !isSplitGiven ? "none" : wanted;
  const settings: ServeSettings = {
    listenHttps: settingValue(values, SERVE_SETTINGS.listenHttps),
    listenHttp: settingValue(values, SERVE_SETTINGS.listenHttp),
    listenRaw: settingValue(values, SERVE_SETTINGS.listenRaw),
    urls: settingValue(values, SERVE_SETTINGS.urls),
    getter,
    files: line.words,
    output: settingValue(values, SERVE_SETTINGS.output) ?? defaultOutput(splitMode),
    splitMode,
    keyFile: settingValue(values, SERVE_SETTINGS.keyFile),
    certificateFile: settingValue(values, SERVE_SETTINGS.certificateFile),
    trust: {
      authority: settingValue(values, SERVE_SETTINGS.authority),
      crlFiles: settingValue(values, SERVE_SETTINGS.crlFiles),
      allowSubject: settingValue(values, SERVE_SETTINGS.allowSubject),
    },
    announcedEncodings: settingValue(values, SERVE_SETTINGS.announcedEncodings),
    enrollSocket: settingValue(values, SERVE_SETTINGS.enrollSocket),
    retention: readGroup(values, RETENTION_SETTINGS),
    limits: consistentLimits(readGroup(values, LIMIT_SETTINGS)),
    format: readFormat(settingValue(values, SERVE_SETTINGS.compress), environment, problems),
  };
  return { settings, values, problems };
}

export interface SourceContext {
  line: CommandLine;
  /** Sockets the service manager handed over; undefined = only it knows: do not ask for any. */
  inheritedCount: number | undefined;
}

/**
 * What forbids to start with these settings, in the order systemd-journal-remote checks; each
 * code is E_USAGE or E_CONFIG. Nothing is opened, only looked at.
 */
export function listViolations(
  settings: ServeSettings,
  { line, inheritedCount }: SourceContext,
): AgentError[] {
  return [
    ...importViolations(settings, line, inheritedCount ?? 0),
    ...outputViolations(settings),
    ...(inheritedCount === undefined ? [] : socketViolations(settings, inheritedCount)),
    ...trustViolations(settings),
  ];
}

/** A field cannot outgrow its entry, nor an entry the memory there is for it. */
function consistentLimits(limits: IngestLimits): IngestLimits {
  const entrySizeMax = Math.min(limits.entrySizeMax, limits.inFlightBytesMax);
  return { ...limits, entrySizeMax, fieldSizeMax: Math.min(limits.fieldSizeMax, entrySizeMax) };
}

function readFormat(
  compress: boolean,
  environment: FormatEnvironment,
  problems: Problem[],
): JournalFormatSettings {
  const isCompressed = compress && readCompression(environment.SYSTEMD_JOURNAL_COMPRESS, problems);
  const readSwitch = (name: "SYSTEMD_JOURNAL_COMPACT" | "SYSTEMD_JOURNAL_KEYED_HASH"): boolean => {
    const text = environment[name];
    const isOn = text === undefined ? true : booleanOf(text);
    if (isOn === undefined) problems.push(ignored(name, text, "a boolean is needed"));
    return isOn ?? true;
  };
  return {
    compressThresholdBytes: isCompressed ? COMPRESS_THRESHOLD_BYTES : undefined,
    compact: readSwitch("SYSTEMD_JOURNAL_COMPACT"),
    keyedHash: readSwitch("SYSTEMD_JOURNAL_KEYED_HASH"),
  };
}

/** A boolean or an algorithm; files are written with zstd, whichever is named. */
function readCompression(text: string | undefined, problems: Problem[]): boolean {
  const word = text?.toUpperCase();
  if (text === undefined || word === "ZSTD") return true;
  if (word === "NONE") return false;
  const isOn = booleanOf(text);
  if (isOn === undefined) {
    problems.push(ignored("SYSTEMD_JOURNAL_COMPRESS", text, "a boolean, ZSTD or NONE is needed"));
  }
  return isOn ?? true;
}

function ignored(name: string, text: string | undefined, need: string): Problem {
  return { where: name, message: `Cannot use "${text}": ${need}, ignoring` };
}

function* importViolations(
  settings: ServeSettings,
  line: CommandLine,
  inheritedCount: number,
): Generator<AgentError> {
  if (settings.getter === undefined && settings.files.length === 0) return;
  const others = [settings.listenHttps, settings.listenHttp, settings.listenRaw, settings.urls];
  if (others.some((list) => list.length > 0) || inheritedCount > 0) {
    yield usage(
      "Cannot use file input or --getter= with --listen-...=, --url= or inherited sockets: an import has no other source",
    );
  }
  if (!hasOption(line, SERVE_SETTINGS.output.name)) {
    yield usage("Cannot use file input or --getter= without --output=: name the file to write");
  }
  if (settings.splitMode === "host") {
    yield usage(
      'Cannot split file input or --getter= by host: only "--split-mode=none" is possible',
    );
  }
}

function* outputViolations({ splitMode, output }: ServeSettings): Generator<AgentError> {
  if (splitMode === "host") {
    if (!isDirectory(output)) yield notADirectory(output, "need one to split by host");
    return;
  }
  if (isDirectory(output)) {
    yield usage(`Cannot write to "${output}": it is a directory, "--split-mode=none" needs a file`);
  } else if (!output.endsWith(".journal")) {
    yield usage(`Cannot write to "${output}": the name has to end in ".journal"`);
  } else if (!isDirectory(dirname(output))) {
    yield notADirectory(dirname(output), `need one for "${output}"`);
  }
}

function* socketViolations(settings: ServeSettings, inheritedCount: number): Generator<AgentError> {
  const { listenHttps, listenHttp, listenRaw, urls, getter, files } = settings;
  const listeners = [...listenHttps, ...listenHttp, ...listenRaw];
  for (const address of listeners) {
    const fd = -Number(address);
    if (fd >= 0 && fd >= 3 + inheritedCount) {
      const hint = "A socket unit or systemd-socket-activate(1) hands sockets over";
      const message = `Cannot use descriptor ${fd}: ${inheritedCount} sockets are inherited, fewer than expected`;
      yield new AgentError("E_USAGE", message, { hint });
    }
  }
  const sourceCount = listeners.length + urls.length + files.length + inheritedCount;
  if (sourceCount === 0 && getter === undefined) {
    yield usage("Cannot start: zero sources specified, need a listener, a URL or a file");
  }
}

function* trustViolations({
  trust,
  listenHttps,
  listenHttp,
  listenRaw,
}: ServeSettings): Generator<AgentError> {
  const plain = [...listenHttp, ...listenRaw].find((address) => !address.startsWith("-"));
  if (plain !== undefined && listenHttps.length > 0 && trust.authority !== "all") {
    yield new AgentError(
      "E_USAGE",
      `Cannot listen on "${plain}" beside a listener that checks certificates: --trust= makes all non-HTTPS connections untrusted`,
      { hint: 'Run a second instance for it, or turn the check off with "--trust=all"' },
    );
  }
}

function usage(message: string): AgentError {
  return new AgentError("E_USAGE", message);
}

function notADirectory(path: string, need: string): AgentError {
  const hint = `Make it and let the service's user write there: install -d -m 0755 "${path}"`;
  return new AgentError("E_CONFIG", `Cannot write to "${path}": no such directory, ${need}`, {
    hint,
  });
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}
