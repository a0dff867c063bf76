/** Time and chance as the retrying sources see them, so that tests can hold both. */

export interface Clock {
  /** Milliseconds since the epoch. Goes on steadily, though the machine's clock may be set meanwhile. */
  now(): number;
  /** Resolves after `delayMs`, or as soon as the signal fires. Never rejects. */
  sleep(delayMs: number, signal: AbortSignal): Promise<void>;
  /** 0 ≤ x < 1 */
  random(): number;
}

export const systemClock: Clock = {
  now: () => performance.timeOrigin + performance.now(),
  sleep,
  random: () => Math.random(),
};

function sleep(delayMs: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (signal.aborted) {
    resolve();
    return promise;
  }
  const finish = (): void => {
    clearTimeout(timer);
    signal.removeEventListener("abort", finish);
    resolve();
  };
  const timer = setTimeout(finish, delayMs);
  signal.addEventListener("abort", finish, { once: true });
  return promise;
}
