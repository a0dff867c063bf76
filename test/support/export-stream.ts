/** Builds export-format streams by hand, and collects what a parser makes of them. */
import { formatId128 } from "../../src/bytes/id128.ts";
import type { ParserLimits, RefusalReason } from "../../src/export-format/fields.ts";
import { ExportParser } from "../../src/export-format/parser.ts";

export const BOOT_ID = "6c7c6013a26343b29e964691ff25d04c";
export const SEQNUM_ID = "739ad463348b4ceca5a9e69c95a3c93f";
/** Wall clock time of entry 0 of {@link sampleEntry}. */
export const REALTIME_USEC = 1_700_000_000_000_000;

/** Text becomes UTF-8. */
export function bytesOf(part: string | Uint8Array): Uint8Array {
  return typeof part === "string" ? new TextEncoder().encode(part) : part;
}

export function concat(...parts: (string | Uint8Array)[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts.map(bytesOf)));
}

/** The line `NAME=value`. */
export function textField(name: string, value: string | Uint8Array): Uint8Array {
  return concat(name, "=", value, "\n");
}

/** `NAME`, the size as le64, the data. */
export function binaryField(name: string, data: string | Uint8Array): Uint8Array {
  const bytes = bytesOf(data);
  return concat(name, "\n", sizeOf(bytes.length), bytes, "\n");
}

/** A le64. */
export function sizeOf(value: number | bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
  return bytes;
}

/** Fields (a string is a line without its line end) and the empty line after them. */
export function entry(...fields: (string | Uint8Array)[]): Uint8Array {
  return concat(...fields.map((field) => (typeof field === "string" ? `${field}\n` : field)), "\n");
}

export interface SampleOptions {
  seqnumId?: string;
  bootId?: string;
  /** False for a stream without `__SEQNUM`, `__SEQNUM_ID` and `__CURSOR`. */
  identity?: boolean;
  fields?: readonly (string | Uint8Array)[];
}

/** A good entry as journalctl writes it: number and times rise with `index`. */
export function sampleEntry(index: number, options: SampleOptions = {}): Uint8Array {
  const { seqnumId = SEQNUM_ID, bootId = BOOT_ID, identity = true, fields = [] } = options;
  const realtime = REALTIME_USEC + index * 1000;
  const monotonic = 5_000_000 + index * 1000;
  const cursor = [
    `s=${seqnumId}`,
    `i=${(index + 1).toString(16)}`,
    `b=${bootId}`,
    `m=${monotonic.toString(16)}`,
    `t=${realtime.toString(16)}`,
    `x=${(index * 7919).toString(16)}`,
  ].join(";");
  return entry(
    ...(identity ? [`__CURSOR=${cursor}`] : []),
    `__REALTIME_TIMESTAMP=${realtime}`,
    `__MONOTONIC_TIMESTAMP=${monotonic}`,
    ...(identity ? [`__SEQNUM=${index + 1}`, `__SEQNUM_ID=${seqnumId}`] : []),
    `_BOOT_ID=${bootId}`,
    "PRIORITY=6",
    `MESSAGE=message ${index}`,
    ...fields,
  );
}

/** An entry as plain values; bytes are shown one character each. */
export interface ParsedEntry {
  fields: string[];
  realtimeUsec: number;
  monotonicUsec: number;
  bootId: string;
  seqnum: number;
  /** Empty without a sequence number. */
  seqnumId: string;
}

export interface ParsedStream {
  entries: ParsedEntry[];
  refusals: { reason: RefusalReason; offset: number; detail: string }[];
  /** What end() returned. */
  trailing: number;
  inherited: number;
}

/** Pushes the chunks through one scratch buffer, as a socket does: a kept reference would show. */
export function parseChunks(
  chunks: Iterable<Uint8Array>,
  limits: Partial<ParserLimits> = {},
): ParsedStream {
  const parsed: ParsedStream = { entries: [], refusals: [], trailing: 0, inherited: 0 };
  const parser = new ExportParser(
    {
      onEntry(entry) {
        const fields: string[] = [];
        for (let i = 0; i < entry.fieldCount; i++) {
          const [start, end] = [entry.fieldStart[i] ?? 0, entry.fieldEnd[i] ?? 0];
          const field = Buffer.from(entry.bytes.subarray(start, end)).toString("latin1");
          if (field.indexOf("=") !== entry.nameLength[i]) throw new Error(`name length: ${field}`);
          fields.push(field);
        }
        const { realtimeUsec, monotonicUsec, seqnum } = entry;
        const seqnumId = seqnum === 0 ? "" : formatId128(entry.seqnumId);
        const bootId = formatId128(entry.bootId);
        parsed.entries.push({ fields, realtimeUsec, monotonicUsec, bootId, seqnum, seqnumId });
      },
      onRefused(reason, offset, detail) {
        parsed.refusals.push({ reason, offset, detail });
      },
    },
    limits,
  );
  let shared = new Uint8Array(0);
  for (const chunk of chunks) {
    if (shared.length < chunk.length) shared = new Uint8Array(chunk.length);
    shared.set(chunk);
    parser.push(shared.subarray(0, chunk.length));
    shared.fill(0xff);
  }
  parsed.trailing = parser.end();
  parsed.inherited = parser.inherited;
  return parsed;
}

/** Why entries were refused, in order. */
export function reasons(stream: ParsedStream): string[] {
  return stream.refusals.map((refusal) => refusal.reason);
}

/** The MESSAGE of each entry, "" where there is none. */
export function messages(stream: ParsedStream): string[] {
  return stream.entries.map(
    ({ fields }) => fields.find((field) => field.startsWith("MESSAGE="))?.slice(8) ?? "",
  );
}

/** The bytes cut into chunks of `size`. */
export function* cutEvery(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let i = 0; i < bytes.length; i += size) yield bytes.subarray(i, i + size);
}
