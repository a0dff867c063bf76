/**
 * The store thread: decodes, parses and stores what the network thread hands over. A thread of its own, so
 * that a slow disk never keeps connections waiting for an answer that needs no disk, and so that
 * the two halves of the work share two cores.
 */
import { parentPort, workerData } from "node:worker_threads";
import { configureLog, log } from "../../log.ts";
import { Counters } from "../counters.ts";
import { IngestPipeline } from "../ingest.ts";
import type { IngestStream } from "../ingest-types.ts";
import { Store } from "../store/store.ts";
import {
  BLOCK_SIZE,
  type FromStore,
  type StoreThreadSettings,
  type ToStore,
  toPlainError,
} from "./protocol.ts";

const STATUS_INTERVAL_MS = 1_000;

/** A stream and the work that waits in order behind an asynchronous step of it. */
interface OpenStream {
  ingest: IngestStream | undefined;
  /** Set while a step has not settled. */
  busy: Promise<void> | undefined;
}

class StoreThread {
  readonly #blocks: Uint8Array;
  readonly #store: Store;
  readonly #pipeline: IngestPipeline;
  readonly #streams = new Map<number, OpenStream>();
  readonly #send: (message: FromStore) => void;
  #status: NodeJS.Timeout | undefined;

  constructor(settings: StoreThreadSettings, send: (message: FromStore) => void) {
    this.#send = send;
    this.#blocks = new Uint8Array(settings.memory);
    const counters = new Counters({
      warn: (line): void => log.warn(line),
      nowMs: (): number => performance.now(),
    });
    this.#store = new Store(settings);
    this.#pipeline = new IngestPipeline(this.#store, settings.limits, counters);
  }

  async start(): Promise<void> {
    await this.#store.start();
    this.#status = setInterval(() => this.#sendStatus(), STATUS_INTERVAL_MS);
    this.#send({ type: "started" });
  }

  receive(message: ToStore): void {
    switch (message.type) {
      case "open":
        this.#open(message.stream, message.sender, message.encoding);
        return;
      case "bytes":
        this.#inOrder(message.stream, (stream) => this.#push(stream, message));
        return;
      case "end":
        this.#inOrder(message.stream, (stream) => this.#end(stream, message.stream));
        return;
      case "abort":
        this.#abort(message.stream);
        return;
      case "cursor": {
        const { question, sender } = message;
        this.#send({ type: "cursor", question, cursor: this.#store.lastCursor(sender) });
        return;
      }
      case "close":
        void this.#close();
    }
  }

  #open(id: number, sender: string, encoding: string | undefined): void {
    const stream: OpenStream = { ingest: undefined, busy: undefined };
    this.#streams.set(id, stream);
    try {
      stream.ingest = this.#pipeline.open(sender, encoding);
    } catch (error) {
      this.#fail(id, stream, error);
    }
  }

  /** Runs a step at once when nothing of its stream is under way, else behind that. */
  #inOrder(id: number, step: (stream: OpenStream) => Promise<void> | undefined): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    if (stream.busy !== undefined) {
      this.#follow(
        id,
        stream,
        stream.busy.then(() => step(stream)),
      );
      return;
    }
    try {
      const pending = step(stream);
      if (pending !== undefined) this.#follow(id, stream, pending);
    } catch (error) {
      this.#fail(id, stream, error);
    }
  }

  #follow(id: number, stream: OpenStream, pending: Promise<void>): void {
    const settled = pending
      .catch((error: unknown) => this.#fail(id, stream, error))
      .then(() => {
        if (stream.busy === settled) stream.busy = undefined;
      });
    stream.busy = settled;
  }

  #push(
    stream: OpenStream,
    { stream: id, block, size }: { stream: number; block: number; size: number },
  ): Promise<void> | undefined {
    const taken = (): void => this.#send({ type: "taken", stream: id, block });
    const start = block * BLOCK_SIZE;
    let pending: Promise<void> | undefined;
    try {
      pending = stream.ingest?.push(this.#blocks.subarray(start, start + size));
    } finally {
      if (pending === undefined) taken();
    }
    return pending?.finally(taken);
  }

  async #end(stream: OpenStream, id: number): Promise<void> {
    if (stream.ingest === undefined) return;
    const { counts, trailingBytes } = await stream.ingest.end();
    this.#streams.delete(id);
    const { stored, duplicates, refused } = counts;
    this.#send({
      type: "ended",
      stream: id,
      stored,
      duplicates,
      refused: [...refused],
      trailingBytes,
    });
  }

  #abort(id: number): void {
    this.#inOrder(id, (stream) => {
      stream.ingest?.abort();
      stream.ingest = undefined;
      this.#streams.delete(id);
      return undefined;
    });
  }

  /** What still comes of the stream is passed over; its blocks are given back. */
  #fail(id: number, stream: OpenStream, error: unknown): void {
    stream.ingest?.abort();
    stream.ingest = undefined;
    const plain = toPlainError(error);
    if (plain.code === undefined) this.#send({ type: "fatal", error: plain });
    else this.#send({ type: "failed", stream: id, error: plain });
  }

  #sendStatus(): void {
    this.#pipeline.counters.flush();
    const { stored, duplicates, refused } = this.#pipeline.totals;
    const { openFiles, fullReason } = this.#store;
    this.#send({ type: "status", status: { stored, duplicates, refused, openFiles, fullReason } });
  }

  async #close(): Promise<void> {
    clearInterval(this.#status);
    for (const [id, stream] of this.#streams) {
      await stream.busy;
      this.#abort(id);
    }
    await this.#store.close();
    this.#sendStatus();
    this.#send({ type: "closed" });
  }
}

function run(): void {
  const port = parentPort;
  if (port === null) throw new Error("The store thread was started without a parent");
  const settings = workerData as StoreThreadSettings;
  configureLog(settings.log);
  const send = (message: FromStore): void => port.postMessage(message);
  try {
    const thread = new StoreThread(settings, send);
    port.on("message", (message: ToStore) => {
      try {
        thread.receive(message);
      } catch (error) {
        send({ type: "fatal", error: toPlainError(error) });
      }
    });
    thread.start().catch((error: unknown) => send({ type: "fatal", error: toPlainError(error) }));
  } catch (error) {
    send({ type: "fatal", error: toPlainError(error) });
  }
}

run();
