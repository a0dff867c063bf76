/**
 * One HTTP connection: socket bytes → requests → an IngestStream each → answers. It holds at most
 * the one chunk the socket has delivered: while the store is behind, the socket is paused and the
 * sender feels it.
 */
import { reasonOf } from "../errors.ts";
import type { Counters } from "./counters.ts";
import { type HttpEvent, type RequestHead, RequestParser, type Unfinished } from "./http1.ts";
import type { Peer } from "./identity.ts";
import type { Ingest, IngestResult, IngestStream } from "./ingest-types.ts";
import type { IngestLimits, WireEncoding } from "./settings.ts";
import {
  accepted,
  announcementFor,
  CONTINUE,
  checkEncoding,
  checkRequest,
  formatReply,
  prematureEnd,
  type Refusal,
  type Reply,
  refusal,
  storageRefusal,
  type UploadRequest,
  untrustedCertificate,
} from "./upload-request.ts";

/** What a connection asks of its socket. */
export interface ByteSocket {
  /** Bytes taken; fewer than given = wait for `drained()`; -1 = closed. */
  write(bytes: Uint8Array): number;
  pause(): void;
  resume(): void;
  /** Closes after what was written. */
  end(): void;
  /** Closes at once, by reset. */
  terminate(): void;
}

export interface ConnectionContext {
  ingest: Ingest;
  limits: IngestLimits;
  announcedEncodings: readonly WireEncoding[];
  counters: Counters;
  /** Wall clock, for dates and certificates. */
  wallMs(): number;
  /** Monotonic clock, for deadlines. */
  nowMs(): number;
  /** An error that is a bug, with everything known about it. */
  reportBug(error: unknown): void;
}

/** A request whose head passed the checks. */
interface OpenRequest {
  request: UploadRequest;
  head: RequestHead;
  stream: IngestStream;
}

/**
 * reading: parsing what arrives. waiting: for the store. flushing: for the peer to read an answer.
 * lingering: refused; reads and drops, so that the peer gets to see the answer. closed: over.
 */
type Phase = "reading" | "waiting" | "flushing" | "lingering" | "closed";

/**
 * A refused sender may be in the middle of its body. Closing with unread bytes resets the
 * connection and takes the answer with it, so this much is read and dropped, for so long.
 */
const LINGER_BYTES_MAX = 1024 * 1024;
const LINGER_MS = 2000;

export class HttpConnection {
  readonly #socket: ByteSocket;
  readonly #context: ConnectionContext;
  readonly #parser: RequestParser;
  readonly #inbox: Uint8Array[] = [];
  #peer: Peer | undefined;
  #address: string;
  #peerRefusal: Refusal | undefined;
  #open: OpenRequest | undefined;
  #phase: Phase = "reading";
  #isPaused = false;
  #isFinishing = false;
  #peerEnded = false;
  #hadRequest = false;
  #unsent: Uint8Array | undefined;
  #lingerBytes = 0;
  #unfinished: Unfinished = "nothing";
  #deadlineMs: number;

  /** @param address of the other end, for logs until it is identified. */
  constructor(socket: ByteSocket, address: string, context: ConnectionContext) {
    this.#socket = socket;
    this.#address = address;
    this.#context = context;
    this.#parser = new RequestParser(context.limits.headSizeMax);
    this.#deadlineMs = context.nowMs() + context.limits.handshakeTimeoutMs;
  }

  /** Undefined until `admit()`, and for whoever was refused. */
  get peer(): Peer | undefined {
    return this.#peer;
  }

  /** The handshake is over. Nothing is read of a connection that has not been admitted. */
  admit(peer: Peer): void {
    this.#peer = peer;
    this.#address = peer.name;
  }

  /** The handshake is over, and the first request, should there be one, gets this answer. */
  refusePeer(why: Refusal): void {
    this.#peerRefusal = why;
    const text = why.reply.text;
    this.#context.counters.count(why.reason, `Refused connection from ${this.#who()}: ${text}`);
  }

