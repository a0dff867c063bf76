/**
 * One HTTP connection: socket bytes → requests → an IngestStream each → answers. It holds at most
 * the one chunk the socket has delivered: while the store is behind, the socket is paused and the
 * sender feels it.
 *
 * Requests may be pipelined: while one waits for the disk, the next is read and handed to the store,
 * behind it. Answers go out in the order of the requests. Each request stands for itself, but a refusal
 * ends the connection: what the peer sent behind a refused request is dropped without an answer, and
 * has to be repeated. Of that the store may keep entries, which it recognises then.
 */
import { reasonOf } from "../errors.ts";
import type { ConnectionContext } from "./connection-context.ts";
import { type HttpEvent, type RequestHead, RequestParser, type Unfinished } from "./http1.ts";
import type { Peer } from "./identity.ts";
import type { IngestResult } from "./ingest-types.ts";
import { type ByteSocket, PacedSocket } from "./paced-socket.ts";
import {
  type BodyStream,
  checkHead,
  dueMs,
  findObstacle,
  openStream,
  type Request,
  type Requester,
  uploadReply,
} from "./request.ts";
import { type Turn, Turns } from "./turns.ts";
import {
  CONTINUE,
  formatReply,
  hasBody,
  type Refusal,
  type Reply,
  refusal,
  shuttingDown,
  storageRefusal,
} from "./upload-request.ts";

/** A request whose head passed the checks. */
interface OpenRequest {
  request: Request;
  head: RequestHead;
  stream: BodyStream;
  turn: Turn;
  /** The client waits for a 100 before it sends the body. */
  expectsContinue: boolean;
  /** When all of the body has to be there. */
  dueMs: number;
}

/**
 * open: requests are read, unless something is to be waited for: see `#mayRead`.
 * ending: nothing more is read; requests that were read get their answers, and the connection ends.
 * lingering: the last answer is out; reads and drops, so that the peer gets to see it. closed: over.
 */
type Phase = "open" | "ending" | "lingering" | "closed";

/** Requests of one connection begun and not answered; past that the socket is paused. */
const PIPELINE_MAX = 4;

/**
 * A refused sender may be in the middle of its body. Closing with unread bytes resets the
 * connection and takes the answer with it, so this much is read and dropped, for so long.
 */
const LINGER_BYTES_MAX = 1024 * 1024;
const LINGER_MS = 2000;

/** While the service stops, a sender may be quiet for so long in mid-request, or read its last answer. */
const FINISH_WAIT_MS = 1000;

export class HttpConnection {
  readonly #socket: PacedSocket;
  readonly #context: ConnectionContext;
  readonly #parser: RequestParser;
  readonly #inbox: Uint8Array[] = [];
  /** One for each request begun and not answered. */
  readonly #turns = new Turns();
  readonly #requester: Requester;
  /** The request whose body is being read. */
  #open: OpenRequest | undefined;
  /** The one whose bytes the store has to take before more is read. */
  #awaited: OpenRequest | undefined;
  #phase: Phase = "open";
  #isFinishing = false;
  #peerEnded = false;
  #hadRequest = false;
  #lingerBytes = 0;
  #unfinished: Unfinished = "nothing";
  /** When the peer is too late with what is due next. */
  #deadlineMs: number;

  /** @param address of the other end, for logs until it is identified. */
  constructor(socket: ByteSocket, address: string, context: ConnectionContext) {
    const { limits, nowMs } = context;
    this.#requester = { peer: undefined, address, refusal: undefined, mayEnroll: false };
    this.#context = context;
    this.#parser = new RequestParser(limits.headSizeMax);
    this.#socket = new PacedSocket(socket, nowMs, limits.stalledTimeoutMs);
    this.#deadlineMs = nowMs() + limits.handshakeTimeoutMs;
  }

  /** Undefined until `admit()`, and for whoever was refused. */
  get peer(): Peer | undefined {
    return this.#requester.peer;
  }

  /** The handshake is over. Nothing is read of a connection that has not been admitted. */
  admit(peer: Peer): void {
    this.#requester.peer = peer;
  }

