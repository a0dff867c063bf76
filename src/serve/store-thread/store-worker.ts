/**
 * The store thread: stores what the network thread has parsed. A thread of its own, so that a slow disk
 * never keeps connections waiting for an answer that needs no disk, and so that the two halves of the
 * work share two cores.
 */
import { parentPort, workerData } from "node:worker_threads";
import { reasonOf } from "../../errors.ts";
import { newEntry } from "../../journal/entry.ts";
import { configureLog, log } from "../../log.ts";
import { EntryBatch } from "../entry-batch.ts";
import type { Sink } from "../ingest-types.ts";
import { Store } from "../store/store.ts";
import {
  type FromStore,
  type StoreThreadSettings,
  type ToStore,
  toPlainError,
} from "./protocol.ts";

const STATUS_INTERVAL_MS = 1_000;
/** Work goes on so long before the event loop turns. */
const TURN_MS = 1;

interface OpenSink {
  /** Undefined once it failed: what still comes is passed over. */
  sink: Sink | undefined;
  stored: number;
  duplicates: number;
  /** Commits under way. */
  commits: number;
  isClosing: boolean;
}

class StoreThread {
  readonly #store: Store;
  readonly #sinks = new Map<number, OpenSink>();
  readonly #entry = newEntry();
  readonly #totals = { stored: 0, duplicates: 0 };
  readonly #send: (message: FromStore, transfer?: ArrayBuffer[]) => void;
  #status: NodeJS.Timeout | undefined;

  constructor(
    settings: StoreThreadSettings,
    send: (message: FromStore, transfer?: ArrayBuffer[]) => void,
  ) {
    this.#send = send;
    this.#store = new Store(settings);
  }

  async start(): Promise<void> {
    await this.#store.start();
    this.#status = setInterval(() => this.#sendStatus(), STATUS_INTERVAL_MS);
    this.#send({ type: "started" });
  }

  receive(message: ToStore): void {
    switch (message.type) {
      case "open":
        this.#open(message.sink, message.sender);
        return;
      case "entries":
      case "block":
        this.#take(message);
        return;
      case "commit":
        void this.#commit(message.sink);
        return;
      case "close":
        this.#close(message.sink);
        return;
      case "cursor":
        this.#send({
          type: "cursor",
          question: message.question,
          cursor: this.#lastCursor(message.sender),
        });
        return;
      case "stop":
        this.#stop().catch((error: unknown) => {
          this.#send({ type: "fatal", error: toPlainError(error) });
          this.#send({ type: "stopped" });
        });
    }
  }

  /** Without one, the source sends all it has and the store picks what is new. */
  #lastCursor(sender: string): string | undefined {
    try {
      return this.#store.lastCursor(sender);
    } catch (error) {
      log.warn(`Cannot find out what is stored of "${sender}": ${reasonOf(error)}`);
      return undefined;
    }
  }

  #open(id: number, sender: string): void {
    const open: OpenSink = {
      sink: undefined,
      stored: 0,
      duplicates: 0,
      commits: 0,
      isClosing: false,
    };
    this.#sinks.set(id, open);
    try {
      open.sink = this.#store.openSink(sender);
    } catch (error) {
      this.#fail(id, open, error);
    }
  }

  #take({ type, sink: id, buffer, size }: Extract<ToStore, { buffer: ArrayBuffer }>): void {
    const open = this.#sinks.get(id);
    const sink = open?.sink;
    if (open !== undefined && sink !== undefined) {
      try {
        if (type === "block") sink.addBlock(new Uint8Array(buffer, 0, size));
        else new EntryBatch(buffer).forEach(size, this.#entry, (entry) => sink.add(entry));
      } catch (error) {
        this.#fail(id, open, error);
      }
      this.#count(open, sink);
    }
    this.#send({ type: "taken", sink: id, buffer }, [buffer]);
  }

  async #commit(id: number): Promise<void> {
    const open = this.#sinks.get(id);
    const sink = open?.sink;
    if (open === undefined || sink === undefined) return;
    open.commits++;
    try {
      await sink.commit();
      this.#send({ type: "committed", sink: id, stored: open.stored, duplicates: open.duplicates });
    } catch (error) {
      this.#fail(id, open, error);
    }
    open.commits--;
    if (open.isClosing) this.#close(id);
  }

  #close(id: number): void {
    const open = this.#sinks.get(id);
    if (open === undefined) return;
    open.isClosing = true;
    if (open.commits > 0) return;
    open.sink?.close();
    this.#sinks.delete(id);
  }

  #fail(id: number, open: OpenSink, error: unknown): void {
    open.sink?.close();
    open.sink = undefined;
    const plain = toPlainError(error);
    if (plain.code === undefined) this.#send({ type: "fatal", error: plain });
    else this.#send({ type: "failed", sink: id, error: plain });
  }

  #count(open: OpenSink, sink: Sink): void {
    this.#totals.stored += sink.stored - open.stored;
    this.#totals.duplicates += sink.duplicates - open.duplicates;
    open.stored = sink.stored;
    open.duplicates = sink.duplicates;
  }

  #sendStatus(): void {
    const { openFiles, fullReason } = this.#store;
    this.#send({ type: "status", status: { ...this.#totals, openFiles, fullReason } });
  }

  async #stop(): Promise<void> {
    clearInterval(this.#status);
    for (const open of this.#sinks.values()) open.sink?.close();
    await this.#store.close();
    this.#sendStatus();
    this.#send({ type: "stopped" });
  }
}

/**
 * Messages that wait for their turn. The port delivers all there are in one go, and a busy sender keeps it busy: in
 * between, the loop has to turn, or a sync that is done stays unheard of, and its sender unanswered.
 */
class Inbox {
  readonly #take: (message: ToStore) => void;
  /** A turn is planned while there are any. */
  #messages: ToStore[] = [];

  constructor(take: (message: ToStore) => void) {
    this.#take = take;
  }

  add(message: ToStore): void {
    if (this.#messages.push(message) === 1) this.#plan();
  }

  #plan(): void {
    setImmediate(() => this.#takeSome());
  }

  #takeSome(): void {
    const messages = this.#messages;
    const endMs = performance.now() + TURN_MS;
    let taken = 0;
    while (taken < messages.length) {
      this.#take(messages[taken++] as ToStore);
      if (performance.now() >= endMs) break;
    }
    this.#messages = messages.slice(taken);
    if (this.#messages.length > 0) this.#plan();
  }
}

function run(): void {
  const port = parentPort;
  if (port === null) throw new Error("The store thread was started without a parent");
  const settings = workerData as StoreThreadSettings;
  configureLog(settings.log);
  const send = (message: FromStore, transfer: ArrayBuffer[] = []): void =>
    port.postMessage(message, transfer);
  const die = (error: unknown): void => send({ type: "fatal", error: toPlainError(error) });
  try {
    const thread = new StoreThread(settings, send);
    const inbox = new Inbox((message) => {
      try {
        thread.receive(message);
      } catch (error) {
        die(error);
      }
    });
    port.on("message", (message: ToStore) => inbox.add(message));
    thread.start().catch(die);
  } catch (error) {
    die(error);
  }
}

run();
