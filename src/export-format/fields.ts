/**
 * What may stand in an export stream: field names, the `__` fields, limits, and the reasons for
 * which an entry is refused. https://systemd.io/JOURNAL_EXPORT_FORMATS/
 */
import { ENTRY_FIELDS_MAX } from "../journal/entry.ts";

/** Most that one entry of a stream may take; also the highest values that may be configured. */
export const DEFAULT_PARSER_LIMITS: ParserLimits = {
  fieldsMax: ENTRY_FIELDS_MAX,
  fieldSizeMax: 768 * 1024 * 1024,
  entrySizeMax: 770 * 1024 * 1024,
};

export interface ParserLimits {
  /** Fields of one entry, `_BOOT_ID` included, the `__` fields not. */
  readonly fieldsMax: number;
  /** Bytes of `NAME=value`, for a binary field as well. */
  readonly fieldSizeMax: number;
  /** Bytes of one entry as it stands in the stream, without the empty line that ends it. */
  readonly entrySizeMax: number;
}

/** Why an entry was refused. The first reason found counts. */
export const REFUSAL_REASONS = [
  /** The lines end in CR LF. */
  "crlf",
  /** A time that is not a number, or outside 1 (monotonic: 0) .. 2^53-1. */
  "bad-timestamp",
  /** `_BOOT_ID=` with anything but 32 hex digits or a dashed UUID. */
  "bad-boot-id",
  /** No boot id and none to inherit, or all zeros. */
  "no-boot-id",
  /** No wall clock time and none to inherit. */
  "no-realtime",
  /** A field name that is empty, too long, begins with a digit, or is not of `A-Z0-9_`. */
  "bad-name",
  "too-many-fields",
  "field-too-large",
  "entry-too-large",
  /** A binary field's size is beyond anything that could follow. */
  "binary-size",
  /** A binary field's data is not followed by a line end. */
  "binary-end",
  /** Nothing but `__` fields. */
  "no-fields",
  /** The stream ended inside the entry. */
  "truncated",
] as const;
export type RefusalReason = (typeof REFUSAL_REASONS)[number];

export interface Refusal {
  readonly reason: RefusalReason;
  /** What is there and what is needed, for a log line. */
  readonly detail: string;
}

/** The `__` fields that mean something here, and `_BOOT_ID`, which is a field as well. */
export const BOOT_ID_NAME = ascii("_BOOT_ID");
export const CURSOR_NAME = ascii("__CURSOR");
export const SEQNUM_NAME = ascii("__SEQNUM");
export const SEQNUM_ID_NAME = ascii("__SEQNUM_ID");
export const REALTIME_NAME = ascii("__REALTIME_TIMESTAMP");
export const MONOTONIC_NAME = ascii("__MONOTONIC_TIMESTAMP");

/** Whether the name of `length` bytes at `start` is `name`. */
export function isName(
  bytes: Uint8Array,
  start: number,
  length: number,
  name: Uint8Array,
): boolean {
  if (length !== name.length) return false;
  for (let i = length - 1; i >= 0; i--) if (bytes[start + i] !== name[i]) return false;
  return true;
}

/** The bytes of an ASCII text, for tables made once. */
export function ascii(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