  /**
   * The handshake is over, and the first request, should there be one, gets this answer; unless it is one for a certificate,
   * and whoever has none is welcome.
   */
  refusePeer(why: Refusal, mayEnroll = false): void {
    this.#requester.refusal = why;
    this.#requester.mayEnroll = mayEnroll && this.#context.enrollment !== undefined;
    if (!this.#requester.mayEnroll) this.#countRefusal(why);
  }

  #countRefusal(why: Refusal): void {
    const text = why.reply.text;
    this.#context.counters.count(why.reason, `Refused connection from ${this.#who()}: ${text}`);
  }

  /** The socket delivered bytes, which stay as they are. */
  received(chunk: Uint8Array): void {
    if (this.#phase === "lingering") {
      this.#lingerBytes += chunk.length;
      if (this.#lingerBytes > LINGER_BYTES_MAX) this.#socket.pause();
      return;
    }
    if (this.#phase === "closed") return;
    this.#inbox.push(chunk);
    this.#pump();
  }

  /** The socket takes bytes again. */
  drained(): void {
    if (this.#phase === "closed") return;
    this.#socket.drained();
    this.#pump();
  }

  /** The peer will send nothing more (FIN); it may still read. */
  receivedEnd(): void {
    this.#peerEnded = true;
    if (this.#phase === "lingering") this.#close();
    else this.#pump();
  }

  /** The socket is gone. */
  socketClosed(): void {
    this.#turns.cancel();
    if (this.#phase !== "closed") this.#dropRequest("the connection was lost");
    this.#phase = "closed";
    this.#inbox.length = 0;
  }

  /** Called every now and then: ends the connection when it has been late for too long. */
  checkDeadline(nowMs: number): void {
    const isWriting = this.#phase === "open" || this.#phase === "ending";
    if (isWriting && nowMs >= this.#socket.deadlineMs) {
      this.#context.counters.count("stalled-answer", `Cut ${this.#who()}: it reads no answer`);
      this.#close();
    } else if (nowMs >= this.#deadlineMs) {
      this.#endLate();
    }
  }

  #endLate(): void {
    if (this.#phase === "lingering") {
      this.#close();
    } else if (this.#phase === "open" && !this.#isIdle) {
      const late = refusal(`stalled-${this.#unfinished}`, 408, "Request timed out.");
      this.#refuse(this.#currentTurn(), this.#isFinishing ? shuttingDown() : late);
    } else {
      const { counters } = this.#context;
      if (this.#phase === "open") counters.count("silent", `Cut ${this.#who()}: no request`);
      this.terminate();
    }
  }

  /** Ends the connection without ceremony. */
  terminate(): void {
    this.#abandonStream();
    this.#turns.cancel();
    this.#phase = "closed";
    this.#deadlineMs = Infinity;
    this.#socket.terminate();
  }

  /** Begins no further request, and ends the connection as soon as those begun are answered. */
  finish(): void {
    this.#isFinishing = true;
    if (this.#phase !== "open") return;
    this.#deadlineMs = Math.min(this.#deadlineMs, this.#context.nowMs() + FINISH_WAIT_MS);
    if (this.#isBetweenRequests) this.#stopReading();
    else if (this.#awaited !== undefined) this.#deadlineMs = Infinity;
  }

  /** Ends the connection now: nothing more is read; the request that is next to be answered is told why. */
  cut(why: Refusal): void {
    if (this.#phase === "closed" || this.#phase === "lingering") return;
    if (this.#isIdle) {
      this.#context.counters.count(why.reason, `Closed the connection of ${this.#who()}`);
      this.#close();
      return;
    }
    this.#abandonStream();
    this.#answerRefusal(why);
  }

  /** No request has begun that was not read to its end. */
  get #isBetweenRequests(): boolean {
    return this.#open === undefined && this.#parser.unfinished === "nothing";
  }

  /** No request is under way. */
  get #isIdle(): boolean {
    return this.#turns.count === 0 && this.#isBetweenRequests;
  }

  /** The store takes more, the peer reads, and not too many requests wait for an answer. */
  get #mayRead(): boolean {
    if (this.#phase !== "open" || this.#awaited !== undefined) return false;
    if (this.#socket.isBehind) return false;
    return this.#open !== undefined || this.#turns.count < PIPELINE_MAX;
  }

  #pump(): void {
    while (this.#mayRead) {
      if (this.#isFinishing && this.#isBetweenRequests) {
        this.#stopReading();
        return;
      }
      const event = this.#parser.next();
      if (event !== undefined) {
        this.#handle(event);
        continue;
      }
      const chunk = this.#inbox.shift();
      if (chunk === undefined) {
        this.#awaitBytes();
        return;
      }
      this.#parser.feed(chunk);
    }
    if (this.#phase === "open" || this.#phase === "ending") this.#socket.pause();
  }

  #handle(event: HttpEvent): void {
    switch (event.type) {
      case "head":
        this.#startRequest(event.head);
        break;
      case "body":
        this.#pushBody(event.bytes);
        break;
      case "end":
        this.#endRequest();
        break;
      case "malformed":
        this.#refuse(
          this.#currentTurn(),
          refusal(`request-malformed-${event.status}`, event.status, event.text),
        );
    }
  }

  /** Everything that arrived is parsed: says what is due next, and by when. */
  #awaitBytes(): void {
    if (this.#peerEnded) {
      this.#dropRequest("it ended in the middle of a request");
      this.#stopReading();
      return;
    }
    const unfinished = this.#parser.unfinished;
    if (this.#hadRequest) this.#setDeadline(unfinished);
    this.#unfinished = unfinished;
    this.#socket.resume();
  }

  /**
   * A head has to be complete in time however it trickles; a body has to make progress; between
   * requests and between the chunks of a body a sender may be quiet for ever (TCP keepalive
   * finds the dead ones), until the service stops.
   */
  #setDeadline(unfinished: Unfinished): void {
    if (unfinished === "head" && this.#unfinished === "head") return;
    const { limits, nowMs } = this.#context;
    let allowedMs = unfinished === "nothing" ? Infinity : limits.stalledTimeoutMs;
    if (this.#isFinishing) allowedMs = FINISH_WAIT_MS;
    this.#deadlineMs = Math.min(nowMs() + allowedMs, this.#open?.dueMs ?? Infinity);
  }

  #startRequest(head: RequestHead): void {
    this.#hadRequest = true;
    this.#unfinished = "nothing";
    const turn = this.#turns.begin();
    const request = checkHead(head, this.#context);
    if ("reply" in request) {
      this.#refuse(turn, request, head);
      return;
    }
    const why = findObstacle(request, this.#requester, this.#context.wallMs());
    if (why === undefined) {
      this.#openRequest(request, head, turn);
    } else if (why === this.#requester.refusal) {
      if (this.#requester.mayEnroll) this.#countRefusal(why); // else it was counted when it was made
      this.#stopReading();
      turn(() => this.#answerLast(why.reply));
    } else {
      this.#refuse(turn, why);
    }
  }

  #openRequest(request: Request, head: RequestHead, turn: Turn): void {
    try {
      const stream = openStream(request, this.#requester, this.#context);
      if ("reply" in stream) {
        this.#refuse(turn, stream);
        return;
      }
      const expectsContinue = request.expectsContinue && hasBody(request);
      const due = dueMs(request, this.#context);
      this.#open = { request, head, stream, turn, expectsContinue, dueMs: due };
      this.#parser.startBody(request.framing);
    } catch (error) {
      this.#fail(turn, error);
      return;
    }
    this.#continueIfNext();
  }

  /** Asks for a body that waits to be asked for, but only behind the answers of earlier requests. */
  #continueIfNext(): void {
    if (this.#open?.expectsContinue !== true || this.#turns.count > 1) return;
    this.#open.expectsContinue = false;
    this.#socket.write(CONTINUE);
  }

  #pushBody(bytes: Uint8Array): void {
    const open = this.#open;
    if (open === undefined) return;
    open.expectsContinue = false;
    try {
      const pending = open.stream.push(bytes);
      if (pending === undefined) return;
      this.#await(open);
      pending.then(() => this.#goOn(open)).catch((error: unknown) => this.#fail(open.turn, error));
    } catch (error) {
      this.#fail(open.turn, error);
    }
  }

  #endRequest(): void {
    const open = this.#open;
    if (open === undefined) return;
    this.#open = undefined;
    this.#unfinished = "nothing";
    if (open.request.keepAlive) this.#await(open);
    else this.#stopReading();
    open.stream
      .end(() => this.#goOn(open))
      .then((result) => {
        open.turn(() => this.#answer(open, result));
        this.#goOn(open);
      })
      .catch((error: unknown) => this.#fail(open.turn, error));
  }

  /** Stops parsing until the store has taken what a request brought: the next one's entries come behind. */
  #await(request: OpenRequest): void {
    this.#awaited = request;
    this.#deadlineMs = Infinity;
  }

  #goOn(request: OpenRequest): void {
    if (this.#awaited !== request) return;
    this.#awaited = undefined;
    this.#pump();
  }

  #answer(open: OpenRequest, result: IngestResult | Reply): void {
    const reply = "status" in result ? result : this.#replyTo(open, result);
    this.#socket.write(formatReply(reply, false, this.#context.wallMs()));
    if (!reply.close) {
      this.#continueIfNext();
      this.#pump();
    } else if (this.#socket.isBehind || this.#inbox.length > 0 || this.#isFinishing) {
      // A client that sends something behind its last request is unread, like a refused one.
      this.#linger();
    } else {
      this.#close();
    }
  }

  #replyTo({ head }: OpenRequest, result: IngestResult): Reply {
    const isLast = this.#phase === "ending" && this.#turns.count === 0;
    return uploadReply(result, { head, keepAlive: !isLast, who: this.#who() }, this.#context);
  }

  /** That of the request which is being read. */
  #currentTurn(): Turn {
    return this.#open?.turn ?? this.#turns.begin();
  }

  #fail(turn: Turn, error: unknown): void {
    if (this.#phase === "closed" || this.#phase === "lingering") return;
    const why = storageRefusal(error);
    if (why.reason === "internal-error") this.#context.reportBug(error);
    this.#refuse(turn, why, undefined, reasonOf(error));
  }

  /** Answers with a status when it is the request's turn, and ends the connection with that. */
  #refuse(turn: Turn, why: Refusal, head?: RequestHead, detail?: string): void {
    if (this.#open === undefined || this.#open.turn === turn) this.#abandonStream();
    else this.#dropRequest("an earlier one was refused");
    this.#stopReading();
    turn(() => this.#answerRefusal(why, head, detail));
  }

  #answerRefusal(why: Refusal, head?: RequestHead, detail?: string): void {
    const about = detail ?? why.reply.text;
    const message = `Answered ${this.#who()} ${why.reply.status}: ${about}`;
    this.#context.counters.count(why.reason, message);
    this.#answerLast(why.reply, head);
  }

  /** Ends the connection in a way that lets the peer read the answer. */
  #answerLast(reply: Reply, head?: RequestHead): void {
    this.#socket.write(formatReply(reply, head?.method === "HEAD", this.#context.wallMs()));
    this.#linger();
  }

  /** What was read gets its answers, then the connection ends. */
  #stopReading(): void {
    if (this.#phase !== "open") return;
    this.#phase = "ending";
    this.#deadlineMs = Infinity;
    this.#unfinished = "nothing";
    if (this.#turns.count === 0) this.#close();
    else this.#socket.pause();
  }

  #linger(): void {
    if (this.#phase === "closed") return;
    this.#phase = "lingering";
    this.#unfinished = "nothing";
    this.#turns.cancel();
    this.#inbox.length = 0;
    const allowedMs = this.#isFinishing ? FINISH_WAIT_MS : LINGER_MS;
    this.#deadlineMs = this.#context.nowMs() + allowedMs;
    if (this.#peerEnded && !this.#socket.isBehind) this.#close();
    else this.#socket.resume();
  }

  #close(): void {
    if (this.#phase === "closed") return;
    if (this.#socket.isBehind) {
      // What was not taken until now never will be; `end()` would wait for it for ever.
      this.terminate();
      return;
    }
    this.#abandonStream();
    this.#turns.cancel();
    this.#phase = "closed";
    this.#inbox.length = 0;
    // A peer may ignore that we closed; it is reset then.
    this.#deadlineMs = this.#context.nowMs() + LINGER_MS;
    this.#socket.end();
  }

  /** A request was not read to its end, and never will be. */
  #dropRequest(how: string): void {
    const open = this.#open;
    if (open === undefined && this.#unfinished === "nothing") return;
    this.#context.counters.count("request-cut", `Dropped a request of ${this.#who()}: ${how}`);
    this.#unfinished = "nothing";
    this.#abandonStream();
    open?.turn(() => this.#close());
  }

  #abandonStream(): void {
    if (this.#awaited === this.#open) this.#awaited = undefined;
    this.#open?.stream.abort();
    this.#open = undefined;
  }

  #who(): string {
    const { peer, address } = this.#requester;
    return JSON.stringify(peer?.name ?? address);
  }
}
