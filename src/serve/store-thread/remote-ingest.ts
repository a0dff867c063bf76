/** The network thread's end of the store thread: an Ingest whose work is done over there. */
import { Worker } from "node:worker_threads";
import { AgentError } from "../../errors.ts";
import type { Ingest, IngestResult, IngestStream } from "../ingest-types.ts";
import {
  BLOCK_SIZE,
  BLOCKS_MAX,
  type FromStore,
  fromPlainError,
  NO_STATUS,
  STREAM_BLOCKS_MAX,
  type StoreStatus,
  type StoreThreadSettings,
  type ToStore,
} from "./protocol.ts";

export interface StoreThreadOptions extends Omit<StoreThreadSettings, "memory"> {
  /** The store cannot go on; what is not acknowledged will not be. */
  onFatal(error: Error): void;
}

/** Starts the thread and resolves when the store is open. @throws AgentError when it cannot be opened */
export async function startStoreThread(options: StoreThreadOptions): Promise<StoreThread> {
  const { onFatal, ...settings } = options;
  const memory = new SharedArrayBuffer(BLOCK_SIZE * BLOCKS_MAX);
  const worker = new Worker(workerUrl(), {
    workerData: { ...settings, memory } satisfies StoreThreadSettings,
  });
  const thread = new StoreThread(worker, memory, onFatal);
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

export class StoreThread implements Ingest {
  /** As of a second ago. */
  status: StoreStatus = NO_STATUS;
  readonly started: Promise<void>;
  readonly #worker: Worker;
  readonly #bytes: Uint8Array;
  readonly #freeBlocks: number[] = Array.from({ length: BLOCKS_MAX }, (_, block) => block);
  readonly #waiters: (() => void)[] = [];
  readonly #streams = new Map<number, RemoteStream>();
  readonly #questions = new Map<number, (cursor: string | undefined) => void>();
  readonly #start = Promise.withResolvers<void>();
  readonly #closed = Promise.withResolvers<void>();
  readonly #onFatal: (error: Error) => void;
  #isStarted = false;
  #lastId = 0;

  constructor(worker: Worker, memory: SharedArrayBuffer, onFatal: (error: Error) => void) {
    this.#worker = worker;
    this.#bytes = new Uint8Array(memory);
    this.#onFatal = onFatal;
    this.started = this.#start.promise;
    worker.on("message", (message: FromStore) => this.#receive(message));
    worker.on("error", (error: Error) => this.#die(error));
  }

  open(sender: string, encoding: string | undefined): IngestStream {
    const id = ++this.#lastId;
    const stream = new RemoteStream(id, this);
    this.#streams.set(id, stream);
    this.send({ type: "open", stream: id, sender, encoding });
    return stream;
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
    this.send({ type: "close" });
    await this.#closed.promise;
    await this.#worker.terminate();
  }

  send(message: ToStore): void {
    this.#worker.postMessage(message);
  }

  forget(stream: number): void {
    this.#streams.delete(stream);
  }

  takeBlock(): number | undefined {
    return this.#freeBlocks.pop();
  }

  giveBlock(block: number): void {
    this.#freeBlocks.push(block);
    this.#waiters.shift()?.();
  }

  /** Who was woken for a free block does not take it: the next may. */
  passOn(): void {
    if (this.#freeBlocks.length > 0) this.#waiters.shift()?.();
  }

  /** Resolves when a block may be free. */
  waitForBlock(): Promise<void> {
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  fill(block: number, offset: number, bytes: Uint8Array): void {
    this.#bytes.set(bytes, block * BLOCK_SIZE + offset);
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
        this.giveBlock(message.block);
        this.#streams.get(message.stream)?.taken();
        return;
      case "ended": {
        const { stored, duplicates, refused, trailingBytes } = message;
        const counts = { stored, duplicates, refused: new Map(refused) };
        this.#streams.get(message.stream)?.ended({ counts, trailingBytes });
        return;
      }
      case "failed":
        this.#streams.get(message.stream)?.failed(fromPlainError(message.error));
        return;
      case "cursor":
        this.#questions.get(message.question)?.(message.cursor);
        this.#questions.delete(message.question);
        return;
      case "status":
        this.status = message.status;
        return;
      case "closed":
        this.#closed.resolve();
    }
  }

  #die(error: Error): void {
    this.#closed.resolve();
    for (const stream of this.#streams.values()) {
      stream.failed(
        new AgentError("E_IO", "Cannot store entries: the store failed", { cause: error }),
      );
    }
    if (this.#isStarted) this.#onFatal(error);
    else this.#start.reject(error);
  }
}

class RemoteStream implements IngestStream {
  readonly #id: number;
  readonly #thread: StoreThread;
  readonly #result = Promise.withResolvers<IngestResult>();
  /** The block being filled, and how far it is. */
  #block: number | undefined;
  #filled = 0;
  /** Blocks sent and not given back. */
  #underWay = 0;
  #error: Error | undefined;
  #isFlushPlanned = false;
  #isDone = false;
  #wake: (() => void) | undefined;

  constructor(id: number, thread: StoreThread) {
    this.#id = id;
    this.#thread = thread;
    // A failure may come before anybody waits for the result.
    this.#result.promise.catch(() => undefined);
  }

  push(chunk: Uint8Array): Promise<void> | undefined {
    if (this.#error !== undefined) throw this.#error;
    const copied = this.#copy(chunk, 0);
    if (copied < chunk.length) return this.#pushRest(chunk.slice(copied));
    return undefined;
  }

  end(): Promise<IngestResult> {
    if (this.#error === undefined) {
      this.#flush();
      this.#thread.send({ type: "end", stream: this.#id });
    } else {
      this.abort();
    }
    return this.#result.promise;
  }

  abort(): void {
    if (this.#isDone) return;
    // What came so far is handed over: whole entries are kept.
    this.#flush();
    this.#thread.send({ type: "abort", stream: this.#id });
    this.#finish();
  }

  taken(): void {
    this.#underWay--;
    this.#wake?.();
  }

  ended(result: IngestResult): void {
    this.#finish();
    this.#result.resolve(result);
  }

  failed(error: Error): void {
    this.#error = error;
    this.#result.reject(error);
    this.#wake?.();
  }

  async #pushRest(rest: Uint8Array): Promise<void> {
    let copied = 0;
    while (copied < rest.length) {
      if (this.#underWay >= STREAM_BLOCKS_MAX) await this.#ownBlock();
      else await this.#thread.waitForBlock();
      if (this.#error !== undefined || this.#isDone) this.#thread.passOn();
      if (this.#error !== undefined) throw this.#error;
      if (this.#isDone) return;
      copied += this.#copy(rest, copied);
    }
  }

  #ownBlock(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = (): void => {
        this.#wake = undefined;
        resolve();
      };
    });
  }

  /** Copies what there is room for into blocks; returns how much that was. */
  #copy(chunk: Uint8Array, from: number): number {
    let at = from;
    while (at < chunk.length) {
      if (this.#block === undefined) {
        if (this.#underWay >= STREAM_BLOCKS_MAX) break;
        this.#block = this.#thread.takeBlock();
        if (this.#block === undefined) break;
        this.#filled = 0;
      }
      const count = Math.min(chunk.length - at, BLOCK_SIZE - this.#filled);
      this.#thread.fill(this.#block, this.#filled, chunk.subarray(at, at + count));
      this.#filled += count;
      at += count;
      if (this.#filled === BLOCK_SIZE) this.#flush();
    }
    this.#planFlush();
    return at - from;
  }

  /** A block that is not full goes when all that came in this turn of the event loop is in it. */
  #planFlush(): void {
    if (this.#isFlushPlanned || this.#block === undefined) return;
    this.#isFlushPlanned = true;
    setImmediate(() => {
      this.#isFlushPlanned = false;
      this.#flush();
    });
  }

  #flush(): void {
    const block = this.#block;
    if (block === undefined) return;
    this.#block = undefined;
    this.#underWay++;
    this.#thread.send({ type: "bytes", stream: this.#id, block, size: this.#filled });
  }

  #finish(): void {
    this.#isDone = true;
    this.#thread.forget(this.#id);
    this.#wake?.();
  }
}
