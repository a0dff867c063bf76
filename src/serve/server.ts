/** The receiver as a whole: store, network front and active sources, from start to a clean end. */
import { hostname } from "node:os";
import { ExitStatus } from "../errors.ts";
import { log, logOptions } from "../log.ts";
import { systemClock } from "../platform/clock.ts";
import { machineId } from "../platform/host.ts";
import { lockPath } from "../platform/process-lock.ts";
import type { InheritedSocket, Notifier } from "../platform/service.ts";
import { Counters } from "./counters.ts";
import { type Front, type FrontOptions, startFront } from "./front.ts";
import { IngestPipeline } from "./ingest.ts";
import { type ListenAddress, parseListenAddress } from "./listen-address.ts";
import type { ServeSettings } from "./settings.ts";
import { runSources, type SourcesSummary } from "./sources/run-sources.ts";
import { type StoreThread, startStoreThread } from "./store-thread/store-thread.ts";

/** How long requests in flight may take to end after SIGTERM. */
const STOP_GRACE_MS = 5_000;
const STATUS_INTERVAL_MS = 5_000;
/** How often it is looked whether the last raw connection has ended. */
const ACTIVE_CHECK_MS = 500;

/** How far an import of files is; totals so far. */
export interface ImportProgress {
  update(bytesDone: number, entries: number): void;
  done(): void;
}

/** What the process around it provides. */
export interface ServeRuntime {
  /** Aborts when the service shall stop: in-flight requests are finished, files closed. */
  signal: AbortSignal;
  /** Certificates, keys and revocation lists are to be read again. */
  onReload(reload: () => void): void;
  /** `isHealthy` tells whether the watchdog is to be fed. */
  onHealthCheck(isHealthy: () => boolean): void;
  /** READY=, STATUS= and STOPPING= are for `serve` to send; the watchdog is fed elsewhere. */
  notify: Notifier;
  /** Sockets handed over by the service manager. */
  inherited: readonly InheritedSocket[];
  /** Undefined: nobody looks, or there is no file whose size is known. */
  progress: ImportProgress | undefined;
}

/**
 * Resolves with the exit status when all sources have ended or `signal` has aborted.
 * @throws AgentError when it cannot start
 */
export async function serve(
  settings: ServeSettings,
  runtime: ServeRuntime,
): Promise<ExitStatus | 0> {
  const hint = "Give each receiver an --output= of its own";
  const lock = lockPath(settings.output, { purpose: "serve", hint });
  try {
    return await serveLocked(settings, runtime);
  } finally {
    lock.release();
  }
}

async function serveLocked(
  settings: ServeSettings,
  runtime: ServeRuntime,
): Promise<ExitStatus | 0> {
  const failure = new AbortController();
  const { output, splitMode, format, retention, limits } = settings;
  const store = await startStoreThread({
    ...{ output, splitMode, format, retention },
    receiverId: machineId(),
    log: logOptions,
    onFatal(error) {
      log.fatal(error);
      failure.abort();
    },
  });
  runtime.onHealthCheck(() => store.isResponsive);
  const counters = new Counters({
    warn: (line): void => log.warn(line),
    nowMs: (): number => performance.now(),
  });
  const receiver: Receiver = {
    store,
    ingest: new IngestPipeline(store, limits, counters),
    counters,
  };
  const signal = AbortSignal.any([runtime.signal, failure.signal]);
  try {
    const status = await runAll(settings, { ...runtime, signal }, receiver);
    return failure.signal.aborted ? ExitStatus.failure : status;
  } finally {
    await store.close();
    counters.flush();
    const { stored, duplicates } = store.status;
    const { refused } = receiver.ingest;
    const summary = `Finished stored=${stored} duplicates=${duplicates} refused=${refused}`;
    log.info(summary);
    runtime.notify.send(`STATUS=${summary}`);
  }
}

/** What all sources deliver to. */
interface Receiver {
  store: StoreThread;
  ingest: IngestPipeline;
  counters: Counters;
}

