/** A pipeline with everything around it in memory or in a temporary folder. */
import { join } from "node:path";
import { Compressor } from "../../src/upload/compressor.ts";
import type { UploadClient } from "../../src/upload/delivery-types.ts";
import { Pipeline } from "../../src/upload/pipeline.ts";
import { Quarantine } from "../../src/upload/quarantine.ts";
import type { EncodingSetting, RetrySettings } from "../../src/upload/settings.ts";
import { StateKeeper } from "../../src/upload/state-keeper.ts";
import { Target } from "../../src/upload/target.ts";
import type { ListSource } from "./list-source.ts";
import { ScaledClock } from "./scaled-clock.ts";
import { TempDir } from "./temp-dir.ts";

export interface RigOptions {
  source: ListSource;
  clients: readonly UploadClient[];
  sizeMax?: number;
  delayMs?: number;
  retry?: Partial<RetrySettings>;
  rateLimit?: { bytesPerSec: number; entriesPerSec: number };
  exitOnFailure?: boolean;
  compression?: readonly EncodingSetting[];
  forceCompression?: boolean;
  /** Of the receivers' URLs; default: "http". */
  scheme?: "http" | "https";
  /** How much faster time goes. */
  speed?: number;
}

export class PipelineRig implements Disposable {
  readonly dir = new TempDir();
  readonly stop = new AbortController();
  readonly clock: ScaledClock;
  readonly targets: readonly Target[];
  readonly pipeline: Pipeline;
  readonly quarantine: Quarantine;

  constructor(options: RigOptions) {
    const { source, clients, compression = [], sizeMax = 64 * 1024, delayMs = 1000 } = options;
    this.clock = new ScaledClock(options.speed ?? 100);
    const batch = { sizeMax, delayMs, inFlightMax: 2 };
    this.targets = clients.map((client, index) => {
      return new Target({
        url: `${options.scheme ?? "http"}://receiver-${index}.example.net:19532/upload`,
        client,
        compressor: new Compressor(compression),
        forcedEncoding: options.forceCompression === true ? compression[0] : undefined,
        sizeMax,
        inFlightMax: 2,
        clock: this.clock,
      });
    });
    this.quarantine = new Quarantine({ path: this.quarantinePath, sizeMax: 1024 * 1024 });
    this.pipeline = new Pipeline({
      settings: {
        batch,
        retry: { attemptsMax: Infinity, durationUsecMax: Infinity, ...options.retry },
        rateLimit: options.rateLimit ?? { bytesPerSec: 0, entriesPerSec: 0 },
        exitOnFailure: options.exitOnFailure ?? false,
      },
      source,
      targets: this.targets,
      state: new StateKeeper({ path: this.statePath, target: undefined }),
      quarantine: this.quarantine,
      clock: this.clock,
      signal: this.stop.signal,
    });
  }

  get statePath(): string {
    return join(this.dir.path, "state");
  }

  get quarantinePath(): string {
    return join(this.dir.path, "quarantine");
  }

  [Symbol.dispose](): void {
    this.stop.abort();
    this.dir[Symbol.dispose]();
  }
}
