/** One receiver as it is known so far: what it takes, and how bodies are brought to it. */
import { BATCH_CONTENT_TYPE } from "../batch-format/format.ts";
import { log } from "../log.ts";
import type { Clock } from "../platform/clock.ts";
import { type Body, type BodyFormat, EMPTY_BODY, EXPORT_CONTENT_TYPE, toExport } from "./batch.ts";
import { type Compressor, type EncodedForm, WHOLE_SIZE_MAX } from "./compressor.ts";
import type { UploadAnswer, UploadClient, UploadRequest } from "./delivery-types.ts";
import { findEncodedForm } from "./encoding-trial.ts";
import { Outage } from "./outage.ts";
import type { EncodingSetting } from "./settings.ts";
import { judge, type Verdict } from "./verdict.ts";

export interface TargetOptions {
  /** Without what is secret in it. */
  url: string;
  client: UploadClient;
  compressor: Compressor;
  /** Used whatever the receiver says it takes, if it turns out to decode it; undefined = nothing. */
  forcedEncoding: EncodingSetting | undefined;
  /** Bytes of a batch. */
  sizeMax: number;
  /** Batches in flight towards a receiver that recognises what it has stored. */
  inFlightMax: number;
  clock: Clock;
}

/** In what way a body is sent. */
interface Mode {
  format: BodyFormat;
  encoding: { setting: EncodingSetting; form: EncodedForm } | undefined;
}

/** A body on its way. */
export interface Sent {
  target: Target;
  /** As it was sent. */
  isPlain: boolean;
  /** Never rejects. */
  verdict: Promise<Verdict>;
}

const NOT_SENT: Verdict = {
  kind: "trouble",
  reason: "Cannot upload: it is to stop",
  hint: undefined,
  retryAfterMs: 0,
};

/** The one that every receiver of journals has to take. */
const PLAIN: Mode = { format: "export", encoding: undefined };

/**
 * Of the first batch, which only serves to learn what the receiver takes. With each answer batches may be so many times
 * larger: a receiver that waits for the first large one has nothing to do.
 */
const FIRST_SIZE_MAX = 64 * 1024;
const SIZE_GROWTH = 4;
/** A receiver whose limit is below this gets its entries nearly one by one. */
const SIZE_MAX_MIN = 16 * 1024;
/**
 * In the batch format, smaller bodies are always compressed, which costs nothing that matters; larger ones only when
 * plain ones got through more slowly than this: over a fast network it would be the processor that is waited for.
 */
const QUICK_SIZE = 256 * 1024;
const FAST_BYTES_PER_SEC = 4 * 1024 * 1024;
/** How long smaller ones take tells more of the answer's delay than of the network; unless none are larger. */
const SPEED_SIZE_MIN = 4 * 1024 * 1024;
/** A network is taken for slow so long. */
const SLOW_MS = 60_000;
/** What failed where the plain form worked is not tried again for so long. */
const PLAIN_MS = 3_600_000;

export class Target {
  readonly url: string;
  readonly outage: Outage;
  readonly #options: TargetOptions;
  #sizeMax: number;
  #startSizeMax = FIRST_SIZE_MAX;
  /** What the last 2xx announced. */
  #takesBatches = false;
  #encoding: EncodingSetting | undefined;
  /** In which a receiver that is not ours takes this encoding; undefined = to be found out. */
  #form: EncodedForm | undefined;
  /** It said itself that it takes this encoding. */
  #isAnnounced = false;
  #isToldPlain = false;
  /** Until then everything is sent in the plain form. */
  #plainUntilMs = 0;
  /** Until then the network is taken for slow. */
  #slowUntilMs = 0;
  #answeredMs = 0;

  constructor(options: TargetOptions) {
    this.url = options.url;
    this.outage = new Outage(options.url, options.clock);
    this.#options = options;
    this.#sizeMax = options.sizeMax;
    this.#encoding = options.forcedEncoding;
  }

