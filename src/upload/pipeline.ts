/**
 * From one source to one receiver (or the first that works of several): batches are built while others are on their
 * way, acknowledged in order, and only then is the position saved.
 */
import type { AgentError } from "../errors.ts";
import type { Clock } from "../platform/clock.ts";
import type { Batch } from "./batch.ts";
import { BatchBuilder, type BatchPlan } from "./batch-builder.ts";
import { Courier } from "./courier.ts";
import { Delivery, type DeliveryEnd } from "./delivery.ts";
import type { EntrySource, SourceLosses } from "./delivery-types.ts";
import type { Quarantine } from "./quarantine.ts";
import { RateLimiter } from "./rate-limit.ts";
import { Route } from "./route.ts";
import type { UploadSettings } from "./settings.ts";
import type { StateKeeper } from "./state-keeper.ts";
import type { Sent, Target } from "./target.ts";

/** After the signal, answers to what is on its way are waited for so long. */
const STOP_GRACE_MS = 1000;

export interface PipelineOptions {
  settings: Pick<UploadSettings, "batch" | "retry" | "rateLimit" | "exitOnFailure">;
  source: EntrySource;
  /** In the order of preference; the first that works gets the entries. */
  targets: readonly Target[];
  state: StateKeeper;
  quarantine: Quarantine;
  clock: Clock;
  signal: AbortSignal;
}

/** How far it is. */
export interface PipelineProgress {
  /** Of the receiver at present. */
  url: string;
  /** Entries and bytes (of bodies, before compression) that were acknowledged. */
  entries: number;
  bytes: number;
  /** Entries that wait: to be read, and to be acknowledged. */
  backlog: number;
  /** Wall clock time of the last acknowledged entry; undefined before it. */
  realtimeUsec: number | undefined;
  quarantined: number;
  losses: SourceLosses;
  /** Why nothing goes out at present. */
  problem: string | undefined;
  /** Why the position cannot be saved. */
  stateProblem: string | undefined;
}

/** A batch that is to be acknowledged. */
interface Item {
  batch: Batch;
  sent: Sent | undefined;
  isAccepted: boolean;
}

export class Pipeline {
  readonly #options: PipelineOptions;
  readonly #route: Route;
  /** Aborts when the given signal does, and at the end. */
  readonly #stop = new AbortController();
  readonly #builder: BatchBuilder;
  readonly #courier: Courier;
  readonly #delivery: Delivery;
  /** In order: those in flight, and at most one that waits. */
  readonly #items: Item[] = [];
  #isBuilding = true;
  /** Resolved when an item was added or taken away, there will be no further one, or it is to stop. */
  #changed = Promise.withResolvers<void>();
  #entries = 0;
  #bytes = 0;
  #realtimeUsec: number | undefined;
  /** Once it has ended, when its source is closed. */
  #final: PipelineProgress | undefined;

