/**
 * Real logs at any size: the entries of an export stream over and over, each round as if it had
 * happened later. Sequence numbers and times rise, PIDs and a third of the messages vary.
 */
import { closeSync, openSync, writeSync } from "node:fs";

/** What an entry of the long stream says of itself. */
interface Moment {
  /** How often all entries of the source came before it. */
  round: number;
  seqnumId: string;
  seqnum: number;
  realtimeUsec: number;
  monotonicUsec: number;
}

/** Bytes that stay as they are, or text that differs from round to round. */
type Part = Buffer | ((moment: Moment) => string);

interface Field {
  name: string;
  value: Buffer;
  isBinary: boolean;
}

const SEQNUM_ID = "739ad463348b4ceca5a9e69c95a3c93f";
const BOOT_ID = "6c7c6013a26343b29e964691ff25d04c";
const START_USEC = 1_700_000_000_000_000;
const STEP_USEC = 137;
/** How long before journald's own time the time of the source lies. */
const SOURCE_LAG_USEC = 50;
const PID_END = 4_194_304;
/** No text of a part is longer. */
const TEXT_SIZE_MAX = 256;
const BUFFER_SIZE = 4 << 20;

export class ScaledStream {
  /** Entries of the source. */
  readonly period: number;
  readonly #entries: readonly Part[][];
  readonly #sizeMax: number;
  readonly #scratch: Buffer;

  readonly #seqnumId: string;

  /** @param source a whole export stream, as journalctl writes it. */
  constructor(source: Uint8Array, seqnumId: string = SEQNUM_ID) {
    this.#seqnumId = seqnumId;
    this.#entries = readEntries(Buffer.from(source)).map(partsOf);
    this.period = this.#entries.length;
    if (this.period === 0) throw new Error("Cannot scale the stream: it has no entries");
    this.#sizeMax = Math.max(...this.#entries.map((parts) => sizeMaxOf(parts)));
    this.#scratch = Buffer.alloc(this.#sizeMax);
  }

