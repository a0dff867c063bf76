/** The network thread's end of the store thread: sinks whose entries are stored over there. */
import { Worker } from "node:worker_threads";
import { AgentError } from "../../errors.ts";
import type { Sink, SinkOpener } from "../ingest-types.ts";
import { EntryBatch } from "./entry-batch.ts";
import {
  BATCH_SIZE,
  BATCHES_MAX,
  type FromStore,
  fromPlainError,
  type StoreStatus,
  type StoreThreadSettings,
  type ToStore,
} from "./protocol.ts";
import { RemoteSink } from "./remote-sink.ts";

export interface StoreThreadOptions extends StoreThreadSettings {
  /** The store cannot go on; what is not acknowledged will not be. */
  onFatal(error: Error): void;
}

/** Starts the thread and resolves when the store is open. @throws AgentError when it cannot be opened */
export async function startStoreThread(options: StoreThreadOptions): Promise<StoreThread> {
  const { onFatal, ...settings } = options;
  const worker = new Worker(workerUrl(), { workerData: settings satisfies StoreThreadSettings });
  const thread = new StoreThread(worker, onFatal);
  try {
    await thread.started;
  } catch (error) {
    await worker.terminate();
    throw error;
  }
  return thread;
}

/**
 * In a compiled binary all modules of the main thread are one file at the root, and the worker is a second
 * one at its place below `src` (scripts/build.ts names both).
 */
function workerUrl(): URL {
  const isCompiled = import.meta.url.startsWith("file:///$bunfs/");
  const path = isCompiled ? "./serve/store-thread/store-worker.ts" : "./store-worker.ts";
  return new URL(path, import.meta.url);
}

export class StoreThread implements SinkOpener {
  /** As of a second ago. */
  status: StoreStatus = { stored: 0, duplicates: 0, openFiles: 0, fullReason: undefined };
  readonly started: Promise<void>;
  readonly #worker: Worker;
  /** Buffers to be filled again. */
  readonly #idle: ArrayBuffer[] = [];
  /** Batches handed over and not come back. */
  #underWay = 0;
  #waiters: (() => void)[] = [];
  readonly #sinks = new Map<number, RemoteSink>();
  readonly #questions = new Map<number, (cursor: string | undefined) => void>();
  readonly #start = Promise.withResolvers<void>();
  readonly #stopped = Promise.withResolvers<void>();
  readonly #onFatal: (error: Error) => void;
  #isStarted = false;
  #lastId = 0;

  constructor(worker: Worker, onFatal: (error: Error) => void) {
    this.#worker = worker;
    this.#onFatal = onFatal;
    this.started = this.#start.promise;
    worker.on("message", (message: FromStore) => this.#receive(message));
    worker.on("error", (error: Error) => this.#die(error));
  }

  openSink(sender: string): Sink {
    const id = ++this.#lastId;
    const sink = new RemoteSink(id, this);
    this.#sinks.set(id, sink);
    this.send({ type: "open", sink: id, sender });
    return sink;
  }

  /** Cursor of the newest stored entry of a sender. */
  lastCursor(sender: string): Promise<string | undefined> {
    const question = ++this.#lastId;
    return new Promise((resolve) => {
      this.#questions.set(question, resolve);
      this.send({ type: "cursor", question, sender });
    });
  }

  /** Completes and closes all files and ends the thread. */
  async close(): Promise<void> {
    this.send({ type: "stop" });
    await this.#stopped.promise;
    await this.#worker.terminate();
  }

  send(message: ToStore): void {
    this.#worker.postMessage(message);
  }

  /** An empty batch; `size` is the least it must hold. */
  newBatch(size: number): EntryBatch {
    if (size > BATCH_SIZE) return new EntryBatch(new ArrayBuffer(size));
    return new EntryBatch(this.#idle.pop() ?? new ArrayBuffer(BATCH_SIZE));
  }

  sendBatch(sink: number, { buffer, size }: EntryBatch): void {
    this.#underWay++;
    this.#worker.postMessage({ type: "entries", sink, buffer, size } satisfies ToStore, [buffer]);
  }

  get isCrowded(): boolean {
    return this.#underWay >= BATCHES_MAX;
  }

  /** Resolves when the store has taken a batch. */
  nextTaken(): Promise<void> {
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  forget(sink: number): void {
    this.#sinks.delete(sink);
  }

  #receive(message: FromStore): void {
    switch (message.type) {
      case "started":
        this.#isStarted = true;
        this.#start.resolve();
        return;
      case "fatal":
        this.#die(fromPlainError(message.error));
        return;
      case "taken":
        this.#takeBack(message.sink, message.buffer);
        return;
      case "committed":
        this.#sinks.get(message.sink)?.committed(message.stored, message.duplicates);
        return;
      case "failed":
        this.#sinks.get(message.sink)?.failed(fromPlainError(message.error));
        return;
      case "cursor":
        this.#questions.get(message.question)?.(message.cursor);
        this.#questions.delete(message.question);
        return;
      case "status":
        this.status = message.status;
        return;
      case "stopped":
        this.#stopped.resolve();
    }
  }

  #takeBack(sink: number, buffer: ArrayBuffer): void {
    this.#underWay--;
    if (buffer.byteLength === BATCH_SIZE && this.#idle.length < BATCHES_MAX)
      this.#idle.push(buffer);
    this.#sinks.get(sink)?.taken();
    this.#wakeWaiters();
  }

  #wakeWaiters(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }

  #die(error: Error): void {
    this.#stopped.resolve();
    for (const sink of this.#sinks.values()) {
      sink.failed(
        new AgentError("E_IO", "Cannot store entries: the store failed", { cause: error }),
      );
    }
    this.#wakeWaiters();
    if (this.#isStarted) this.#onFatal(error);
    else this.#start.reject(error);
  }
}
