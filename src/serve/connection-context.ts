/** What all connections of the front share. */
import type { Counters } from "./counters.ts";
import type { Ingest } from "./ingest-types.ts";
import type { IngestLimits, WireEncoding } from "./settings.ts";

export interface ConnectionContext {
  ingest: Ingest;
  limits: IngestLimits;
  announcedEncodings: readonly WireEncoding[];
  counters: Counters;
  /** Wall clock, for dates and certificates. */
  wallMs(): number;
  /** Monotonic clock, for deadlines. */
  nowMs(): number;
  /** An error that is a bug, with everything known about it. */
  reportBug(error: unknown): void;
}
