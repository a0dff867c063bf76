/** Which state file belongs to which of several receivers. */
import { createHash } from "node:crypto";
import { AgentError } from "../errors.ts";
import { readState, type SavedState } from "./state.ts";

/** Of a file's name, so that with the hash it stays within what file systems allow. */
const NAME_LENGTH_MAX = 100;

export interface StatePlace {
  path: string;
  saved: SavedState | undefined;
}

export interface StatePlaceOptions {
  /** As configured. */
  stateFile: string;
  /** The receiver; undefined = there are several that have one position. */
  url: string | undefined;
  isFirst: boolean;
  /** What is saved will not be used: a file that cannot be read is as good as none. */
  isIgnored: boolean;
}

/**
 * Where each of several receivers has a position of its own, its file is the one that was written for it, or else the
 * state file itself for the first, and a file beside it for the others. So receivers may be added, taken away and
 * put in another order, and each goes on where it was.
 * @throws AgentError E_CONFIG when a file that is needed cannot be used
 */
export function findStatePlace(options: StatePlaceOptions): StatePlace {
  const { stateFile, url, isFirst, isIgnored } = options;
  const read = isIgnored ? readUsableState : readState;
  const main = { path: stateFile, saved: read(stateFile) };
  if (url === undefined || main.saved?.target === url) return main;
  const path = `${stateFile}.${fileNameOf(url)}`;
  const own = { path, saved: read(path) };
  const isMainFree = main.saved?.target === undefined;
  return own.saved === undefined && isFirst && isMainFree ? main : own;
}

/** "https://logs.example.net:19532/upload" → "logs.example.net_19532_upload-5f1c0a7e" */
export function fileNameOf(url: string): string {
  const readable = url.replace(/^[a-z]+:\/\//, "").replace(/[^A-Za-z0-9.-]+/g, "_");
  const hash = createHash("sha256").update(url).digest("hex").slice(0, 8);
  return `${readable.slice(0, NAME_LENGTH_MAX)}-${hash}`;
}

function readUsableState(path: string): SavedState | undefined {
  try {
    return readState(path);
  } catch (error) {
    if (error instanceof AgentError) return undefined;
    throw error;
  }
}
