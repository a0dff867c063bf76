/** How long to wait before the next attempt. Pure: chance and time come in as arguments. */

export const RETRY_DELAY_MS_MIN = 1000;
export const RETRY_DELAY_MS_MAX = 60_000;

/** A server may ask for more patience than ours, but not for a silence nobody would notice. */
export const RETRY_AFTER_MS_MAX = 3_600_000;

/**
 * Doubles from 1–2 s to 30–60 s; the upper half of each step is drawn by lot, so that receivers
 * cut off at the same moment do not come back at the same moment.
 * @param failures attempts in a row that brought nothing, 0 after one that did.
 * @param random 0 ≤ x < 1
 * @returns milliseconds, RETRY_DELAY_MS_MIN .. RETRY_DELAY_MS_MAX
 */
export function retryDelayMs(failures: number, random: number): number {
  const ceiling = Math.min(RETRY_DELAY_MS_MAX, 2 * RETRY_DELAY_MS_MIN * 2 ** failures);
  return Math.round((ceiling / 2) * (1 + random));
}

/**
 * What a Retry-After header asks for: seconds, or a date (RFC 9110 10.2.3).
 * @returns milliseconds from `nowMs` on, at most RETRY_AFTER_MS_MAX; 0 when absent or not understood.
 */
export function parseRetryAfterMs(value: string | null | undefined, nowMs: number): number {
  if (value === null || value === undefined) return 0;
  const text = value.trim();
  const delayMs = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - nowMs;
  if (!(delayMs > 0)) return 0;
  return Math.min(delayMs, RETRY_AFTER_MS_MAX);
}
