/**
 * What the network thread and the store thread say to each other. Bytes travel through blocks of shared
 * memory, which also bound them: without a free block the network thread pauses its sockets.
 */
import { AgentError, type AgentErrorDetails, type ErrorCode } from "../../errors.ts";
import type { LogOptions } from "../../log.ts";
import type { IngestLimits, ServeSettings } from "../settings.ts";

/** Large enough that a message costs little beside its bytes. */
export const BLOCK_SIZE = 128 * 1024;
/** All bytes on their way to the store: 8 MiB. */
export const BLOCKS_MAX = 64;
/** Blocks of one stream on their way, so that no sender takes all. */
export const STREAM_BLOCKS_MAX = 16;

/** What the store thread starts with. */
export interface StoreThreadSettings
  extends Pick<ServeSettings, "output" | "splitMode" | "format" | "retention"> {
  limits: IngestLimits;
  receiverId: string;
  memory: SharedArrayBuffer;
  log: LogOptions;
}

export type ToStore =
  | { type: "open"; stream: number; sender: string; encoding: string | undefined }
  | { type: "bytes"; stream: number; block: number; size: number }
  | { type: "end"; stream: number }
  | { type: "abort"; stream: number }
  | { type: "cursor"; question: number; sender: string }
  | { type: "close" };

export type FromStore =
  | { type: "started" }
  /** The store could not be opened, or failed in a way that ends the process. */
  | { type: "fatal"; error: PlainError }
  | { type: "taken"; stream: number; block: number }
  | {
      type: "ended";
      stream: number;
      stored: number;
      duplicates: number;
      refused: [string, number][];
      trailingBytes: number;
    }
  | { type: "failed"; stream: number; error: PlainError }
  | { type: "cursor"; question: number; cursor: string | undefined }
  | { type: "status"; status: StoreStatus }
  | { type: "closed" };

/** For the status line. */
export interface StoreStatus {
  stored: number;
  duplicates: number;
  refused: number;
  openFiles: number;
  /** Why no entries are taken now. */
  fullReason: string | undefined;
}

export const NO_STATUS: StoreStatus = {
  stored: 0,
  duplicates: 0,
  refused: 0,
  openFiles: 0,
  fullReason: undefined,
};

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
