/** Entries of a source → batches, as large as they should be and never late. */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Clock } from "../platform/clock.ts";
import type { Batch, BodyFormat } from "./batch.ts";
import { BodyWriter } from "./body-writer.ts";
import type { EntrySource } from "./delivery-types.ts";
import type { BatchSettings } from "./settings.ts";

/**
 * When nothing is on its way, a batch waits so long for more entries. Long enough that 10,000 entries a second make
 * batches of hundreds, short enough that a lone one is not late.
 */
const LINGER_MS = 50;
/** Reading goes on so long, or so far, before sockets and signals get their turn. */
const BURST_MS = 5;
const BURST_BYTES = 1024 * 1024;
/** Entries between two looks at the clock. */
const ENTRIES_PER_LOOK = 32;

/** What the next batch should be like. */
export interface BatchPlan {
  format: BodyFormat;
  /** The batch is closed when its body has so many bytes, or so many entries. */
  sizeMax: number;
  entriesMax: number;
}

export interface BatchBuilderOptions {
  source: EntrySource;
  batch: BatchSettings;
  clock: Clock;
  /** Asked at the start of each batch. */
  plan(): BatchPlan;
  /** Whether nothing is on its way to the receiver: then there is no reason to wait for a full batch. */
  isIdle(): boolean;
  signal: AbortSignal;
}

export class BatchBuilder {
  readonly #options: BatchBuilderOptions;
  readonly #writer: BodyWriter;
  #realtimeUsec = 0;

  constructor(options: BatchBuilderOptions) {
    const { sizeMax, inFlightMax } = options.batch;
    this.#options = options;
    this.#writer = new BodyWriter(sizeMax, inFlightMax + 1);
  }

  /** Resolves with the next batch; undefined when the source has ended, or the signal aborts. */
  async next(): Promise<Batch | undefined> {
    const { source, signal } = this.#options;
    while (!signal.aborted) {
      const plan = this.#options.plan();
      this.#writer.begin(plan.format);
      if (await this.#fill(plan)) return this.#finish();
      if (source.isEnded) return undefined;
      await source.wait(signal);
    }
    return undefined;
  }

  /** Resolves with whether there is anything in the body, and it is to be sent. */
  async #fill(plan: BatchPlan): Promise<boolean> {
    const { source, batch, clock, isIdle, signal } = this.#options;
    const writer = this.#writer;
    let startMs = clock.now();
    while (!signal.aborted) {
      const result = this.#readBurst(plan);
      if (result === "full") return true;
      if (writer.entryCount === 0) {
        if (result === "dry") return false;
        await nextTurn();
        // Of the first entry.
        startMs = clock.now();
        continue;
      }
      const ageMs = clock.now() - startMs;
      if (result === "more") {
        if (ageMs >= batch.delayMs) return true;
        await nextTurn();
        continue;
      }
      if (source.isEnded) return true;
      const lingerMs = Math.min(LINGER_MS, batch.delayMs);
      if (ageMs >= batch.delayMs || (ageMs >= lingerMs && isIdle())) return true;
      // Not woken by each entry: what comes meanwhile is read at once.
      await clock.sleep(Math.max(1, Math.min(lingerMs, batch.delayMs - ageMs)), signal);
    }
    return false;
  }

  #readBurst({ sizeMax, entriesMax }: BatchPlan): "full" | "more" | "dry" {
    const { source } = this.#options;
    const writer = this.#writer;
    const endMs = performance.now() + BURST_MS;
    const endBytes = writer.sizeBytes + BURST_BYTES;
    for (let i = 1; ; i++) {
      const entry = source.next();
      if (entry === undefined) return source.isPausing ? "more" : "dry";
      writer.add(entry);
      this.#realtimeUsec = entry.realtimeUsec;
      const size = writer.sizeBytes;
      if (size >= sizeMax || writer.entryCount >= entriesMax) return "full";
      if (size >= endBytes) return "more";
      if (i % ENTRIES_PER_LOOK === 0 && performance.now() >= endMs) return "more";
    }
  }

  #finish(): Batch {
    const body = this.#writer.finish();
    return {
      body,
      position: this.#options.source.position(),
      realtimeUsec: this.#realtimeUsec,
      release: (): void => this.#writer.release(body),
    };
  }
}
