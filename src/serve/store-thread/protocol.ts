/**
 * What the network thread and the store thread say to each other. Entries travel in buffers that are handed
 * over, not copied, and come back to be filled again; their bytes are what bounds them.
 */
import { AgentError, type AgentErrorDetails, type ErrorCode } from "../../errors.ts";
import type { LogOptions } from "../../log.ts";
import type { StoreOptions } from "../store/store.ts";

/** Large enough that a message costs little beside its entries. */
export const BATCH_SIZE = 128 * 1024;
/** Batches of no more bytes than this are copied into a buffer of their size: most senders say little at a time. */
export const SMALL_BATCH_SIZE = 32 * 1024;
/** What a message takes beside its bytes, about: a stream may consist of tiny blocks. */
export const MESSAGE_SIZE = 1024;
/** Bytes under way from all sinks together; past that sources wait. */
export const UNDER_WAY_MAX = 64 * BATCH_SIZE;
/** Bytes of one sink under way, so that no sender takes all. */
export const SINK_UNDER_WAY_MAX = 8 * BATCH_SIZE;
/**
 * Bytes under way at which entries are refused, since a decoder does not wait: a few kilobytes may
 * decode to gigabytes. An entry that is alone may be larger.
 */
export const UNDER_WAY_CEILING = 256 * 1024 * 1024;

/** What the store thread starts with. */
export interface StoreThreadSettings extends StoreOptions {
  log: LogOptions;
}

export type ToStore =
  | { type: "open"; sink: number; sender: string }
  | { type: "entries"; sink: number; buffer: ArrayBuffer; size: number }
  /** A block of the batch format that was checked. */
  | { type: "block"; sink: number; buffer: ArrayBuffer; size: number }
  | { type: "commit"; sink: number }
  | { type: "close"; sink: number }
  | { type: "cursor"; question: number; sender: string }
  | { type: "stop" };

export type FromStore =
  | { type: "started" }
  /** The store could not be opened, or failed in a way that ends the process. */
  | { type: "fatal"; error: PlainError }
  | { type: "taken"; sink: number; buffer: ArrayBuffer }
  /** Everything before the commit is on disk; counts are since the sink was opened. */
  | { type: "committed"; sink: number; stored: number; duplicates: number }
  /** The sink takes no more entries, and a commit it was asked for has failed. */
  | { type: "failed"; sink: number; error: PlainError }
  | { type: "cursor"; question: number; cursor: string | undefined }
  | { type: "status"; status: StoreStatus }
  | { type: "stopped" };

/** For the status line. */
export interface StoreStatus {
  stored: number;
  duplicates: number;
  openFiles: number;
  /** Why no entries are taken now. */
  fullReason: string | undefined;
}

/** An AgentError without its methods and cause; anything else has no code and is a bug. */
export interface PlainError {
  code: ErrorCode | undefined;
  message: string;
  hint: string | undefined;
}

export function toPlainError(error: unknown): PlainError {
  if (error instanceof AgentError) {
    return { code: error.code, message: error.message, hint: error.hint };
  }
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { code: undefined, message, hint: undefined };
}

export function fromPlainError(plain: PlainError): Error {
  if (plain.code === undefined) return new Error(plain.message);
  const details: AgentErrorDetails = plain.hint === undefined ? {} : { hint: plain.hint };
  return new AgentError(plain.code, plain.message, details);
}
