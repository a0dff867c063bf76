/**
 * Writes an entry in the export format, as `journalctl -o export` of systemd >= 254 and
 * systemd-journal-upload do. https://systemd.io/JOURNAL_EXPORT_FORMATS/
 */
import { hashJenkins, jenkins } from "../bytes/lookup3.ts";
import { viewOf } from "../bytes/view.ts";
import type { Entry } from "../journal/entry.ts";
import { ascii, BOOT_ID_NAME, isName } from "./fields.ts";
import { isPlainText } from "./text.ts";
import { writeDecimal, writeHex, writeHex64, writeId } from "./values.ts";

const LF = 0x0a;
/** A binary field's size in front of its data: le64. */
const SIZE_BYTES = 8;
/** More than the lines before the fields can take: 120 bytes of labels, 4 ids, 7 numbers. */
const HEAD_SIZE_MAX = 512;

const LABEL = {
  cursorSeqnumId: ascii("__CURSOR=s="),
  cursorSeqnum: ascii(";i="),
  cursorBootId: ascii(";b="),
  cursorMonotonic: ascii(";m="),
  cursorRealtime: ascii(";t="),
  cursorXorHash: ascii(";x="),
  realtime: ascii("__REALTIME_TIMESTAMP="),
  monotonic: ascii("\n__MONOTONIC_TIMESTAMP="),
  seqnum: ascii("\n__SEQNUM="),
  seqnumId: ascii("\n__SEQNUM_ID="),
  bootId: ascii("\n_BOOT_ID="),
} as const;

/** Bytes that serializeEntry() may need at most for this entry. */
export function serializedSizeMax(entry: Entry): number {
  let size = HEAD_SIZE_MAX;
  for (let i = 0; i < entry.fieldCount; i++) {
    // NAME=value as a binary field: "=" becomes LF and the size, and LF comes last.
    size += entry.fieldEnd[i]! - entry.fieldStart[i]! + SIZE_BYTES + 1;
  }
  return size;
}

/**
 * Writes the entry to `target` and returns the offset after it. `_BOOT_ID` is written once, from the
 * entry's boot id; an entry without identity gets no `__CURSOR` and no `__SEQNUM`.
 * @throws RangeError when `target` has less room than {@link serializedSizeMax} tells.
 */
export function serializeEntry(entry: Entry, target: Uint8Array, offset: number): number {
  const sizeMax = serializedSizeMax(entry);
  if (target.length - offset < sizeMax) {
    throw new RangeError(
      `Cannot write entry: room for ${target.length - offset} bytes, need ${sizeMax}`,
    );
  }
  let end = writeHead(entry, target, offset);
  for (let i = 0; i < entry.fieldCount; i++) {
    const start = entry.fieldStart[i]!;
    const nameLength = entry.nameLength[i]!;
    if (isName(entry.bytes, start, nameLength, BOOT_ID_NAME)) continue;
    end = writeField(entry.bytes, start, nameLength, entry.fieldEnd[i]!, target, end);
  }
  target[end] = LF;
  return end + 1;
}

/** The lines that come before the fields, in journalctl's order. */
function writeHead(entry: Entry, target: Uint8Array, offset: number): number {
  let end = offset;
  if (entry.seqnum !== 0) end = writeCursor(entry, target, end);
  end = writeBytes(target, end, LABEL.realtime);
  end = writeDecimal(target, end, entry.realtimeUsec);
  end = writeBytes(target, end, LABEL.monotonic);
  end = writeDecimal(target, end, entry.monotonicUsec);
  if (entry.seqnum !== 0) {
    end = writeBytes(target, end, LABEL.seqnum);
    end = writeDecimal(target, end, entry.seqnum);
    end = writeBytes(target, end, LABEL.seqnumId);
    end = writeId(target, end, entry.seqnumId);
  }
  end = writeBytes(target, end, LABEL.bootId);
  end = writeId(target, end, entry.bootId);
  target[end] = LF;
  return end + 1;
}

/** The cursor is the one journalctl gives: its `x` is the entry's xor-hash. */
function writeCursor(entry: Entry, target: Uint8Array, offset: number): number {
  let end = writeBytes(target, offset, LABEL.cursorSeqnumId);
  end = writeId(target, end, entry.seqnumId);
  end = writeBytes(target, end, LABEL.cursorSeqnum);
  end = writeHex(target, end, entry.seqnum);
  end = writeBytes(target, end, LABEL.cursorBootId);
  end = writeId(target, end, entry.bootId);
  end = writeBytes(target, end, LABEL.cursorMonotonic);
  end = writeHex(target, end, entry.monotonicUsec);
  end = writeBytes(target, end, LABEL.cursorRealtime);
  end = writeHex(target, end, entry.realtimeUsec);
  end = writeBytes(target, end, LABEL.cursorXorHash);
  end = writeXorHash(entry, target, end);
  target[end] = LF;
  return end + 1;
}

/** Where the entry does not say, the hash is the xor of all fields' lookup3 hashes. */
function writeXorHash(entry: Entry, target: Uint8Array, offset: number): number {
  if (entry.hasXorHash) return writeHex64(target, offset, entry.xorHashLow, entry.xorHashHigh);
  let low = 0;
  let high = 0;
  const view = viewOf(entry.bytes);
  for (let i = 0; i < entry.fieldCount; i++) {
    hashJenkins(view, entry.fieldStart[i]!, entry.fieldEnd[i]!);
    low ^= jenkins.low;
    high ^= jenkins.high;
  }
  return writeHex64(target, offset, low, high);
}

/** As text where that is safe to read line by line, else in binary form. */
function writeField(
  bytes: Uint8Array,
  start: number,
  nameLength: number,
  fieldEnd: number,
  target: Uint8Array,
  offset: number,
): number {
  const valueStart = start + nameLength + 1;
  let end = offset;
  if (isPlainText(bytes, start, fieldEnd)) {
    end = copyRange(bytes, start, fieldEnd, target, end);
  } else {
    end = copyRange(bytes, start, start + nameLength, target, end);
    target[end++] = LF;
    let size = fieldEnd - valueStart;
    for (let i = 0; i < SIZE_BYTES; i++) {
      target[end++] = size % 256;
      size = Math.floor(size / 256);
    }
    end = copyRange(bytes, valueStart, fieldEnd, target, end);
  }
  target[end] = LF;
  return end + 1;
}

function copyRange(
  bytes: Uint8Array,
  start: number,
  end: number,
  target: Uint8Array,
  offset: number,
): number {
  target.set(bytes.subarray(start, end), offset);
  return offset + end - start;
}

function writeBytes(target: Uint8Array, offset: number, bytes: Uint8Array): number {
  target.set(bytes, offset);
  return offset + bytes.length;
}