  constructor(options: PipelineOptions) {
    const { settings, source, targets, quarantine, clock } = options;
    const { signal } = this.#stop;
    const route = new Route({ targets, clock, signal });
    const limiter = new RateLimiter(settings.rateLimit, clock);
    this.#options = options;
    this.#route = route;
    this.#courier = new Courier({ ...settings, route, limiter, clock, signal });
    this.#delivery = new Delivery({ courier: this.#courier, quarantine });
    const { bytesPerSec, entriesPerSec } = settings.rateLimit;
    this.#builder = new BatchBuilder({
      ...{ source, batch: settings.batch, clock, signal },
      plan: (): BatchPlan => {
        const { format, sizeMax } = route.target.plan;
        return {
          format,
          sizeMax: Math.min(sizeMax, bytesPerSec || Infinity),
          entriesMax: entriesPerSec || Infinity,
        };
      },
      isIdle: (): boolean => this.#items.length === 0,
    });
  }

  get progress(): PipelineProgress {
    if (this.#final !== undefined) return this.#final;
    const { source, quarantine, state } = this.#options;
    const { target } = this.#route;
    const waiting = this.#items.reduce((sum, { batch }) => sum + batch.body.entryCount, 0);
    return {
      url: target.url,
      entries: this.#entries,
      bytes: this.#bytes,
      backlog: source.backlog() + waiting,
      realtimeUsec: this.#realtimeUsec,
      quarantined: quarantine.count,
      losses: source.losses,
      problem: this.problem,
      stateProblem: state.problem,
    };
  }

  /** Why nothing goes out at present. */
  get problem(): string | undefined {
    return this.#route.target.outage.reason;
  }

  /** Why the source has ended before all was read. */
  get failure(): AgentError | undefined {
    return this.#options.source.failure;
  }

  /**
   * Resolves when the source has ended and all is acknowledged ("delivered"), or the signal aborts, or the settings
   * allow no further attempt.
   */
  async run(): Promise<DeliveryEnd> {
    const { state, source, signal } = this.#options;
    let closing: ReturnType<typeof setTimeout> | undefined;
    const stop = (): void => {
      this.#stop.abort();
      this.#notify();
      closing = setTimeout(() => this.#route.close(), STOP_GRACE_MS);
    };
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    const building = this.#build();
    try {
      return await this.#sendAll();
    } finally {
      signal.removeEventListener("abort", stop);
      clearTimeout(closing);
      this.#stop.abort();
      this.#notify();
      this.#route.close();
      await state.flush();
      await building;
      this.#final = this.progress;
      source.close();
    }
  }

  async #build(): Promise<void> {
    const { signal } = this.#stop;
    try {
      for (;;) {
        const batch = await this.#builder.next();
        if (batch === undefined) return;
        this.#items.push({ batch, sent: undefined, isAccepted: false });
        this.#notify();
        while (!signal.aborted && this.#items.length > this.#route.target.depth) {
          await this.#changed.promise;
        }
      }
    } finally {
      this.#isBuilding = false;
      this.#notify();
    }
  }

  async #sendAll(): Promise<DeliveryEnd> {
    const { signal } = this.#stop;
    for (;;) {
      const changed = this.#changed.promise;
      await this.#sendMore();
      const [item] = this.#items;
      if (item === undefined) {
        if (!this.#isBuilding) return signal.aborted ? "stopped" : "delivered";
        await changed;
        continue;
      }
      if (item.sent === undefined) return "stopped";
      // More may be sent before this one is answered.
      const isAnswered = await Promise.race([
        item.sent.verdict.then(() => true),
        changed.then(() => false),
      ]);
      if (!isAnswered) continue;
      const end = await this.#settle(item, item.sent);
      if (end !== "delivered") return end;
    }
  }

  /** Sends what may be in flight and is not. */
  async #sendMore(): Promise<void> {
    const { signal } = this.#stop;
    for (let i = 0; i < this.#route.target.depth && !signal.aborted; i++) {
      const item = this.#items[i];
      if (item === undefined) return;
      if (item.sent !== undefined) continue;
      item.sent = await this.#courier.send(item.batch.body);
    }
  }

  /** The first batch was answered: acknowledges it, or does what it takes to bring it there. */
  async #settle(item: Item, sent: Sent): Promise<DeliveryEnd> {
    if (!item.isAccepted) {
      if ((await sent.verdict).kind !== "accepted") await this.#recallOthers(item);
      const end = await this.#delivery.deliver(item.batch.body, sent);
      if (end !== "delivered") return end;
    }
    await this.#acknowledge(item.batch, sent);
    return "delivered";
  }

  /** What was sent behind a batch that failed is sent once more after it, unless it was accepted. */
  async #recallOthers(failed: Item): Promise<void> {
    for (const item of this.#items) {
      if (item === failed || item.sent === undefined) continue;
      item.isAccepted = (await item.sent.verdict).kind === "accepted";
      if (!item.isAccepted) item.sent = undefined;
    }
  }

  async #acknowledge(batch: Batch, sent: Sent): Promise<void> {
    const { state } = this.#options;
    const { target } = this.#route;
    this.#items.shift();
    this.#entries += batch.body.entryCount;
    this.#bytes += batch.body.sizeBytes;
    this.#realtimeUsec = batch.realtimeUsec;
    if (batch.position !== undefined) state.note(batch.position);
    batch.release();
    this.#notify();
    // Where a batch that is sent twice is stored twice, only one may ever be in doubt.
    if (!sent.target.isOurs || !target.isOurs) await state.flush();
  }

  #notify(): void {
    const { resolve } = this.#changed;
    this.#changed = Promise.withResolvers<void>();
    resolve();
  }
}
