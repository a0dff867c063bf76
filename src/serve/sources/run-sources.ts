/** Runs every active source of `agent serve` side by side and tells how each ended. */
import { log } from "../../log.ts";
import { type Clock, systemClock } from "../../platform/clock.ts";
import type { Ingest } from "../ingest-types.ts";
import { importFile, importSize } from "./file-source.ts";
import { parseGateways } from "./gateway.ts";
import type { GatewayTls } from "./gateway-tls.ts";
import { runGetter, splitCommand } from "./getter-source.ts";
import { describeError, type SourceReport } from "./source.ts";
import { followGateway, type Resume } from "./url-source.ts";

export interface SourcesOptions {
  /** Export files; "-" is standard input. */
  files: readonly string[];
  /** A command line, not for a shell. */
  getter: string | undefined;
  /** Gateways to follow. */
  urls: readonly string[];
  tls: GatewayTls;
  ingest: Ingest;
  resume: Resume;
  /**
   * Called with sums over all files as they are read.
   * @param bytesTotal undefined when one of them has no known size.
   */
  onProgress?(bytesDone: number, bytesTotal: number | undefined): void;
  /** Instead of the system's. */
  clock?: Clock;
  signal: AbortSignal;
}

export interface SourcesSummary {
  reports: SourceReport[];
  /** What the process ends with on their account: 0, or the exit status of the first failure. */
  exitStatus: number;
}

/**
 * Returns when the files and the getter have ended, which is never before the signal if there are
 * gateways. One source's failure is logged and does not stop the others.
 * @throws AgentError E_USAGE for a URL or command that cannot be understood, before anything runs.
 */
export async function runSources(options: SourcesOptions): Promise<SourcesSummary> {
  const gateways = parseGateways(options.urls);
  const command = options.getter === undefined ? undefined : splitCommand(options.getter);
  const { ingest, signal, clock = systemClock } = options;
  const running = [
    runFiles(options),
    ...(command === undefined ? [] : [told(runGetter(command, { ingest, signal }))]),
    ...gateways.map((gateway) => followGateway(gateway, { ...options, clock })),
  ];
  const reports = (await Promise.all(running)).flat();
  const failure = reports.find(({ outcome }) => outcome === "failed")?.error;
  return { reports, exitStatus: failure?.exitStatus ?? 0 };
}

/**
 * Regular files one after the other, which keeps memory at one buffer; what may have to wait for a
 * writer runs beside them.
 */
async function runFiles(options: SourcesOptions): Promise<SourceReport[]> {
  const { ingest, signal, onProgress, files } = options;
  const sizes = await Promise.all(files.map(importSize));
  const bytesTotal = sizes.includes(undefined)
    ? undefined
    : sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0);
  let bytesDone = 0;
  const onBytes = (byteCount: number): void => {
    bytesDone += byteCount;
    onProgress?.(bytesDone, bytesTotal);
  };
  const start = (path: string): Promise<SourceReport> =>
    told(importFile(path, { ingest, onBytes, signal }));
  let last: Promise<unknown> = Promise.resolve();
  const reports = files.map((path, index) => {
    if (sizes[index] === undefined) return start(path);
    const report = last.then(() => start(path));
    last = report;
    return report;
  });
  return Promise.all(reports);
}

/** Logs how a finite source ended. */
async function told(source: Promise<SourceReport>): Promise<SourceReport> {
  const report = await source;
  const { name, outcome, counts, error } = report;
  const refusals = [...counts.refused].map(([reason, count]) => ` refused.${reason}=${count}`);
  const tally = `stored=${counts.stored} duplicates=${counts.duplicates}${refusals.join("")}`;
  if (error !== undefined) log.error(`${describeError(error)} ${tally}`);
  else if (outcome === "stopped") log.warn(`Stopped before the end of "${name}"`);
  else if (counts.refused.size > 0) log.warn(`Imported "${name}" without some entries ${tally}`);
  else log.info(`Imported "${name}" ${tally}`);
  return report;
}
