/** `agent upload` as a whole: sources, receivers and state files, from start to a clean end. */
import { dirname, join } from "node:path";
import { AgentError, ExitStatus } from "../errors.ts";
import { log } from "../log.ts";
import { systemClock } from "../platform/clock.ts";
import { lockPath, type ProcessLock } from "../platform/process-lock.ts";
import { VERSION } from "../version.ts";
import { Compressor } from "./compressor.ts";
import type { DeliveryEnd } from "./delivery.ts";
import type { Position, UploadClient } from "./delivery-types.ts";
import { chooseProxy } from "./http/proxy.ts";
import { makeUploadClient } from "./http/upload-client.ts";
import { parseUploadUrl, type UploadUrl } from "./http/upload-url.ts";
import { Pipeline } from "./pipeline.ts";
import { Quarantine } from "./quarantine.ts";
import type { UploadContext, UploadProgress } from "./run-types.ts";
import type { UploadSettings } from "./settings.ts";
import { openSource } from "./source.ts";
import { makeStateDirectory } from "./state.ts";
import { StateKeeper } from "./state-keeper.ts";
import { findStatePlace, type StatePlace } from "./state-place.ts";
import { formatProgress, formatTotals, RateMeter } from "./status.ts";
import { Target } from "./target.ts";

const STATUS_INTERVAL_MS = 2_000;
/** What goes wrong, or works again, is told so soon. */
const CHANGE_INTERVAL_MS = 250;
const PROGRESS_INTERVAL_MS = 200;
/** Where there is another receiver to go to, one that hangs is not waited for any longer than this. */
const FAILOVER_TIMEOUT_MS = 30_000;
const FAILOVER_CONNECT_TIMEOUT_MS = 5_000;

/**
 * Resolves with the exit status when all is sent, `signal` has aborted, or no further attempt is to be made.
 * @throws AgentError when it cannot start
 */
export async function runUpload(
  settings: UploadSettings,
  context: UploadContext,
): Promise<ExitStatus | 0> {
  const locks: ProcessLock[] = [];
  try {
    return await runLocked(settings, context, locks);
  } finally {
    for (const lock of locks) lock.release();
  }
}

async function runLocked(
  settings: UploadSettings,
  context: UploadContext,
  locks: ProcessLock[],
): Promise<ExitStatus | 0> {
  const giveUp = new AbortController();
  const signal = AbortSignal.any([context.signal, giveUp.signal]);
  const pipelines = openPipelines(settings, { ...context, signal }, locks);
  const report = new Report(pipelines, context);
  context.notify.send("READY=1", `STATUS=${report.status()}`);
  try {
    const ends = await Promise.all(
      pipelines.map(async (pipeline) => {
        try {
          const end = await pipeline.run();
          if (end === "gave-up") giveUp.abort();
          return end;
        } catch (error) {
          giveUp.abort();
          throw error;
        }
      }),
    );
    return exitStatus(ends, pipelines, settings.exitOnFailure);
  } finally {
    report.close();
  }
}

function exitStatus(
  ends: readonly DeliveryEnd[],
  pipelines: readonly Pipeline[],
  exitOnFailure: boolean,
): ExitStatus | 0 {
  const failure = pipelines.find((pipeline) => pipeline.failure !== undefined)?.failure;
  const status = ends.includes("gave-up") ? ExitStatus.unavailable : failure?.exitStatus;
  if (status === undefined) return 0;
  return exitOnFailure ? ExitStatus.failure : status;
}

/** One for each receiver, or one for all of them, of which the first that works gets the entries. */
function openPipelines(
  settings: UploadSettings,
  context: UploadContext,
  locks: ProcessLock[],
): Pipeline[] {
  const urls = uniqueUrls(settings.urls);
  const stateFile = stateFileOf(settings);
  const isMirror = settings.targets === "mirror" && urls.length > 1;
  const lanes = isMirror ? urls.map((url) => [url]) : [urls];
  if (stateFile !== undefined) makeStateDirectory(stateFile);
  const quarantine = { path: quarantinePath(settings), sizeMax: settings.quarantineSizeMax };
  return lanes.map((lane, index) => {
    const only = lane.length === 1 ? lane[0]?.text : undefined;
    const place = openState(settings, only, index === 0, locks);
    return new Pipeline({
      settings,
      source: openSource(settings, startPosition(settings, place)),
      targets: lane.map((url) => openTarget(url, settings, context, lane.length)),
      state: new StateKeeper({
        path: place?.path,
        target: isMirror ? only : undefined,
      }),
      quarantine: new Quarantine(quarantine),
      clock: systemClock,
      signal: context.signal,
    });
  });
}

/** @param url the receiver whose position it is; undefined = there are several with one position */
function openState(
  settings: UploadSettings,
  url: string | undefined,
  isFirst: boolean,
  locks: ProcessLock[],
): StatePlace | undefined {
  const stateFile = stateFileOf(settings);
  if (stateFile === undefined) return undefined;
  const isIgnored = hasStartCursor(settings);
  const place = findStatePlace({ stateFile, url, isFirst, isIgnored });
  try {
    const hint = "Give each uploader a state file of its own with --save-state=";
    locks.push(lockPath(place.path, { purpose: "upload", hint }));
  } catch (error) {
    // Where nothing can be written now, another uploader saves nothing either; what is there is sent all the same.
    if (!(error instanceof AgentError) || error.code !== "E_IO") throw error;
    log.warn(`Going on without a lock: ${error.message}`);
  }
  return place;
}

