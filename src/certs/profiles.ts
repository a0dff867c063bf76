/** What certificates are for and how long they last, each with its reason. */

/** What a host does with its certificate: it receives journals, sends them, or both. */
export const ROLES = ["server", "client", "both"] as const;
export type Role = (typeof ROLES)[number];

export const DAY_MS = 86_400_000;

/** One change of authority in ten years is what people get done. */
export const AUTHORITY_DAYS = 3650;
export const AUTHORITY_DAYS_MAX = 36_500;

/** The longest that Apple's systems take from a server (support.apple.com/103769), and easy-rsa's default. */
export const LEAF_DAYS_MAX = 825;

/**
 * A list past its end makes every client refused, so it must not end before the certificates do. Each command that
 * changes something makes a new one when half of this is over.
 */
export const LIST_DAYS = 825;
export const LIST_DAYS_MAX = 36_500;

/** Certificates begin a little earlier, for hosts whose clocks are behind. */
export const BACKDATE_MS = 3_600_000;

/** A certificate is due for renewal when this much of its life is over, as with step-cli. */
const DUE_AFTER = 2 / 3;

/** The common name of a new authority, that of Netdata's script. */
export const AUTHORITY_NAME = "systemd-journal-remote-ca";

/** A clock before this is not set: the program did not exist then. */
export const CLOCK_MIN_MS = Date.UTC(2025, 0, 1);

export interface Validity {
  notBeforeMs: number;
  notAfterMs: number;
}

/** When renewal is due. */
export function dueMs({ notBeforeMs, notAfterMs }: Validity): number {
  return notBeforeMs + (notAfterMs - notBeforeMs) * DUE_AFTER;
}
