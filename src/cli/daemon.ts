/** What a daemon has around it: signals, the service manager to report to, its watchdog. */
import { reasonOf } from "../errors.ts";
import { log } from "../log.ts";
import { feedWatchdog, type Notifier, openNotifier, ServiceSignals } from "../platform/service.ts";

export interface Daemon {
  /** Aborts when the service shall stop. */
  signal: AbortSignal;
  /** SIGHUP: certificates and keys are to be read again. */
  onReload(reload: () => void): void;
  /** `isHealthy` tells whether the watchdog is to be fed. */
  onHealthCheck(isHealthy: () => boolean): void;
  notify: Notifier;
}

/** Resolves with what `run` does, when the last message to the service manager is out. */
export async function runDaemon<T>(run: (daemon: Daemon) => Promise<T>): Promise<T> {
  const signals = new ServiceSignals();
  const notify = await openNotifier(process.env, { onError: onceOnly(warnOfNotify) });
  let isHealthy = (): boolean => true;
  const stopWatchdog = feedWatchdog(notify, process.env, process.pid, () => isHealthy());
  try {
    return await run({
      signal: signals.signal,
      onReload: (reload) => signals.onReload(reload),
      onHealthCheck(check) {
        isHealthy = check;
      },
      notify,
    });
  } finally {
    stopWatchdog();
    await notify.close();
    signals.close();
  }
}

function warnOfNotify(error: unknown): void {
  log.warn(`The service manager cannot be told how it goes: ${reasonOf(error)}`);
}

/** Status goes out every few seconds: one warning is enough. */
function onceOnly(call: (error: unknown) => void): (error: unknown) => void {
  let isCalled = false;
  return (error) => {
    if (!isCalled) call(error);
    isCalled = true;
  };
}