/** As systemd-journal-upload: a given cursor goes before the saved one. */
function startPosition(
  settings: UploadSettings,
  place: StatePlace | undefined,
): Position | undefined {
  return hasStartCursor(settings) ? undefined : place?.saved?.position;
}

function hasStartCursor({ start }: UploadSettings): boolean {
  return start.cursor !== undefined || start.afterCursor !== undefined;
}

function openTarget(
  url: UploadUrl,
  settings: UploadSettings,
  context: UploadContext,
  targetCount: number,
): Target {
  const { compression, forceCompression, batch } = settings;
  return new Target({
    url: url.text,
    client: openClient(url, settings, context, targetCount > 1),
    compressor: new Compressor(compression),
    forcedEncoding: forceCompression ? compression[0] : undefined,
    sizeMax: batch.sizeMax,
    inFlightMax: batch.inFlightMax,
    clock: systemClock,
  });
}

/** @param hasOthers there are further receivers to go to */
function openClient(
  url: UploadUrl,
  settings: UploadSettings,
  { environment }: UploadContext,
  hasOthers: boolean,
): UploadClient {
  const { CREDENTIALS_DIRECTORY: credentialsDirectory } = environment;
  const timeoutMs = settings.networkTimeoutUsec / 1000;
  return makeUploadClient({
    ...settings,
    url,
    proxy: chooseProxy(url, settings.proxy, environment),
    networkTimeoutMs: hasOthers ? Math.min(timeoutMs, FAILOVER_TIMEOUT_MS) : timeoutMs,
    ...(hasOthers ? { connectTimeoutMs: FAILOVER_CONNECT_TIMEOUT_MS } : {}),
    connectionAgeMs: settings.connectionAgeUsec / 1000,
    credentialsDirectory,
    userAgent: `agent/${VERSION}`,
    nowMs: () => Date.now(),
  });
}

/** In their order; one that is named twice counts once. */
function uniqueUrls(urls: readonly string[]): UploadUrl[] {
  const byText = new Map<string, UploadUrl>();
  for (const text of urls) {
    const url = parseUploadUrl(text);
    if (!byText.has(url.text)) byText.set(url.text, url);
  }
  return [...byText.values()];
}

/** There is no place to go on from in an export file. */
function stateFileOf({ stateFile, places }: UploadSettings): string | undefined {
  return places.exportFiles.length === 0 ? stateFile : undefined;
}

function quarantinePath(settings: UploadSettings): string | undefined {
  if (settings.quarantineFile !== undefined) return settings.quarantineFile;
  // What is refused of an export file is still in that file, which may be the quarantine itself.
  const stateFile = stateFileOf(settings);
  return stateFile === undefined ? undefined : join(dirname(stateFile), "quarantine");
}

/** Tells the service manager, a terminal and the log how it goes. */
class Report {
  readonly #pipelines: readonly Pipeline[];
  readonly #context: UploadContext;
  readonly #meters: readonly RateMeter[];
  readonly #timers: ReturnType<typeof setInterval>[] = [];
  #sent = "";
  #sentMs = 0;
  #problems = "";
  readonly #onStop = (): void => {
    this.#context.notify.send("STOPPING=1", `STATUS=Shutting down, ${this.status()}`);
  };

  constructor(pipelines: readonly Pipeline[], context: UploadContext) {
    this.#pipelines = pipelines;
    this.#context = context;
    this.#meters = pipelines.map(() => new RateMeter(performance.now()));
    const { progress, signal } = context;
    this.#timers.push(setInterval(() => this.#look(), CHANGE_INTERVAL_MS));
    if (progress !== undefined) {
      this.#timers.push(setInterval(() => this.#update(progress), PROGRESS_INTERVAL_MS));
    }
    signal.addEventListener("abort", this.#onStop, { once: true });
  }

  status(): string {
    const nowMs = performance.now();
    const texts = this.#pipelines.map(({ progress }, index) => {
      const rate = this.#meters[index]?.update(progress.entries, nowMs) ?? 0;
      return formatProgress(progress, rate, Date.now());
    });
    return texts.join("; ");
  }

  close(): void {
    const { progress, signal, notify } = this.#context;
    for (const timer of this.#timers) clearInterval(timer);
    signal.removeEventListener("abort", this.#onStop);
    if (progress !== undefined) {
      this.#update(progress);
      progress.done();
    }
    const totals = this.#pipelines.map((pipeline) => formatTotals(pipeline.progress));
    for (const line of totals) log.info(line);
    notify.send(`STATUS=${totals.join("; ")}`);
  }

  /** Tells only what is new: it may take a process to do so. */
  #look(): void {
    const nowMs = performance.now();
    const problems = this.#pipelines.map(({ problem }) => problem ?? "").join("\n");
    if (problems === this.#problems && nowMs - this.#sentMs < STATUS_INTERVAL_MS) return;
    this.#problems = problems;
    this.#sentMs = nowMs;
    const text = this.status();
    if (text === this.#sent) return;
    this.#sent = text;
    this.#context.notify.send(`STATUS=${text}`);
  }

  #update(progress: UploadProgress): void {
    let sent = 0;
    let left = 0;
    for (const { progress: pipeline } of this.#pipelines) {
      sent += pipeline.entries;
      left += pipeline.backlog;
    }
    progress.update(sent, left);
  }
}
