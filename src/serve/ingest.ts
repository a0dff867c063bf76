/**
 * From bytes to stored entries: decoder → parser of the export or batch format → sink, for every kind of source.
 * HOT: guarded by scripts/bench/run.
 */
import { BatchDecoder, type BatchHandler } from "../batch-format/decoder.ts";
import { AgentError } from "../errors.ts";
import { ExportParser, type ParserHandler } from "../export-format/parser.ts";
import type { Entry } from "../journal/entry.ts";
import type { Counters } from "./counters.ts";
import { createDecoder, type Decoder } from "./decoding/decoder.ts";
import type {
  EntryFormat,
  Ingest,
  IngestCounts,
  IngestResult,
  IngestStream,
  Sink,
  SinkOpener,
} from "./ingest-types.ts";
import type { IngestLimits } from "./settings.ts";

export class IngestPipeline implements Ingest {
  /** Entries refused since the start. */
  refused = 0;
  /** Bytes held by all streams together: unfinished entries and decoder windows. */
  heldBytes = 0;
  readonly limits: IngestLimits;
  readonly counters: Counters;
  readonly #sinks: SinkOpener;

  constructor(sinks: SinkOpener, limits: IngestLimits, counters: Counters) {
    this.#sinks = sinks;
    this.limits = limits;
    this.counters = counters;
  }

  open(sender: string, encoding: string | undefined, format: EntryFormat = "export"): IngestStream {
    return new Stream(this, this.#sinks.openSink(sender), sender, encoding ?? "", format);
  }
}

class Stream implements IngestStream, ParserHandler, BatchHandler {
  readonly #pipeline: IngestPipeline;
  readonly #sink: Sink;
  readonly #sender: string;
  readonly #parser: ExportParser | BatchDecoder;
  readonly #decoder: Decoder;
  readonly #refused = new Map<string, number>();
  /** This stream's part of the pipeline's sum. */
  #heldBytes = 0;
  #closed = false;

  constructor(
    pipeline: IngestPipeline,
    sink: Sink,
    sender: string,
    encoding: string,
    format: EntryFormat,
  ) {
    this.#pipeline = pipeline;
    this.#sink = sink;
    this.#sender = sender;
    const { entryFieldsMax, fieldSizeMax, entrySizeMax } = pipeline.limits;
    const max = { fieldsMax: entryFieldsMax, fieldSizeMax, entrySizeMax };
    this.#parser = format === "batch" ? new BatchDecoder(this, max) : new ExportParser(this, max);
    const decoder = createDecoder(encoding, (bytes) => this.#parser.push(bytes));
    if (decoder === undefined) {
      sink.close();
      throw new AgentError("E_EXPORT_SYNTAX", `Cannot decode "${encoding}": no such encoding here`);
    }
    this.#decoder = decoder;
  }

  onEntry(entry: Entry): void {
    this.#sink.add(entry);
  }

  onBlock(block: Uint8Array): void {
    this.#sink.addBlock(block);
  }

  onRefused(reason: string, offset: number, detail: string): void {
    this.#refused.set(reason, (this.#refused.get(reason) ?? 0) + 1);
    this.#pipeline.refused++;
    this.#pipeline.counters.count(
      `entry-${reason}`,
      `Refused an entry: ${detail} sender="${this.#sender}" offset=${offset}`,
    );
  }

  push(chunk: Uint8Array): Promise<void> | undefined {
    const pending = this.#decoder.push(chunk);
    if (pending !== undefined) return this.#afterDecoding(pending);
    this.#account();
    return this.#sink.ready();
  }

  async #afterDecoding(pending: Promise<void>): Promise<void> {
    await pending;
    this.#account();
    await this.#sink.ready();
  }

  async end(onHandedOver?: () => void): Promise<IngestResult> {
    try {
      await this.#decoder.end();
      const trailingBytes = this.#parser.end();
      const committed = this.#sink.commit();
      onHandedOver?.();
      await committed;
      return { counts: this.#counts(), trailingBytes };
    } finally {
      this.#close();
    }
  }

  abort(): void {
    this.#decoder.abort();
    this.#close();
  }

  #counts(): IngestCounts {
    const { stored, duplicates } = this.#sink;
    return { stored, duplicates, refused: this.#refused };
  }

  /** Keeps the sum right and the memory of all streams together within its limit. */
  #account(): void {
    if (this.#closed) return;
    const { limits } = this.#pipeline;
    const heldBytes = this.#parser.bufferedBytes + this.#decoder.heldBytes;
    this.#pipeline.heldBytes += heldBytes - this.#heldBytes;
    const grew = heldBytes > this.#heldBytes;
    this.#heldBytes = heldBytes;
    if (!grew || this.#pipeline.heldBytes <= limits.inFlightBytesMax) return;
    throw new AgentError(
      "E_BUSY",
      `Cannot take more of an entry: ${this.#pipeline.heldBytes} bytes are in flight, ${limits.inFlightBytesMax} is the most`,
      { hint: "Raise MaxInFlight= or send smaller entries at a time" },
    );
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#pipeline.heldBytes -= this.#heldBytes;
    this.#heldBytes = 0;
    this.#sink.close();
  }
}
