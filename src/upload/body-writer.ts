/** Entries → the body of one request. */
import { BatchEncoder } from "../batch-format/encoder.ts";
import { RecordSerializer } from "../export-format/record-serializer.ts";
import type { JournalEntry } from "../journal/reader/journal-entry.ts";
import { type Body, type BodyFormat, toExport } from "./batch.ts";

/** Beyond what a body is meant to have, for its last entry; a larger one gets memory of its own. */
const BUFFER_SLACK = 256 * 1024;

/** Writes one body after the other. What it returned is not written to again, unless its memory is given back. */
export class BodyWriter {
  readonly #bufferSize: number;
  readonly #spareMax: number;
  readonly #spare: Buffer[] = [];
  readonly #serializer = new RecordSerializer();
  #encoder: BatchEncoder | undefined;
  /** The encoder, while the body is in the batch format. */
  #batch: BatchEncoder | undefined;
  #buffer: Buffer = Buffer.alloc(0);
  /** Bytes in the buffer. */
  #end = 0;
  /** What does not lie in the buffer, behind it. */
  #extra: Uint8Array[] = [];
  #extraBytes = 0;
  #entryEnds: number[] = [];

  /**
   * @param sizeMax bytes that bodies mostly have at most
   * @param buffersMax bodies that are in use at the same time; memory for so many is kept
   */
  constructor(sizeMax: number, buffersMax: number) {
    this.#bufferSize = sizeMax + BUFFER_SLACK;
    this.#spareMax = buffersMax;
  }

  get sizeBytes(): number {
    return this.#batch?.size ?? this.#end + this.#extraBytes;
  }

  get entryCount(): number {
    return this.#batch?.entries ?? this.#entryEnds.length;
  }

  /** Begins a body; one that was not finished is forgotten. */
  begin(format: BodyFormat): void {
    this.#batch = undefined;
    this.#extra = [];
    this.#extraBytes = 0;
    this.#entryEnds = [];
    this.#end = 0;
    if (format === "batch") {
      this.#encoder ??= new BatchEncoder(this.#bufferSize - BUFFER_SLACK, this.#spareMax);
      this.#encoder.begin();
      this.#batch = this.#encoder;
      return;
    }
    if (this.#buffer.length === 0) {
      this.#buffer = this.#spare.pop() ?? Buffer.alloc(this.#bufferSize);
    }
    this.#serializer.begin(this.#buffer);
  }

  /** Appends an entry. */
  add(entry: JournalEntry): void {
    if (this.#batch !== undefined) {
      if (this.#batch.add(entry)) return;
      this.#becomeExport();
    }
    const room = this.#serializer.sizeMax(entry);
    if (this.#extraBytes === 0 && room <= this.#buffer.length - this.#end) {
      this.#end = this.#serializer.write(entry, this.#end);
      this.#entryEnds.push(this.#end);
      return;
    }
    const own = Buffer.alloc(room);
    this.#serializer.begin(own);
    this.#addExtra(own.subarray(0, this.#serializer.write(entry, 0)));
  }

  /** Ends the body. Its memory goes back with {@link release}. */
  finish(): Body {
    if (this.#batch !== undefined) {
      const { entries: entryCount } = this.#batch;
      const bytes = this.#batch.finish();
      const sizeBytes = bytes.length;
      return { format: "batch", pieces: [bytes], sizeBytes, entryCount, entryEnds: [] };
    }
    const pieces = [this.#buffer.subarray(0, this.#end), ...this.#extra];
    const entryEnds = this.#entryEnds;
    const body: Body = {
      format: "export",
      pieces: pieces.filter((piece) => piece.length > 0),
      sizeBytes: this.sizeBytes,
      entryCount: entryEnds.length,
      entryEnds,
    };
    if (this.#end > 0) this.#buffer = Buffer.alloc(0);
    return body;
  }

  /** Takes back the memory of a body that is no longer needed. */
  release({ format, pieces: [piece] }: Body): void {
    if (piece === undefined || piece.byteOffset !== 0) return;
    if (format === "batch") {
      this.#encoder?.recycle(piece);
      return;
    }
    const { byteLength } = piece.buffer;
    if (byteLength !== this.#bufferSize || this.#spare.length >= this.#spareMax) return;
    this.#spare.push(Buffer.from(piece.buffer));
  }

  /** What the batch format has no room for goes as text, and with it what is already in the body. */
  #becomeExport(): void {
    const before = this.finish();
    this.begin("export");
    if (before.entryCount === 0) return;
    for (const piece of toExport(before).pieces) this.#addExtra(piece);
    this.release(before);
  }

  #addExtra(piece: Uint8Array): void {
    this.#extra.push(piece);
    this.#extraBytes += piece.length;
    this.#entryEnds.push(this.#end + this.#extraBytes);
  }
}
