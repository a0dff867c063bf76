/** A sink whose entries are stored by the store thread. */
import type { Entry } from "../../journal/entry.ts";
import { type EntryBatch, sizeOf } from "../entry-batch.ts";
import type { Sink } from "../ingest-types.ts";
import { SINK_UNDER_WAY_MAX } from "./protocol.ts";
import type { StoreThread } from "./store-thread.ts";

export class RemoteSink implements Sink {
  /** As of the last commit. */
  stored = 0;
  duplicates = 0;
  readonly #id: number;
  readonly #thread: StoreThread;
  #batch: EntryBatch | undefined;
  /** Bytes handed over and not taken yet. */
  #underWay = 0;
  #error: Error | undefined;
  #commit: PromiseWithResolvers<void> | undefined;
  #isSendPlanned = false;
  #isClosed = false;

  constructor(id: number, thread: StoreThread) {
    this.#id = id;
    this.#thread = thread;
  }

  add(entry: Entry): void {
    if (this.#error !== undefined) throw this.#error;
    const size = sizeOf(entry);
    if (this.#batch !== undefined && !this.#batch.hasRoom(size)) this.#send();
    this.#batch ??= this.#thread.newBatch(size);
    this.#batch.add(entry);
    this.#planSend();
  }

  addBlock(block: Uint8Array): void {
    if (this.#error !== undefined) throw this.#error;
    this.#send();
    this.#underWay += this.#thread.sendBlock(this.#id, block);
  }

  ready(): Promise<void> | undefined {
    if (this.#error !== undefined) throw this.#error;
    return this.#mustWait ? this.#whenReady() : undefined;
  }

  get #mustWait(): boolean {
    return this.#underWay >= SINK_UNDER_WAY_MAX || this.#thread.isCrowded;
  }

  async #whenReady(): Promise<void> {
    while (this.#mustWait && this.#error === undefined && !this.#isClosed) {
      await this.#thread.nextTaken();
    }
    if (this.#error !== undefined) throw this.#error;
  }

  /** One at a time. */
  commit(): Promise<void> {
    if (this.#error !== undefined) return Promise.reject(this.#error);
    this.#send();
    this.#commit = Promise.withResolvers<void>();
    this.#thread.send({ type: "commit", sink: this.#id });
    return this.#commit.promise;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#send();
    this.#thread.send({ type: "close", sink: this.#id });
    this.#thread.forget(this.#id);
  }

  /** The store gave a buffer back. */
  taken(bytes: number): void {
    this.#underWay -= bytes;
  }

  committed(stored: number, duplicates: number): void {
    this.stored = stored;
    this.duplicates = duplicates;
    this.#commit?.resolve();
    this.#commit = undefined;
  }

  failed(error: Error): void {
    this.#error = error;
    this.#commit?.reject(error);
    this.#commit = undefined;
  }

  /** A batch that is not full goes when all that came in this turn of the event loop is in it. */
  #planSend(): void {
    if (this.#isSendPlanned) return;
    this.#isSendPlanned = true;
    setImmediate(() => {
      this.#isSendPlanned = false;
      this.#send();
    });
  }

  #send(): void {
    const batch = this.#batch;
    if (batch === undefined) return;
    this.#batch = undefined;
    this.#underWay += this.#thread.sendBatch(this.#id, batch);
  }
}
