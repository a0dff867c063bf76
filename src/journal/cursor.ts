/**
 * The place of an entry as text, `s=…;i=…;b=…;m=…;t=…;x=…`: sd-journal.c: sd_journal_get_cursor(),
 * sd_journal_seek_cursor(). Numbers are in hexadecimal digits.
 */
import { formatId128, parseId128 } from "../bytes/id128.ts";
import { AgentError } from "../errors.ts";
import { TIMESTAMP_LIMIT } from "./format.ts";

/** What a cursor tells; sd-journal needs (seqnumId, seqnum), (bootId, monotonicUsec) or realtimeUsec. */
export interface Cursor {
  /** 16 bytes, as all ids. */
  seqnumId?: Uint8Array;
  seqnum?: number;
  bootId?: Uint8Array;
  monotonicUsec?: number;
  realtimeUsec?: number;
  /** Halves of 32 bits, without sign. */
  xorHash?: { high: number; low: number };
}

/**
 * Parts in any order, and not all of them; unknown ones are passed over.
 * @throws AgentError E_USAGE
 */
export function parseCursor(text: string): Cursor {
  const cursor: Cursor = {};
  for (const part of text.split(";")) {
    const [, key, value] = /^([a-z])=([0-9a-fA-F-]+)$/.exec(part.trim()) ?? [];
    if (key === undefined || value === undefined)
      throw unusable(text, `"${part}" is no part of one`);
    readPart(cursor, key, value, text);
  }
  const hasPlace =
    (cursor.seqnumId !== undefined && cursor.seqnum !== undefined) ||
    (cursor.bootId !== undefined && cursor.monotonicUsec !== undefined) ||
    cursor.realtimeUsec !== undefined;
  if (!hasPlace) throw unusable(text, "it has no place");
  return cursor;
}

/** As systemd writes it. */
export function formatCursor(cursor: Required<Cursor>): string {
  const { seqnumId, seqnum, bootId, monotonicUsec, realtimeUsec, xorHash } = cursor;
  const place = `s=${formatId128(seqnumId)};i=${seqnum.toString(16)};b=${formatId128(bootId)}`;
  const times = `m=${monotonicUsec.toString(16)};t=${realtimeUsec.toString(16)}`;
  return `${place};${times};x=${formatHash(xorHash)}`;
}

function formatHash({ high, low }: { high: number; low: number }): string {
  if (high === 0) return low.toString(16);
  return high.toString(16) + low.toString(16).padStart(8, "0");
}

function readPart(cursor: Cursor, key: string, value: string, text: string): void {
  if (key === "s") cursor.seqnumId = id(value, text);
  else if (key === "i") cursor.seqnum = number(value, Number.MAX_SAFE_INTEGER, text);
  else if (key === "b") cursor.bootId = id(value, text);
  else if (key === "m") cursor.monotonicUsec = number(value, TIMESTAMP_LIMIT, text);
  else if (key === "t") cursor.realtimeUsec = number(value, TIMESTAMP_LIMIT, text);
  else if (key === "x") {
    if (!/^[0-9a-fA-F]{1,16}$/.test(value)) throw unusable(text, `"x=${value}" is no hash`);
    const digits = value.padStart(16, "0");
    const [high, low] = [
      Number.parseInt(digits.slice(0, 8), 16),
      Number.parseInt(digits.slice(8), 16),
    ];
    cursor.xorHash = { high, low };
  }
}

function id(value: string, text: string): Uint8Array {
  const bytes = parseId128(value);
  if (bytes === undefined) throw unusable(text, `"${value}" is no id`);
  return bytes;
}

function number(value: string, max: number, text: string): number {
  const result = /^[0-9a-fA-F]{1,16}$/.test(value) ? Number.parseInt(value, 16) : Number.NaN;
  if (!(result <= max)) throw unusable(text, `"${value}" is no number`);
  return result;
}

function unusable(text: string, problem: string): AgentError {
  return new AgentError(
    "E_USAGE",
    `Cannot use cursor "${text}": ${problem}, need one as journalctl shows it`,
    {
      hint: 'journalctl shows them with "--output=export" or "--show-cursor"',
    },
  );
}
