/** The receiver as a whole: store, network front and active sources, from start to a clean end. */
import { hostname } from "node:os";
import type { ExitStatus } from "../errors.ts";
import { log } from "../log.ts";
import { machineId } from "../platform/host.ts";
import type { InheritedSocket, Notifier } from "../platform/service.ts";
import { Counters } from "./counters.ts";
import { type Front, type FrontOptions, startFront } from "./front.ts";
import { IngestPipeline } from "./ingest.ts";
import { type ListenAddress, parseListenAddress } from "./listen-address.ts";
import { lockOutput } from "./output-lock.ts";
import type { ServeSettings } from "./settings.ts";
import { runSources, type SourcesSummary } from "./sources/run-sources.ts";
import { Store } from "./store/store.ts";

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
  /** READY=, STATUS= and STOPPING= are for `serve` to send; the watchdog is fed elsewhere. */
  notify: Notifier;
  /** Sockets handed over by the service manager. */
  inherited: readonly InheritedSocket[];
  /** Undefined: nobody looks, or there is no file whose size is known. */
  progress: ImportProgress | undefined;
}

/** Resolves with the exit status when all sources have ended or `signal` has aborted. */
export async function serve(
  settings: ServeSettings,
  runtime: ServeRuntime,
): Promise<ExitStatus | 0> {
  const lock = lockOutput(settings.output);
  const counters = new Counters({ warn: (line) => log.warn(line), nowMs: () => performance.now() });
  const store = new Store({
    output: settings.output,
    splitMode: settings.splitMode,
    format: settings.format,
    retention: settings.retention,
    receiverId: machineId(),
  });
  const pipeline = new IngestPipeline(store, settings.limits, counters);
  try {
    await store.start();
    return await runAll(settings, runtime, store, pipeline);
  } finally {
    await store.close();
    counters.flush();
    lock.release();
    const { stored, duplicates, refused } = pipeline.totals;
    log.info(`Finished stored=${stored} duplicates=${duplicates} refused=${refused}`);
  }
}

async function runAll(
  settings: ServeSettings,
  runtime: ServeRuntime,
  store: Store,
  pipeline: IngestPipeline,
): Promise<ExitStatus | 0> {
  const { notify, signal } = runtime;
  const front = await startFront(frontOptions(settings, runtime, pipeline));
  runtime.onReload(() => {
    if (front.reloadCertificates()) log.info("Certificates were read again");
  });
  for (const [protocol, addresses] of Object.entries(front.addresses)) {
    for (const address of addresses) log.info(`Listening protocol=${protocol} address=${address}`);
  }
  notify.send("READY=1", `STATUS=${statusText(store, pipeline, front)}`);
  const status = setInterval(() => {
    pipeline.counters.flush();
    notify.send(`STATUS=${statusText(store, pipeline, front)}`);
  }, STATUS_INTERVAL_MS);
  const sources = startSources(settings, runtime, store, pipeline);
  try {
    const [summary] = await Promise.all([sources, untilInactive(front, signal)]);
    return summary.exitStatus as ExitStatus | 0;
  } finally {
    clearInterval(status);
    notify.send("STOPPING=1", `STATUS=Shutting down, ${statusText(store, pipeline, front)}`);
    await front.stop(STOP_GRACE_MS);
  }
}

function startSources(
  settings: ServeSettings,
  runtime: ServeRuntime,
  store: Store,
  pipeline: IngestPipeline,
): Promise<SourcesSummary> {
  const { progress, signal } = runtime;
  const sources = runSources({
    files: settings.files,
    getter: settings.getter,
    urls: settings.urls,
    tls: {
      keyFile: settings.keyFile,
      certificateFile: settings.certificateFile,
      authority: settings.trust.authority,
    },
    ingest: pipeline,
    resume: { cursor: (sender) => store.lastCursor(sender) },
    onProgress: (bytesDone) => progress?.update(bytesDone, pipeline.totals.stored),
    signal,
  });
  return sources.finally(() => progress?.done());
}

function frontOptions(
  settings: ServeSettings,
  runtime: ServeRuntime,
  ingest: IngestPipeline,
): FrontOptions {
  const https = settings.listenHttps.map((text) => parseListenAddress(text));
  const http = settings.listenHttp.map((text) => parseListenAddress(text));
  const raw = settings.listenRaw.map((text) => parseListenAddress(text));
  const named = new Set(
    [...https, ...http, ...raw].flatMap((address) =>
      address.kind === "inherited" ? [address.fd] : [],
    ),
  );
  // As stock: an inherited socket that no option names is a raw one.
  const unnamed = runtime.inherited
    .filter(({ fd }) => !named.has(fd))
    .map(({ fd }): ListenAddress => ({ kind: "inherited", fd }));
  return {
    https,
    http,
    raw: [...raw, ...unnamed],
    certificates: {
      keyFile: settings.keyFile,
      certificateFile: settings.certificateFile,
      trust: settings.trust,
    },
    plaintext: settings.trust.authority !== "all" && https.length > 0 ? "refuse" : "accept",
    limits: settings.limits,
    announcedEncodings: settings.announcedEncodings,
    ingest,
    unixName: hostname(),
  };
}

/** Resolves on the signal, or when neither a listener nor a connection is left. */
async function untilInactive(front: Front, signal: AbortSignal): Promise<void> {
  while (front.isActive && !signal.aborted) {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(done, ACTIVE_CHECK_MS);
      function done(): void {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        resolve();
      }
      signal.addEventListener("abort", done);
    });
  }
}

function statusText(store: Store, pipeline: IngestPipeline, front: Front): string {
  const { stored, duplicates, refused } = pipeline.totals;
  const parts = [
    `${front.connectionCount} connections`,
    `${stored} entries stored`,
    `${duplicates} duplicates`,
    `${refused} refused`,
    `${store.openFiles} files open`,
  ];
  if (store.fullReason !== undefined) parts.unshift(`NO SPACE: ${store.fullReason}`);
  return parts.join(", ");
}
