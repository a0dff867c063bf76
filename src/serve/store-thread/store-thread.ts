/** The network thread's end of the store thread: sinks whose entries are stored over there. */
import { Worker } from "node:worker_threads";
import { AgentError } from "../../errors.ts";
import { EntryBatch } from "../entry-batch.ts";
import type { Sink, SinkOpener } from "../ingest-types.ts";
import {
  BATCH_SIZE,
  type FromStore,
  fromPlainError,
  MESSAGE_SIZE,
  SMALL_BATCH_SIZE,
  type StoreStatus,
  type StoreThreadSettings,
  type ToStore,
  UNDER_WAY_CEILING,
  UNDER_WAY_MAX,
} from "./protocol.ts";
import { RemoteSink } from "./remote-sink.ts";

/** The store reports its status every second. */
const SILENCE_MAX_MS = 120_000;

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
  /** Bytes handed over and not taken yet. */
  #underWay = 0;
  #waiters: (() => void)[] = [];
  readonly #sinks = new Map<number, RemoteSink>();
  readonly #questions = new Map<number, (cursor: string | undefined) => void>();
  readonly #start = Promise.withResolvers<void>();
  readonly #stopped = Promise.withResolvers<void>();
  readonly #onFatal: (error: Error) => void;
  #phase: "starting" | "running" | "stopping" = "starting";
  #failure: Error | undefined;
  #heardMs = performance.now();
  #lastId = 0;

  constructor(worker: Worker, onFatal: (error: Error) => void) {
    this.#worker = worker;
    this.#onFatal = onFatal;
    this.started = this.#start.promise;
    worker.on("message", (message: FromStore) => this.#receive(message));
    worker.on("error", (error: Error) => {
      this.#fail(error);
      this.#stopped.resolve();
    });
    worker.on("exit", () => {
      if (this.#phase !== "stopping") this.#fail(new Error("The store thread has ended"));
      this.#stopped.resolve();
    });
  }

  /** Whether the store has said something lately; if not, its disk hangs. */
  get isResponsive(): boolean {
    return this.#phase !== "running" || performance.now() - this.#heardMs < SILENCE_MAX_MS;
  }

  openSink(sender: string): Sink {
    const id = ++this.#lastId;
    const sink = new RemoteSink(id, this);
    if (this.#failure !== undefined) {
      sink.failed(this.#failure);
      return sink;
    }
    this.#sinks.set(id, sink);
    this.send({ type: "open", sink: id, sender });
    return sink;
  }

  /** Cursor of the newest stored entry of a sender; undefined when there is none, or none can be found. */
  async lastCursor(sender: string): Promise<string | undefined> {
    if (this.#failure !== undefined) return undefined;
    const question = ++this.#lastId;
    return await new Promise((resolve) => {
      this.#questions.set(question, resolve);
      this.send({ type: "cursor", question, sender });
    });
  }

  /** Completes and closes all files and ends the thread. */
  async close(): Promise<void> {
    this.#phase = "stopping";
    this.send({ type: "stop" });
    await this.#stopped.promise;
    await this.#worker.terminate();
  }

  send(message: ToStore): void {
    this.#worker.postMessage(message);
  }

  /**
   * An empty batch; `size` is the least it must hold.
   * @throws AgentError E_BUSY when too much is under way
   */
  newBatch(size: number): EntryBatch {
    this.#requireRoom(size);
    return new EntryBatch(this.#newBuffer(size));
  }

  /** @returns the bytes that are under way now because of it */
  sendBatch(sink: number, batch: EntryBatch): number {
    const { size } = batch;
    let { buffer } = batch;
    if (size <= SMALL_BATCH_SIZE) {
      this.#keep(buffer);
      buffer = buffer.slice(0, size);
    }
    return this.#sendBuffer("entries", sink, buffer, size);
  }

  /**
   * Sends a copy of a block of the batch format.
   * @returns the bytes that are under way now because of it
   * @throws AgentError E_BUSY when too much is under way
   */
  sendBlock(sink: number, block: Uint8Array): number {
    const size = block.length;
    this.#requireRoom(size);
    const buffer = size <= SMALL_BATCH_SIZE ? new ArrayBuffer(size) : this.#newBuffer(size);
    new Uint8Array(buffer).set(block);
    return this.#sendBuffer("block", sink, buffer, size);
  }

  #requireRoom(size: number): void {
    if (this.#underWay === 0 || this.#underWay + size <= UNDER_WAY_CEILING) return;
    throw new AgentError(
      "E_BUSY",
      `Cannot take more entries: ${this.#underWay} bytes wait to be stored, ${UNDER_WAY_CEILING} is the most`,
    );
  }

  #newBuffer(size: number): ArrayBuffer {
    if (size > BATCH_SIZE) return new ArrayBuffer(size);
    return this.#idle.pop() ?? new ArrayBuffer(BATCH_SIZE);
  }

  #sendBuffer(type: "entries" | "block", sink: number, buffer: ArrayBuffer, size: number): number {
    const bytes = MESSAGE_SIZE + buffer.byteLength;
    this.#underWay += bytes;
    this.#worker.postMessage({ type, sink, buffer, size } satisfies ToStore, [buffer]);
    return bytes;
  }

  get isCrowded(): boolean {
    return this.#underWay >= UNDER_WAY_MAX;
  }

  /** Resolves when the store has taken a batch. */
  nextTaken(): Promise<void> {
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  forget(sink: number): void {
    this.#sinks.delete(sink);
  }

  #receive(message: FromStore): void {
    this.#heardMs = performance.now();
    switch (message.type) {
      case "started":
        this.#phase = "running";
        this.#start.resolve();
        return;
      case "fatal":
        this.#fail(fromPlainError(message.error));
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
    const bytes = MESSAGE_SIZE + buffer.byteLength;
    this.#underWay -= bytes;
    this.#sinks.get(sink)?.taken(bytes);
    this.#keep(buffer);
    this.#wakeWaiters();
  }

  #keep(buffer: ArrayBuffer): void {
    const isUsual = buffer.byteLength === BATCH_SIZE;
    if (isUsual && this.#idle.length * BATCH_SIZE < UNDER_WAY_MAX) this.#idle.push(buffer);
  }

  #wakeWaiters(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }

  /** The store takes nothing more. If the thread lives, it can still close its files. */
  #fail(error: Error): void {
    if (this.#failure !== undefined) return;
    const message = "Cannot store entries: the store failed";
    this.#failure = new AgentError("E_IO", message, { cause: error });
    for (const sink of this.#sinks.values()) sink.failed(this.#failure);
    for (const answer of this.#questions.values()) answer(undefined);
    this.#questions.clear();
    this.#wakeWaiters();
    if (this.#phase === "starting") this.#start.reject(error);
    else this.#onFatal(error);
  }
}
