import { DEFAULT_BATCH, type UploadSettings } from "../../src/upload/settings.ts";
import { NO_SELECTION, NO_START, NO_TRANSFORM, placesOf } from "./neutral-settings.ts";

/** What `agent upload` runs with where nothing is configured: everything from one directory, to its end. */
export function uploadSettings(
  directory: string,
  settings: Partial<UploadSettings> = {},
): UploadSettings {
  return {
    urls: [],
    targets: "failover",
    keyFile: undefined,
    certificateFile: undefined,
    trust: "all",
    headers: [],
    bearerTokenFile: undefined,
    basicAuthFile: undefined,
    proxy: "",
    networkTimeoutUsec: Infinity,
    connectionAgeUsec: Infinity,
    compression: [],
    forceCompression: false,
    places: placesOf({ directory }),
    start: NO_START,
    selection: NO_SELECTION,
    transform: NO_TRANSFORM,
    batch: DEFAULT_BATCH,
    retry: { attemptsMax: Infinity, durationUsecMax: Infinity },
    rateLimit: { bytesPerSec: 0, entriesPerSec: 0 },
    follow: false,
    stateFile: undefined,
    quarantineFile: undefined,
    quarantineSizeMax: 1024 * 1024,
    exitOnFailure: false,
    ...settings,
  };
}
