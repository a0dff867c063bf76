/** Bodies of requests, and taking them apart when a receiver does not take them as they are. */
import { decodeBatch } from "../batch-format/decoder.ts";
import { serializedSizeMax, serializeEntry } from "../export-format/serializer.ts";
import { spellOutFields } from "../journal/field-dictionary.ts";
import { log } from "../log.ts";
import type { Position } from "./delivery-types.ts";

/** The one type of body that every receiver of journals takes. */
export const EXPORT_CONTENT_TYPE = "application/vnd.fdo.journal";

/** The journal export format, or the batch format of `agent serve`. */
export type BodyFormat = "export" | "batch";

export interface Body {
  readonly format: BodyFormat;
  /** One behind the other. */
  readonly pieces: readonly Uint8Array[];
  readonly sizeBytes: number;
  readonly entryCount: number;
  /** Export format: the offset after each entry. Empty for the batch format. */
  readonly entryEnds: readonly number[];
}

/** Entries that are sent and acknowledged together. */
export interface Batch {
  readonly body: Body;
  /** Of the last entry; undefined where entries have none. */
  readonly position: Position | undefined;
  /** Of the last entry. */
  readonly realtimeUsec: number;
  /** The memory of the body may be used again. */
  release(): void;
}

/** Of a request without entries: its answer tells how the receiver is. */
export const EMPTY_BODY: Body = {
  format: "export",
  pieces: [],
  sizeBytes: 0,
  entryCount: 0,
  entryEnds: [],
};

/** Entries `from` to `to` (not included) of a body in the export format; the same memory. */
export function sliceBody(body: Body, from: number, to: number): Body {
  const { pieces, entryEnds } = body;
  const start = from === 0 ? 0 : (entryEnds[from - 1] as number);
  const end = to === 0 ? 0 : (entryEnds[to - 1] as number);
  const slices: Uint8Array[] = [];
  let offset = 0;
  for (const piece of pieces) {
    const first = Math.max(start - offset, 0);
    const last = Math.min(end - offset, piece.length);
    if (first < last) slices.push(piece.subarray(first, last));
    offset += piece.length;
  }
  return {
    format: "export",
    pieces: slices,
    sizeBytes: end - start,
    entryCount: to - from,
    entryEnds: entryEnds.slice(from, to).map((entryEnd) => entryEnd - start),
  };
}

/** The same entries in the export format. */
export function toExport(body: Body): Body {
  if (body.format === "export") return body;
  const pieces: Uint8Array[] = [];
  const entryEnds: number[] = [];
  let sizeBytes = 0;
  const left = decodeBatch(Buffer.concat(body.pieces), (entry) => {
    spellOutFields(entry);
    const room = new Uint8Array(serializedSizeMax(entry));
    const piece = room.subarray(0, serializeEntry(entry, room, 0));
    pieces.push(piece);
    sizeBytes += piece.length;
    entryEnds.push(sizeBytes);
  });
  if (left > 0) log.warn(`Left out ${left} entries that no receiver takes`);
  return { format: "export", pieces, sizeBytes, entryCount: entryEnds.length, entryEnds };
}

/** Of the first entry of a body in the export format, as journalctl writes it. */
export function firstCursor({ pieces: [piece] }: Body): string | undefined {
  if (piece === undefined) return undefined;
  const head = Buffer.from(piece.buffer, piece.byteOffset, Math.min(piece.length, 512));
  return /^__CURSOR=(\S+)$/m.exec(head.toString("latin1"))?.[1];
}
