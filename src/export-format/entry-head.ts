/**
 * Times, boot id and identity of the entry being read: what its own `__` lines and `_BOOT_ID` say, and
 * what it has from the entry before. HOT: guarded by scripts/bench/parse.ts.
 */
import { isNullId128 } from "../bytes/id128.ts";
import type { Entry } from "../journal/entry.ts";
import { quoteBytes } from "./describe.ts";
import {
  BOOT_ID_NAME,
  CURSOR_NAME,
  isName,
  MONOTONIC_NAME,
  REALTIME_NAME,
  type Refusal,
  SEQNUM_ID_NAME,
  SEQNUM_NAME,
} from "./fields.ts";
import {
  cursorXorHash,
  isSeqnum,
  parseCursorIdentity,
  parseCursorXorHash,
  parseId,
  parseNumber,
} from "./values.ts";

const CR = 0x0d;
const UNDERSCORE = 0x5f;
const LETTER_B = 0x42;

/** Which of these the current entry brought itself, as bits. */
const Own = { realtime: 1, monotonic: 2, bootId: 4 } as const;
const OWN_ALL = Own.realtime | Own.monotonic | Own.bootId;

/** Whether a name may be `_BOOT_ID` or begins with "__", as far as its length and a byte tell. */
export function isHeadLine(bytes: Uint8Array, lineStart: number, nameLength: number): boolean {
  const second = bytes[lineStart + 1];
  return second === UNDERSCORE || (second === LETTER_B && nameLength === BOOT_ID_NAME.length);
}

export class EntryHead {
  #own = 0;
  #realtimeUsec = 0;
  #monotonicUsec = 0;
  #bootId: Uint8Array = new Uint8Array(16);
  #seqnum = 0;
  readonly #seqnumId: Uint8Array = new Uint8Array(16);
  #hasSeqnumId = false;
  /** Value of the `__CURSOR` line, relative to the entry's start: bytes may move before it is read. */
  #cursorStart = 0;
  #cursorEnd = 0;

  /** The next entry begins. */
  reset(): void {
    this.#own = 0;
    this.#seqnum = 0;
    this.#hasSeqnumId = false;
    this.#cursorStart = 0;
    this.#cursorEnd = 0;
  }

