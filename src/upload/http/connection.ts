/**
 * One connection to a receiver: requests go out one behind the other without waiting for answers,
 * which come in the same order.
 */
import type { Socket } from "node:net";
import type { UploadAnswer, UploadFailure, UploadRequest } from "../delivery-types.ts";
import { ProgressWatch } from "./progress-watch.ts";
import { requestSlices, type Slice } from "./request-bytes.ts";
import { type ResponseEvent, ResponseParser } from "./response-parser.ts";

/** A request, and who waits for its answer. */
export interface Flight {
  request: UploadRequest;
  settle(outcome: UploadAnswer | UploadFailure): void;
}

/** Why there will be no answer. */
export type Breakage =
  /** An error of the socket. */
  | { kind: "error"; cause: unknown }
  /** The receiver ended the connection. */
  | { kind: "ended" }
  /** Nothing moved for too long. */
  | { kind: "stalled" }
  | { kind: "malformed"; text: string; isTls: boolean }
  /** It answered an earlier request before it had all of it, or said that it is the last one. */
  | { kind: "given-up"; status: number }
  /** It answered this request with success, and went away before it could have all of it. */
  | { kind: "early"; status: number }
  | { kind: "closed-here" };

export interface ConnectionOptions {
  /** What all requests begin with, see request-bytes.ts. */
  headStart: string;
  /** Infinity = for ever. */
  networkTimeoutMs: number;
  describe(breakage: Breakage, hasAnswered: boolean): Pick<UploadFailure, "phase" | "error">;
  /** A flight was settled, or the connection is gone. */
  changed(): void;
}

interface OpenFlight extends Flight {
  bytesSent: number;
  /** Undefined = not begun. */
  slices: Generator<Slice> | undefined;
  isSent: boolean;
  /** A success that came before the body was sent. */
  earlyAnswer: UploadAnswer | undefined;
}

/** A TLS record that begins an alert or a handshake: what a TLS server says to a plain request. */
const TLS_RECORD_TYPES = [0x15, 0x16];

export class Connection {
  readonly #socket: Socket;
  readonly #options: ConnectionOptions;
  readonly #watch: ProgressWatch;
  readonly #parser = new ResponseParser();
  /** In order; the first one is answered next. */
  #flights: OpenFlight[] = [];
  /** The kernel's buffer is full: the next piece goes when it has drained. */
  #isBlocked = false;
  /** A chunk is on its way to the kernel, and nothing may come behind it before it is there. */
  #isAlone = false;
  /** An answer came early: nothing is written any more. */
  #isRefused = false;
  #isOpen = true;
  #hasAnswered = false;
  #hasReceived = false;

  /** @param socket connected, encrypted where it has to be, without listeners. */
  constructor(socket: Socket, options: ConnectionOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#watch = new ProgressWatch(socket, options.networkTimeoutMs, () =>
      this.#finish({ kind: "stalled" }),
    );
    socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    socket.on("drain", () => {
      if (!this.#isAlone) this.#unblock();
    });
    socket.on("end", () => this.#finish({ kind: "ended" }));
    // A reset often comes behind an answer whose length was not told, or cuts one.
    socket.on("error", (cause) => this.#finish({ kind: "error", cause }));
    socket.on("close", () => this.#break({ kind: "ended" }));
  }

  /** Whether `send()` may be called. */
  get isOpen(): boolean {
    return this.#isOpen && !this.#isRefused && !this.#socket.destroyed;
  }

  get isIdle(): boolean {
    return this.#flights.length === 0;
  }

  send(flight: Flight): void {
    this.#flights.push({
      ...flight,
      bytesSent: 0,
      slices: undefined,
      isSent: false,
      earlyAnswer: undefined,
    });
    this.#watch.start();
    this.#write();
  }

  close(): void {
    this.#break({ kind: "closed-here" });
  }

  #write(): void {
    while (this.#isOpen && !this.#isBlocked && !this.#isRefused) {
      const flight = this.#flights.find(({ isSent }) => !isSent);
      if (flight === undefined) return;
      flight.slices ??= requestSlices(this.#options.headStart, flight.request);
      const { value: slice } = flight.slices.next();
      if (slice === undefined) {
        flight.isSent = true;
        if (flight.earlyAnswer !== undefined) this.#answer(flight.earlyAnswer, false);
        continue;
      }
      flight.bytesSent += slice.bodySize;
      if (flight.request.isChunked) this.#writeAlone(slice.bytes);
      else this.#isBlocked = !this.#socket.write(slice.bytes);
    }
  }

  /** Over TLS, these bytes make a record: what is written behind them would be put into the same one. */
  #writeAlone(bytes: Uint8Array): void {
    this.#isBlocked = true;
    this.#isAlone = true;
    this.#socket.write(bytes, (error) => {
      // Its event ends the connection.
      if (error !== undefined && error !== null) return;
      this.#isAlone = false;
      this.#unblock();
    });
  }

  #unblock(): void {
    this.#isBlocked = false;
    this.#write();
  }

  #receive(chunk: Buffer): void {
    const isTls = !this.#hasReceived && TLS_RECORD_TYPES.includes(chunk[0] ?? 0);
    this.#hasReceived = true;
    for (const event of this.#parser.push(chunk)) {
      if (!this.#isOpen) return;
      this.#accept(event, isTls);
    }
  }

  #accept(event: ResponseEvent, isTls: boolean): void {
    switch (event.type) {
      case "head":
        // Nobody reads the rest of the body: the text of the answer is all that is waited for.
        if (event.status >= 300 && this.#flights[0]?.isSent === false) this.#isRefused = true;
        break;
      case "answer":
        this.#answer(event.answer, event.isLast);
        break;
      case "malformed":
        this.#break({ kind: "malformed", text: event.text, isTls });
    }
  }

  #answer(answer: UploadAnswer, isLast: boolean): void {
    const [flight] = this.#flights;
    if (flight?.slices === undefined) {
      // Such as a 408 before an idle connection is closed. It answers nothing.
      this.#break({ kind: "ended" });
      return;
    }
    if (!flight.isSent && answer.status < 300) {
      // It counts only if the receiver stays until it could have read everything.
      if (isLast) this.#break({ kind: "early", status: answer.status });
      else flight.earlyAnswer = answer;
      return;
    }
    this.#hasAnswered = true;
    this.#flights.shift();
    if (this.#flights.length === 0) this.#watch.stop();
    flight.settle(answer);
    if (isLast || !flight.isSent) this.#break({ kind: "given-up", status: answer.status });
    else this.#options.changed();
  }

  /** Nothing more comes: what there is of an answer has to do, if its status is known. */
  #finish(breakage: Breakage): void {
    const event = this.#isOpen ? this.#parser.end() : undefined;
    if (event !== undefined) this.#accept(event, false);
    this.#break(breakage);
  }

  /** Everything that waits fails. */
  #break(breakage: Breakage): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#watch.stop();
    this.#socket.destroy();
    const flights = this.#flights;
    this.#flights = [];
    for (const [index, flight] of flights.entries()) {
      const { bytesSent, earlyAnswer } = flight;
      const isEarly = index === 0 && earlyAnswer !== undefined;
      const reason: Breakage = isEarly ? { kind: "early", status: earlyAnswer.status } : breakage;
      const failure = this.#options.describe(reason, this.#hasAnswered);
      flight.settle({ kind: "failure", bytesSent, ...failure });
    }
    this.#options.changed();
  }
}