  /** The socket delivered bytes, which stay as they are. */
  received(chunk: Uint8Array): void {
    if (this.#phase === "lingering") {
      this.#lingerBytes += chunk.length;
      if (this.#lingerBytes > LINGER_BYTES_MAX) this.#pause();
      return;
    }
    if (this.#phase === "closed") return;
    this.#inbox.push(chunk);
    this.#pump();
  }

  /** The socket takes bytes again. */
  drained(): void {
    const unsent = this.#unsent;
    if (unsent === undefined || this.#phase === "closed") return;
    this.#unsent = undefined;
    this.#write(unsent);
    if (this.#unsent !== undefined || this.#phase !== "flushing") return;
    this.#phase = "reading";
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
    if (this.#phase !== "closed") this.#dropRequest("the connection was lost");
    this.#phase = "closed";
    this.#inbox.length = 0;
  }

  /** Called every now and then: ends the connection when it has been late for too long. */
  checkDeadline(nowMs: number): void {
    if (nowMs < this.#deadlineMs) return;
    const { counters } = this.#context;
    if (this.#phase === "lingering") {
      this.#close();
    } else if (this.#phase === "flushing") {
      counters.count("stalled-answer", `Cut ${this.#who()}: it reads no answer`);
      this.#close();
    } else if (this.#phase === "reading" && !this.#isIdle) {
      this.#refuse(refusal(`stalled-${this.#unfinished}`, 408, "Request timed out."));
    } else {
      if (this.#phase === "reading") counters.count("silent", `Cut ${this.#who()}: no request`);
      this.terminate();
    }
  }

  /** Ends the connection without ceremony. */
  terminate(): void {
    this.#abandonStream();
    this.#phase = "closed";
    this.#deadlineMs = Infinity;
    this.#socket.terminate();
  }

  /** Ends the connection as soon as no request is under way. */
  finish(): void {
    this.#isFinishing = true;
    if (this.#isIdle) this.#close();
  }

  /** Ends the connection now: nothing more is read; a request under way is told why. */
  cut(why: Refusal): void {
    if (this.#phase === "closed" || this.#phase === "lingering") return;
    if (this.#isIdle || this.#phase === "flushing") {
      this.#context.counters.count(why.reason, `Closed the connection of ${this.#who()}`);
      this.#close();
    } else {
      this.#refuse(why);
    }
  }

  /** No request is under way. */
  get #isIdle(): boolean {
    const isReading = this.#phase === "reading";
    return isReading && this.#open === undefined && this.#unfinished === "nothing";
  }

  #pump(): void {
    while (this.#phase === "reading") {
      const event = this.#parser.next();
      if (event !== undefined) {
        this.#handle(event);
        continue;
      }
      const chunk = this.#inbox.shift();
      if (chunk === undefined) break;
      this.#parser.feed(chunk);
    }
    if (this.#phase === "reading") this.#awaitBytes();
    else if (this.#phase !== "lingering") this.#pause();
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
        this.#refuse(refusal(`request-malformed-${event.status}`, event.status, event.text));
        break;
    }
  }

  /** Everything that arrived is parsed: says what is due next, and by when. */
  #awaitBytes(): void {
    const unfinished = this.#parser.unfinished;
    if (this.#peerEnded) {
      this.#dropRequest("it ended in the middle of a request");
      this.#close();
      return;
    }
    if (this.#isFinishing && this.#open === undefined && unfinished === "nothing") {
      this.#close();
      return;
    }
    if (this.#hadRequest || this.#open !== undefined) this.#setDeadline(unfinished);
    this.#unfinished = unfinished;
    this.#resume();
  }

  /**
   * A head has to be complete in time however it trickles; a body has to make progress; between
   * requests and between the chunks of a body a sender may be quiet for ever (TCP keepalive
   * finds the dead ones).
   */
  #setDeadline(unfinished: Unfinished): void {
    if (unfinished === "head" && this.#unfinished === "head") return;
    const allowedMs = unfinished === "nothing" ? Infinity : this.#context.limits.stalledTimeoutMs;
    this.#deadlineMs = this.#context.nowMs() + allowedMs;
  }

  #startRequest(head: RequestHead): void {
    this.#hadRequest = true;
    this.#unfinished = "nothing";
    const request = checkRequest(head, this.#context.limits.entrySizeMax);
    if ("reply" in request) {
      this.#refuse(request, head);
    } else if (this.#peerRefusal !== undefined) {
      this.#answerAndLinger(this.#peerRefusal.reply); // counted when it was made
    } else if (this.#peer === undefined) {
      this.#refuse(untrustedCertificate("UNIDENTIFIED"));
    } else {
      const why = this.#expired() ?? checkEncoding(request.encoding);
      if (why === undefined) this.#openRequest(this.#peer, request, head);
      else this.#refuse(why);
    }
  }

  #openRequest(peer: Peer, request: UploadRequest, head: RequestHead): void {
    try {
      const stream = this.#context.ingest.open(peer.name, request.encoding);
      this.#open = { request, head, stream };
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#parser.startBody(request.framing);
    if (request.expectsContinue && hasBody(request)) this.#write(CONTINUE);
    if (this.#unsent !== undefined) this.#flush();
  }

  /** A connection may outlive its certificate; each request is checked against the clock. */
  #expired(): Refusal | undefined {
    const validToMs = this.#peer?.certificate?.validToMs;
    const isValid = validToMs === undefined || this.#context.wallMs() <= validToMs;
    return isValid ? undefined : untrustedCertificate("CERT_HAS_EXPIRED");
  }

  #pushBody(bytes: Uint8Array): void {
    try {
      const pending = this.#open?.stream.push(bytes);
      if (pending !== undefined) this.#waitFor(pending, () => undefined);
    } catch (error) {
      this.#fail(error);
    }
  }

  #endRequest(): void {
    const open = this.#open;
    if (open === undefined) return;
    this.#open = undefined;
    this.#waitFor(open.stream.end(), (result: IngestResult) => {
      const reply = this.#replyTo(open, result);
      this.#write(formatReply(reply, false, this.#context.wallMs()));
      // A client that goes on sending behind its last request is unread, like a refused one.
      if (reply.close && (this.#unsent !== undefined || this.#inbox.length > 0)) this.#linger();
      else if (reply.close) this.#close();
      else if (this.#unsent !== undefined) this.#flush();
    });
  }

  #replyTo(open: OpenRequest, result: IngestResult): Reply {
    const { announcedEncodings, counters } = this.#context;
    const isLast = this.#isFinishing || this.#peerEnded;
    const request = isLast ? { ...open.request, keepAlive: false } : open.request;
    if (result.trailingBytes === 0) {
      return accepted(request, announcementFor(open.head, announcedEncodings));
    }
    counters.count(
      "body-premature-end",
      `Answered ${this.#who()} 417: ${result.trailingBytes} bytes of an unfinished entry`,
    );
    return prematureEnd(request, result.trailingBytes);
  }

  /** Stops parsing until the promise settles. */
  #waitFor<T>(promise: Promise<T>, onDone: (value: T) => void): void {
    this.#phase = "waiting";
    this.#deadlineMs = Infinity;
    promise
      .then((value) => {
        if (this.#phase !== "waiting") return;
        this.#phase = "reading";
        onDone(value);
        this.#pump();
      })
      .catch((error: unknown) => this.#fail(error));
  }

  /** Goes on after the peer has taken what we wrote. */
  #flush(): void {
    this.#phase = "flushing";
    this.#deadlineMs = this.#context.nowMs() + this.#context.limits.stalledTimeoutMs;
  }

  #fail(error: unknown): void {
    if (this.#phase === "closed" || this.#phase === "lingering") return;
    const why = storageRefusal(error);
    if (why.reason === "internal-error") this.#context.reportBug(error);
    this.#refuse(why, undefined, reasonOf(error));
  }

  /** Answers with a status and ends the connection, in a way that lets the peer read the answer. */
  #refuse(why: Refusal, head?: RequestHead, detail?: string): void {
    const about = detail ?? why.reply.text;
    const message = `Answered ${this.#who()} ${why.reply.status}: ${about}`;
    this.#context.counters.count(why.reason, message);
    this.#answerAndLinger(why.reply, head);
  }

  #answerAndLinger(reply: Reply, head?: RequestHead): void {
    this.#abandonStream();
    this.#write(formatReply(reply, head?.method === "HEAD", this.#context.wallMs()));
    this.#linger();
  }

  #linger(): void {
    if (this.#phase === "closed") return;
    this.#phase = "lingering";
    this.#inbox.length = 0;
    this.#deadlineMs = this.#context.nowMs() + LINGER_MS;
    if (this.#peerEnded && this.#unsent === undefined) this.#close();
    else this.#resume();
  }

  #write(bytes: Uint8Array): void {
    if (this.#phase === "closed") return;
    if (this.#unsent !== undefined) {
      this.#unsent = Buffer.concat([this.#unsent, bytes]);
      return;
    }
    const written = this.#socket.write(bytes);
    if (written >= 0 && written < bytes.length) this.#unsent = bytes.subarray(written);
  }

  #pause(): void {
    if (this.#isPaused || this.#phase === "closed") return;
    this.#isPaused = true;
    this.#socket.pause();
  }

  #resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#socket.resume();
  }

  #close(): void {
    if (this.#phase === "closed") return;
    if (this.#unsent !== undefined) {
      // What was not taken until now never will be; `end()` would wait for it for ever.
      this.terminate();
      return;
    }
    this.#abandonStream();
    this.#phase = "closed";
    this.#inbox.length = 0;
    // A peer may ignore that we closed; it is reset then.
    this.#deadlineMs = this.#context.nowMs() + LINGER_MS;
    this.#socket.end();
  }

  /** The peer left; a body under way is incomplete. */
  #dropRequest(how: string): void {
    if (this.#open === undefined && this.#unfinished === "nothing") return;
    this.#context.counters.count("request-cut", `Dropped a request of ${this.#who()}: ${how}`);
    this.#abandonStream();
  }

  #abandonStream(): void {
    this.#open?.stream.abort();
    this.#open = undefined;
  }

  #who(): string {
    return quoted(this.#address);
  }
}

function hasBody(request: UploadRequest): boolean {
  return request.framing.kind === "chunked" || request.framing.length > 0;
}

function quoted(text: string): string {
  return JSON.stringify(text);
}