async function runAll(
  settings: ServeSettings,
  runtime: ServeRuntime,
  receiver: Receiver,
): Promise<ExitStatus | 0> {
  const { notify, signal } = runtime;
  const front = await startFront(frontOptions(settings, runtime, receiver.ingest));
  runtime.onReload(() => front.reloadCertificates());
  for (const [protocol, addresses] of Object.entries(front.addresses)) {
    for (const address of addresses) log.info(`Listening protocol=${protocol} address=${address}`);
  }
  notify.send("READY=1", `STATUS=${statusText(receiver, front)}`);
  const status = setInterval(() => {
    receiver.counters.flush();
    notify.send(`STATUS=${statusText(receiver, front)}`);
  }, STATUS_INTERVAL_MS);
  const sources = startSources(settings, runtime, receiver);
  try {
    const [summary] = await Promise.all([sources, untilInactive(front, signal)]);
    return summary.exitStatus as ExitStatus | 0;
  } finally {
    clearInterval(status);
    notify.send("STOPPING=1", `STATUS=Shutting down, ${statusText(receiver, front)}`);
    await front.stop(STOP_GRACE_MS);
  }
}

async function startSources(
  settings: ServeSettings,
  runtime: ServeRuntime,
  { store, ingest }: Receiver,
): Promise<SourcesSummary> {
  const { progress, signal } = runtime;
  // In a journal that several write to, the newest entry says nothing of how far one of them came.
  const isShared = settings.splitMode === "none" && !isOnlySource(settings);
  let bytesDone = 0;
  try {
    const summary = await runSources({
      files: settings.files,
      getter: settings.getter,
      urls: settings.urls,
      tls: {
        keyFile: settings.keyFile,
        certificateFile: settings.certificateFile,
        authority: settings.trust.authority,
        crlFiles: settings.trust.crlFiles,
      },
      ingest,
      resume: { cursor: (sender) => (isShared ? undefined : store.lastCursor(sender)) },
      onProgress(bytes): void {
        bytesDone = bytes;
        progress?.update(bytes, store.status.stored);
      },
      signal,
    });
    // The store has told its status before the last entries were stored.
    const stored = summary.reports.reduce((sum, { counts }) => sum + counts.stored, 0);
    progress?.update(bytesDone, stored);
    return summary;
  } finally {
    progress?.done();
  }
}

function isOnlySource(settings: ServeSettings): boolean {
  const { urls, getter, files, listenHttp, listenHttps, listenRaw } = settings;
  const others = [files, listenHttp, listenHttps, listenRaw].flat();
  return urls.length === 1 && others.length === 0 && getter === undefined;
}

function frontOptions(
  settings: ServeSettings,
  runtime: ServeRuntime,
  ingest: IngestPipeline,
): FrontOptions {
  const https = settings.listenHttps.map((text) => parseListenAddress(text));
  const http = settings.listenHttp.map((text) => parseListenAddress(text));
  const raw = settings.listenRaw.map((text) => parseListenAddress(text));
  const { authority } = settings.trust;
  return {
    https,
    http,
    raw: [...raw, ...unnamedSockets([...https, ...http, ...raw], runtime.inherited)],
    certificates: {
      keyFile: settings.keyFile,
      certificateFile: settings.certificateFile,
      trust: settings.trust,
    },
    plaintext: authority !== "all" && https.length > 0 ? "refuse" : "accept",
    limits: settings.limits,
    announcedEncodings: settings.announcedEncodings,
    enrollSocket: settings.enrollSocket,
    ingest,
    unixName: hostname(),
  };
}

/** As stock: an inherited socket that no option names is a raw one. */
function unnamedSockets(
  named: readonly ListenAddress[],
  inherited: readonly InheritedSocket[],
): ListenAddress[] {
  const fds = new Set(
    named.flatMap((address) => (address.kind === "inherited" ? [address.fd] : [])),
  );
  return inherited
    .filter(({ fd }) => !fds.has(fd))
    .map(({ fd }): ListenAddress => ({ kind: "inherited", fd }));
}

/** Resolves on the signal, or when neither a listener nor a connection is left. */
async function untilInactive(front: Front, signal: AbortSignal): Promise<void> {
  while (front.isActive && !signal.aborted) await systemClock.sleep(ACTIVE_CHECK_MS, signal);
}

function sum(counts: ReadonlyMap<string, number>): number {
  return [...counts.values()].reduce((total, count) => total + count, 0);
}

function statusText({ store, ingest }: Receiver, front: Front): string {
  const { stored, duplicates, openFiles, fullReason } = store.status;
  const parts = [
    `${front.connectionCount} connections`,
    `${stored} entries stored`,
    `${duplicates} duplicates`,
    `${ingest.refused} refused`,
    `${sum(front.counts())} requests or connections refused`,
    `${openFiles} files open`,
  ];
  return fullReason === undefined
    ? parts.join(", ")
    : `NO SPACE (${fullReason}), ${parts.join(", ")}`;
}