  /**
   * Takes one text line, if its name is one of those above. Of repeated lines the last counts.
   * @param entryStart where the entry begins in `bytes`.
   * @returns why the entry must be refused, if it must.
   */
  takeLine(
    bytes: Uint8Array,
    entryStart: number,
    lineStart: number,
    nameLength: number,
    lineEnd: number,
  ): Refusal | undefined {
    const valueStart = lineStart + nameLength + 1;
    if (isName(bytes, lineStart, nameLength, BOOT_ID_NAME)) {
      return this.#takeBootId(bytes, valueStart, lineEnd);
    }
    if (isName(bytes, lineStart, nameLength, REALTIME_NAME)) {
      this.#own |= Own.realtime;
      this.#realtimeUsec = parseNumber(bytes, valueStart, lineEnd);
      return checkTime(this.#realtimeUsec, 1, bytes, valueStart, lineEnd);
    }
    if (isName(bytes, lineStart, nameLength, MONOTONIC_NAME)) {
      this.#own |= Own.monotonic;
      this.#monotonicUsec = parseNumber(bytes, valueStart, lineEnd);
      return checkTime(this.#monotonicUsec, 0, bytes, valueStart, lineEnd);
    }
    if (isName(bytes, lineStart, nameLength, CURSOR_NAME)) {
      this.#cursorStart = valueStart - entryStart;
      this.#cursorEnd = lineEnd - entryStart;
    } else if (isName(bytes, lineStart, nameLength, SEQNUM_NAME)) {
      this.#seqnum = parseNumber(bytes, valueStart, lineEnd);
    } else if (isName(bytes, lineStart, nameLength, SEQNUM_ID_NAME)) {
      const isId = parseId(bytes, valueStart, lineEnd, this.#seqnumId);
      this.#hasSeqnumId = isId && !isNullId128(this.#seqnumId);
    }
    return undefined;
  }

  /**
   * Completes `entry`, which still has times and boot id of the entry before: those it inherits.
   * @returns why it must be refused, if it must; it is then unchanged.
   */
  fill(entry: Entry, bytes: Uint8Array, entryStart: number): Refusal | undefined {
    const own = this.#own;
    if ((own & Own.realtime) === 0 && entry.realtimeUsec === 0) return NO_REALTIME;
    if ((own & Own.bootId) === 0 && isNullId128(entry.bootId)) return NO_BOOT_ID;
    if ((own & Own.realtime) !== 0) entry.realtimeUsec = this.#realtimeUsec;
    if ((own & Own.monotonic) !== 0) entry.monotonicUsec = this.#monotonicUsec;
    if ((own & Own.bootId) !== 0) {
      const previous = entry.bootId;
      entry.bootId = this.#bootId;
      this.#bootId = previous;
    }
    this.#fillIdentity(entry, bytes, entryStart);
    return undefined;
  }

  /** Whether the entry lacks a time or the boot id. */
  get isIncomplete(): boolean {
    return this.#own !== OWN_ALL;
  }

  #takeBootId(bytes: Uint8Array, valueStart: number, lineEnd: number): Refusal | undefined {
    this.#own |= Own.bootId;
    if (!parseId(bytes, valueStart, lineEnd, this.#bootId)) {
      if (bytes[lineEnd - 1] === CR) return CR_LF;
      const value = quoteBytes(bytes, valueStart, lineEnd);
      return { reason: "bad-boot-id", detail: `boot id is ${value}, need 32 hex digits` };
    }
    return isNullId128(this.#bootId) ? NO_BOOT_ID : undefined;
  }

  #fillIdentity(entry: Entry, bytes: Uint8Array, entryStart: number): void {
    if (this.#hasSeqnumId && isSeqnum(this.#seqnum)) {
      entry.seqnum = this.#seqnum;
      // Shared from now on, which does no harm: an id counts only next to a number.
      entry.seqnumId = this.#seqnumId;
    } else {
      const cursorStart = entryStart + this.#cursorStart;
      const cursorEnd = entryStart + this.#cursorEnd;
      entry.seqnum = parseCursorIdentity(bytes, cursorStart, cursorEnd, entry.seqnumId);
    }
    this.#fillXorHash(entry, bytes, entryStart);
  }

  #fillXorHash(entry: Entry, bytes: Uint8Array, entryStart: number): void {
    const cursorStart = entryStart + this.#cursorStart;
    const cursorEnd = entryStart + this.#cursorEnd;
    entry.hasXorHash = entry.seqnum > 0 && parseCursorXorHash(bytes, cursorStart, cursorEnd);
    if (!entry.hasXorHash) return;
    entry.xorHashLow = cursorXorHash.low;
    entry.xorHashHigh = cursorXorHash.high;
  }
}

export const CR_LF: Refusal = { reason: "crlf", detail: "line ends in CR LF, need LF alone" };
const NO_REALTIME: Refusal = {
  reason: "no-realtime",
  detail: "entry has no wall clock time, and none stood before it to be inherited",
};
const NO_BOOT_ID: Refusal = {
  reason: "no-boot-id",
  detail: "entry has no boot id or a null one, and none stood before it to be inherited",
};

function checkTime(
  usec: number,
  lowest: number,
  bytes: Uint8Array,
  valueStart: number,
  lineEnd: number,
): Refusal | undefined {
  if (usec >= lowest && usec <= Number.MAX_SAFE_INTEGER) return undefined;
  if (bytes[lineEnd - 1] === CR) return CR_LF;
  const value = quoteBytes(bytes, valueStart, lineEnd);
  return { reason: "bad-timestamp", detail: `time is ${value}, need ${lowest} .. 2^53-1` };
}
