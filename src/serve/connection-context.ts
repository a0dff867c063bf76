/** What all connections of the front share. */
import type { Counters } from "./counters.ts";
import type { Enrollment } from "./enrollment/enrollment.ts";
import type { Ingest } from "./ingest-types.ts";
import type { IngestLimits, WireEncoding } from "./settings.ts";

export interface ConnectionContext {
  ingest: Ingest;
  limits: IngestLimits;
  announcedEncodings: readonly WireEncoding[];
  counters: Counters;
  /** Undefined: it is off, or the connection is not encrypted. */
  enrollment: Enrollment | undefined;
  /** Wall clock, for dates and certificates. */
  wallMs(): number;
  /** Monotonic clock, for deadlines. */
  nowMs(): number;
  /** An error that is a bug, with everything known about it. */
  reportBug(error: unknown): void;
}