  /** Entries `from` … `to`-1 of the endless stream, one by one. */
  entries(from: number, to: number): Uint8Array[] {
    return Array.from({ length: to - from }, (_, i) => {
      return new Uint8Array(this.#scratch.subarray(0, this.#write(from + i, this.#scratch, 0)));
    });
  }

  /** Writes entries up to the first that reaches `sizeMin` bytes. */
  writeFile(path: string, sizeMin: number): { entries: number; bytes: number } {
    const buffer = Buffer.alloc(Math.max(BUFFER_SIZE, 2 * this.#sizeMax));
    const file = openSync(path, "w");
    let entries = 0;
    let bytes = 0;
    let end = 0;
    while (bytes + end < sizeMin) {
      end = this.#write(entries++, buffer, end);
      if (end + this.#sizeMax <= buffer.length) continue;
      writeSync(file, buffer, 0, end);
      bytes += end;
      end = 0;
    }
    writeSync(file, buffer, 0, end);
    closeSync(file);
    return { entries, bytes: bytes + end };
  }

  /** Returns the offset after the entry. */
  #write(index: number, target: Buffer, offset: number): number {
    const monotonicUsec = (index + 1) * STEP_USEC;
    const moment: Moment = {
      round: Math.floor(index / this.period),
      seqnumId: this.#seqnumId,
      seqnum: index + 1,
      realtimeUsec: START_USEC + monotonicUsec,
      monotonicUsec,
    };
    let end = offset;
    for (const part of this.#entries[index % this.period] ?? []) {
      if (typeof part === "function") end += target.write(part(moment), end, "latin1");
      else end += part.copy(target, end);
    }
    return end;
  }
}

function readEntries(source: Buffer): Field[][] {
  const entries: Field[][] = [];
  let fields: Field[] = [];
  for (let offset = 0; offset < source.length; ) {
    const lineEnd = source.indexOf("\n", offset);
    if (lineEnd < 0) throw new Error(`Cannot read the stream: no line end after ${offset}`);
    const line = source.subarray(offset, lineEnd);
    const equals = line.indexOf("=");
    offset = lineEnd + 1;
    if (line.length === 0) {
      if (fields.length > 0) entries.push(fields);
      fields = [];
    } else if (equals >= 0) {
      const name = line.toString("latin1", 0, equals);
      fields.push({ name, value: line.subarray(equals + 1), isBinary: false });
    } else {
      const start = offset + 8;
      const end = start + Number(source.readBigUInt64LE(offset));
      const name = line.toString("latin1");
      fields.push({ name, value: source.subarray(start, end), isBinary: true });
      offset = end + 1;
    }
  }
  if (fields.length > 0) entries.push(fields);
  return entries;
}

/** One entry with all that stays the same in as few pieces as possible. */
function partsOf(fields: readonly Field[]): Part[] {
  const parts: Part[] = [];
  let fixed: Buffer[] = [];
  const flush = (): void => {
    if (fixed.length > 0) parts.push(Buffer.concat(fixed));
    fixed = [];
  };
  for (const field of fields) {
    const text = changingText(field);
    if (text === undefined) {
      fixed.push(encodeField(field));
      continue;
    }
    fixed.push(Buffer.from(`${field.name}=`, "latin1"));
    flush();
    parts.push(text);
    fixed.push(Buffer.from("\n"));
  }
  fixed.push(Buffer.from("\n"));
  flush();
  return parts;
}

function changingText({ name, value, isBinary }: Field): ((moment: Moment) => string) | undefined {
  if (isBinary) return undefined;
  switch (name) {
    case "__CURSOR":
      return cursorOf;
    case "__REALTIME_TIMESTAMP":
      return ({ realtimeUsec }) => String(realtimeUsec);
    case "__MONOTONIC_TIMESTAMP":
      return ({ monotonicUsec }) => String(monotonicUsec);
    case "__SEQNUM":
      return ({ seqnum }) => String(seqnum);
    case "__SEQNUM_ID":
      return () => SEQNUM_ID;
    case "_BOOT_ID":
      return () => BOOT_ID;
    case "_SOURCE_REALTIME_TIMESTAMP":
      return ({ realtimeUsec }) => String(realtimeUsec - SOURCE_LAG_USEC);
    case "_SOURCE_MONOTONIC_TIMESTAMP":
      return ({ monotonicUsec }) => String(monotonicUsec - SOURCE_LAG_USEC);
    case "_PID":
    case "SYSLOG_PID":
      return changingPid(value.toString("latin1"));
    case "MESSAGE":
      return changingMessage(value.toString("latin1"));
    default:
      return undefined;
  }
}

function cursorOf({ seqnumId, seqnum, monotonicUsec, realtimeUsec }: Moment): string {
  const hash = (seqnum * 2_654_435_761) % 2 ** 48;
  const numbers = { i: seqnum, m: monotonicUsec, t: realtimeUsec, x: hash };
  const [i, m, t, x] = Object.values(numbers).map((number) => number.toString(16));
  return `s=${seqnumId};i=${i};b=${BOOT_ID};m=${m};t=${t};x=${x}`;
}

function changingPid(value: string): ((moment: Moment) => string) | undefined {
  if (!/^\d{1,10}$/.test(value)) return undefined;
  return ({ round }) => String((Number(value) + round * 7) % PID_END);
}

function changingMessage(value: string): (moment: Moment) => string {
  return ({ round, seqnum }) => (round > 0 && seqnum % 3 === 0 ? `${value} #${seqnum}` : value);
}

function encodeField({ name, value, isBinary }: Field): Buffer {
  if (!isBinary) return Buffer.concat([Buffer.from(`${name}=`, "latin1"), value, LF]);
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(value.length));
  return Buffer.concat([Buffer.from(`${name}\n`, "latin1"), size, value, LF]);
}

const LF = Buffer.from("\n");

function sizeMaxOf(parts: readonly Part[]): number {
  const last: Moment = {
    round: 1,
    seqnumId: SEQNUM_ID,
    seqnum: 3,
    realtimeUsec: START_USEC,
    monotonicUsec: START_USEC,
  };
  return parts.reduce(
    (sum, part) =>
      sum + (typeof part === "function" ? part(last).length + TEXT_SIZE_MAX : part.length),
    0,
  );
}
