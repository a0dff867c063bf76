/** What the command line hands to the uploader besides the settings. */
import type { Notifier } from "../platform/service.ts";

/** What the process around it provides. */
export interface UploadContext {
  /** Aborts when the service shall stop. */
  signal: AbortSignal;
  /** READY=, STATUS= and STOPPING= are for the uploader to send; the watchdog is fed elsewhere. */
  notify: Notifier;
  /** `isHealthy` tells whether the watchdog is to be fed. */
  onHealthCheck(isHealthy: () => boolean): void;
  /** Certificates, keys and tokens are to be read again. */
  onReload(reload: () => void): void;
  /** Undefined: nobody looks, or there is no end. */
  progress: UploadProgress | undefined;
  /** Proxies (https_proxy, …), CREDENTIALS_DIRECTORY; `process.env` fits. */
  environment: Readonly<Record<string, string | undefined>>;
}

/** How far it is. Cheap enough to call for every batch. */
export interface UploadProgress {
  /** @param entriesSent acknowledged so far @param entriesLeft an estimate of what is still to be */
  update(entriesSent: number, entriesLeft: number): void;
  /** Leaves a last line with the totals. */
  done(): void;
}
