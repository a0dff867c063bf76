/** Bodies of the batch format: by our encoder, and by hand where they have to be wrong. */
import { BatchDecoder, decodeBatch } from "../../src/batch-format/decoder.ts";
import { BatchEncoder } from "../../src/batch-format/encoder.ts";
import { formatId128 } from "../../src/bytes/id128.ts";
import type { Entry } from "../../src/journal/entry.ts";
import { concat } from "./export-stream.ts";
import { RecordCache } from "./record-cache.ts";

/** One body with all of them. */
export function encodeBatch(entries: Iterable<Entry>): Uint8Array {
  const encoder = new BatchEncoder();
  const records = new RecordCache();
  encoder.begin();
  for (const entry of entries) {
    if (!encoder.add(records.toJournalEntry(entry))) throw new Error("An entry does not fit");
  }
  return encoder.finish();
}

/** An entry as plain values. */
export function contentOf(entry: Entry) {
  const { fieldCount, bytes, fieldStart, fieldEnd, nameLength } = entry;
  const { realtimeUsec, monotonicUsec, seqnum, hasXorHash } = entry;
  return {
    fields: Array.from({ length: fieldCount }, (_, i) => [
      Buffer.from(bytes.subarray(fieldStart[i], fieldEnd[i])).toString("latin1"),
      nameLength[i],
    ]),
    ...{ realtimeUsec, monotonicUsec, seqnum, hasXorHash },
    xorHash: hasXorHash ? [entry.xorHashLow | 0, entry.xorHashHigh | 0] : [],
    bootId: formatId128(entry.bootId),
    seqnumId: seqnum === 0 ? "" : formatId128(entry.seqnumId),
  };
}
export type EntryContent = ReturnType<typeof contentOf>;

export function decodeAll(body: Uint8Array): EntryContent[] {
  const entries: EntryContent[] = [];
  decodeBatch(body, (entry) => entries.push(contentOf(entry)));
  return entries;
}

/** What a decoder makes of a body in these pieces. */
export interface Decoded {
  /** Bytes of all blocks, refused entries marked in them. */
  blocks: string;
  refusals: { reason: string; offset: number }[];
  error: string | undefined;
  trailingBytes: number;
}

export function decodeChunks(
  chunks: Iterable<Uint8Array>,
  limits: ConstructorParameters<typeof BatchDecoder>[1] = {},
): Decoded {
  const blocks: Uint8Array[] = [];
  const decoded: Decoded = { blocks: "", refusals: [], error: undefined, trailingBytes: 0 };
  const decoder = new BatchDecoder(
    {
      onBlock: (block) => blocks.push(block.slice()),
      onRefused: (reason, offset) => decoded.refusals.push({ reason, offset }),
    },
    limits,
  );
  try {
    for (const chunk of chunks) {
      const shared = chunk.slice();
      decoder.push(shared);
      shared.fill(0xff);
    }
    decoded.trailingBytes = decoder.end();
  } catch (error) {
    decoded.error = `${Reflect.get(error as object, "code")}: ${(error as Error).message}`;
  }
  decoded.blocks = Buffer.concat(blocks).toString("latin1");
  return decoded;
}

export interface PlainBlock {
  definitions?: readonly PlainDefinition[];
  entries?: readonly PlainBatchEntry[];
  signature?: number;
  flags?: number;
  /** Added to what the head says. */
  sizeOff?: number;
  originsOff?: number;
  definitionsOff?: number;
  entriesOff?: number;
}

export type PlainDefinition = string | { payload: string; nameLength?: number; size?: number };

export interface PlainBatchEntry {
  fields?: readonly number[];
  realtimeUsec?: number;
  monotonicUsec?: number;
  seqnum?: number;
  bootId?: string;
  seqnumId?: string;
  flags?: number;
  /** Instead of that of `bootId` and `seqnumId`. */
  origin?: number;
  /** What it says instead of the number of `fields`. */
  fieldCount?: number;
}

/** A block as it is told, right or wrong; written without the code that is tested. */
export function block(plain: PlainBlock): Uint8Array {
  const { definitions = [], entries = [], signature = 0x3142414a, flags = 0 } = plain;
  const origins = [...new Set(entries.map(originOf))];
  const parts = [
    ...origins.map((origin) => Buffer.from(origin, "hex")),
    ...definitions.map(definitionBytes),
    ...entries.map((entry) => entryBytes(entry, entry.origin ?? origins.indexOf(originOf(entry)))),
  ];
  const size = 24 + parts.reduce((sum, part) => sum + part.length, 0) + (plain.sizeOff ?? 0);
  const head = words(
    ...[signature, size, flags],
    origins.length + (plain.originsOff ?? 0),
    definitions.length + (plain.definitionsOff ?? 0),
    entries.length + (plain.entriesOff ?? 0),
  );
  return concat(head, ...parts);
}

function originOf({
  bootId = "b0".repeat(16),
  seqnumId = "5e".repeat(16),
}: PlainBatchEntry): string {
  return bootId + seqnumId;
}

function definitionBytes(plain: PlainDefinition): Uint8Array {
  const { payload, nameLength, size } = typeof plain === "string" ? { payload: plain } : plain;
  const bytes = Buffer.from(payload, "latin1");
  const head = words(size ?? bytes.length, nameLength ?? payload.indexOf("="));
  return padded(concat(head, bytes));
}

function entryBytes(plain: PlainBatchEntry, origin: number): Uint8Array {
  const { fields = [0], realtimeUsec = 1e15, monotonicUsec = 1e6, seqnum = 1, flags = 0 } = plain;
  const numbers = new Uint8Array(new Float64Array([realtimeUsec, monotonicUsec, seqnum]).buffer);
  const xorHash = words(0x12345678, 0x9abcdef0);
  const counts = concat(words(plain.fieldCount ?? fields.length), halves(origin, flags));
  return padded(concat(numbers, xorHash, counts, halves(...fields)));
}

function halves(...values: number[]): Uint8Array {
  return new Uint8Array(new Uint16Array(values).buffer);
}

function words(...values: number[]): Uint8Array {
  return new Uint8Array(new Uint32Array(values).buffer);
}

function padded(bytes: Uint8Array): Uint8Array {
  return concat(bytes, new Uint8Array((8 - (bytes.length % 8)) % 8));
}