  /** What a batch for it should be like. */
  get plan(): { format: BodyFormat; sizeMax: number } {
    const { format, encoding } = this.#mode;
    const wholeSizeMax =
      encoding?.form === "frame" ? WHOLE_SIZE_MAX[encoding.setting.encoding] : Infinity;
    return { format, sizeMax: Math.min(this.#sizeMax, wholeSizeMax, this.#startSizeMax) };
  }

  get #mode(): Mode {
    if (this.#options.clock.now() < this.#plainUntilMs) return PLAIN;
    const setting = this.#encoding;
    const form = this.#takesBatches ? "stream" : this.#form;
    return {
      format: this.#takesBatches ? "batch" : "export",
      encoding: setting === undefined || form === undefined ? undefined : { setting, form },
    };
  }

  /** Batches that may be in flight: towards other receivers than ours, at most one is in doubt. */
  get depth(): number {
    return this.#takesBatches ? this.#options.inFlightMax : 1;
  }

  /** Whether it recognises what it has stored, so that sending it twice does no harm. */
  get isOurs(): boolean {
    return this.#takesBatches;
  }

  /** Sends a body in the best way the receiver is known to take, or in the plain one. */
  async send(body: Body, { isPlain = false, beforeSend }: SendOptions = {}): Promise<Sent> {
    const { client, clock } = this.#options;
    if (!isPlain && body.sizeBytes > 0) await this.#tryEncoding();
    const mode = isPlain ? PLAIN : this.#mode;
    const request = await this.#prepare(body, mode);
    const sizeBytes = request.pieces.reduce((sum, piece) => sum + piece.length, 0);
    const isPlainForm =
      request.contentEncoding === undefined && request.contentType === EXPORT_CONTENT_TYPE;
    const mayGo = (await beforeSend?.(sizeBytes)) ?? true;
    if (!mayGo) return { target: this, isPlain: isPlainForm, verdict: Promise.resolve(NOT_SENT) };
    const sentMs = clock.now();
    const wasAnnounced = this.#isAnnounced;
    const verdict = client.send(request).then((result) => {
      const judged = judge(result, this.url, clock.now());
      if (request.contentEncoding === undefined) this.#noteSpeed(sizeBytes, sentMs);
      this.#answeredMs = clock.now();
      if (judged.kind === "refused" && judged.about === "size") this.#shrink(body);
      if (result.kind !== "answer" || judged.kind !== "accepted") return judged;
      this.#learn(result);
      return this.#canRead(request, mode, wasAnnounced) ? judged : this.#notUnderstood;
    });
    return { target: this, isPlain: isPlainForm, verdict };
  }

  /** Sends a request without entries, to find out whether the receiver is there and takes requests from here. */
  async probe(): Promise<Verdict> {
    const { verdict } = await this.send(EMPTY_BODY, { isPlain: true });
    return await verdict;
  }

  /** A body was refused in the form it had, and taken in the plain one. */
  preferPlain(): void {
    const { format, encoding } = this.#mode;
    if (format === "export" && encoding === undefined) return;
    const what =
      format === "batch" ? "the batch format" : `encoding "${encoding?.setting.encoding}"`;
    log.warn(`"${this.url}" refuses ${what}: it gets plain export format for an hour`);
    this.#plainUntilMs = this.#options.clock.now() + PLAIN_MS;
    this.#form = undefined;
  }

  /** What was too much was one entry: batches without it may be as large as ever. */
  forgetSizeLimit(): void {
    this.#sizeMax = this.#options.sizeMax;
  }

  close(): void {
    this.#options.client.close();
  }

  async #prepare(body: Body, { format, encoding }: Mode): Promise<UploadRequest> {
    const sent = format === "batch" ? body : toExport(body);
    const { pieces } = sent;
    const contentType = sent.format === "batch" ? BATCH_CONTENT_TYPE : EXPORT_CONTENT_TYPE;
    const plain = { contentType, contentEncoding: undefined, pieces, isChunked: false };
    if (encoding === undefined || !this.#isWorthEncoding(sent)) return plain;
    const { setting, form } = encoding;
    // One entry may be as large as it likes.
    if (form === "frame" && sent.sizeBytes > 2 * WHOLE_SIZE_MAX[setting.encoding]) return plain;
    const encoded = await this.#options.compressor.encode(pieces, setting, form);
    return encoded === undefined
      ? plain
      : { contentType, contentEncoding: setting.encoding, ...encoded };
  }

  /** Finds out how a receiver that is not ours takes the encoding that it announces, or that is forced on it. */
  async #tryEncoding(): Promise<void> {
    const { client, clock } = this.#options;
    const setting = this.#encoding;
    const nowMs = clock.now();
    const isSettled = this.#takesBatches || this.#form !== undefined || nowMs < this.#plainUntilMs;
    if (setting === undefined || isSettled) return;
    const isAnnounced = this.#isAnnounced;
    const found = await findEncodedForm({ client, url: this.url, setting, isAnnounced, nowMs });
    if (found !== "ignored" && found !== "cut") {
      this.#form = found;
      return;
    }
    this.#plainUntilMs = clock.now() + PLAIN_MS;
    if (this.#isToldPlain) return;
    this.#isToldPlain = true;
    log.info(`"${this.url}" gets plain bodies: ${whyPlain(found, setting)}`);
  }

  /**
   * Whether who accepted a request can have read it. It may be another program than the one that took such requests
   * before, and some accept anything: it tells by what it announces.
   */
  #canRead(request: UploadRequest, { encoding }: Mode, wasAnnounced: boolean): boolean {
    if (this.#takesBatches) return true;
    if (request.contentType === BATCH_CONTENT_TYPE) return false;
    if (request.contentEncoding === undefined) return true;
    return encoding?.form !== "stream" && (this.#isAnnounced || !wasAnnounced);
  }

  get #notUnderstood(): Verdict {
    const reason = `Cannot upload to "${this.url}": it takes other requests than before, need one as it knows them`;
    return { kind: "refused", about: "format", reason, hint: undefined, retryAfterMs: 0 };
  }

  #isWorthEncoding({ format, sizeBytes }: Body): boolean {
    const { clock, forcedEncoding } = this.#options;
    if (sizeBytes === 0) return false;
    if (format === "export" || forcedEncoding !== undefined) return true;
    return sizeBytes < QUICK_SIZE || clock.now() < this.#slowUntilMs;
  }

  /** A plain body was answered. */
  #noteSpeed(sizeBytes: number, sentMs: number): void {
    const nowMs = this.#options.clock.now();
    // Two may be in flight: the second is not on its way before the first has been taken.
    const seconds = (nowMs - Math.max(sentMs, this.#answeredMs)) / 1000;
    const telling = Math.max(QUICK_SIZE, Math.min(SPEED_SIZE_MIN, this.#sizeMax));
    if (sizeBytes < telling || sizeBytes / seconds >= FAST_BYTES_PER_SEC) return;
    this.#slowUntilMs = nowMs + SLOW_MS;
  }

  #shrink({ sizeBytes, entryCount }: Body): void {
    if (entryCount < 2) return;
    const sizeMax = Math.max(SIZE_MAX_MIN, Math.floor(Math.min(this.#sizeMax, sizeBytes) / 2));
    if (sizeMax >= this.#sizeMax) return;
    this.#sizeMax = sizeMax;
    log.info(`"${this.url}" gets batches of at most ${sizeMax} bytes from now on`);
  }

  #learn({ headers }: UploadAnswer): void {
    const { compressor, forcedEncoding } = this.#options;
    this.#startSizeMax *= SIZE_GROWTH;
    this.#takesBatches = headers.get("accept-post")?.includes(BATCH_CONTENT_TYPE) ?? false;
    const announced = compressor.choose(headers.get("accept-encoding"));
    const encoding = announced ?? forcedEncoding;
    this.#isAnnounced = announced !== undefined;
    if (encoding?.encoding !== this.#encoding?.encoding) this.#form = undefined;
    this.#encoding = encoding;
  }
}

function whyPlain(found: "ignored" | "cut", { encoding }: EncodingSetting): string {
  return found === "ignored"
    ? `it does not decode "${encoding}"`
    : `it decodes "${encoding}" only as long as the network leaves a body in one piece`;
}

interface SendOptions {
  /** In the form every receiver takes. */
  isPlain?: boolean;
  /** Called with the bytes that will be sent; the request goes out when it resolves with true. */
  beforeSend?(sizeBytes: number): Promise<boolean>;
}
