/**
 * The state file: how far one target is, in the format of systemd-journal-upload, so that either program goes on where
 * the other stopped. It reads `LAST_CURSOR=` and passes over the lines that are ours; it drops them when it writes.
 *
 *   # This is private data. Do not parse.
 *   LAST_CURSOR=s=…;i=…;b=…;m=…;t=…;x=…
 *   AGENT_TARGET=https://logs.example.net:19532/upload
 *   AGENT_CURSOR=s=…                  the cursor that AGENT_TAILS belongs to
 *   AGENT_TAILS=<seqnum id>:<seqnum>:<realtime>:<boot id>,…      numbers in hexadecimal digits
 */
import { mkdirSync, readFileSync } from "node:fs";
import { type FileHandle, open, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { AgentError, errnoOf, reasonOf } from "../errors.ts";
import type { SequenceTail } from "../journal/reader/start.ts";
import type { Position } from "./delivery-types.ts";

/** Sequence-number ids that are remembered: those whose last entry is the most recent. */
export const TAILS_MAX = 4096;
const STATE_FILE_SIZE_MAX = 1024 * 1024;

const COMMENT = "# This is private data. Do not parse.";
const CURSOR = /^[a-z]=[0-9a-f]+(;[a-z]=[0-9a-f]+)*$/;
const TAIL = /^([0-9a-f]{32}):([0-9a-f]{1,14}):([0-9a-f]{1,14}):([0-9a-f]{32})$/;

export interface SavedState {
  position: Position;
  /** Whose position it is, where there are several; undefined when it is not written there. */
  target: string | undefined;
}

/**
 * @returns undefined when there is no such file: nothing was sent yet
 * @throws AgentError E_CONFIG when it is there and cannot be used
 */
export function readState(path: string): SavedState | undefined {
  let text: string;
  try {
    const bytes = readFileSync(path);
    if (bytes.length > STATE_FILE_SIZE_MAX) throw unusable(path, `${bytes.length} bytes are there`);
    text = bytes.toString("utf8");
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error instanceof AgentError ? error : unusable(path, reasonOf(error), error);
  }
  return parseState(text, path);
}

/** @param path for the message */
export function parseState(text: string, path: string): SavedState {
  const values = new Map<string, string>();
  for (const line of text.split("\n")) {
    const [, name, value] = /^\s*([A-Z_]+)=(.*?)\s*$/.exec(line) ?? [];
    if (name !== undefined && value !== undefined) values.set(name, unquote(value));
  }
  const cursor = values.get("LAST_CURSOR");
  if (cursor === undefined || !CURSOR.test(cursor)) {
    throw unusable(path, "there is no LAST_CURSOR= with a cursor");
  }
  const isOurs = values.get("AGENT_CURSOR") === cursor;
  const tails = parseTails(isOurs ? (values.get("AGENT_TAILS") ?? "") : "");
  return { position: { cursor, tails }, target: values.get("AGENT_TARGET") };
}

export function formatState({ position, target }: SavedState): string {
  const tails = [...position.tails]
    .sort(([, a], [, b]) => b.realtimeUsec - a.realtimeUsec)
    .slice(0, TAILS_MAX)
    .map(([id, { seqnum, realtimeUsec, bootId }]) => {
      return `${id}:${seqnum.toString(16)}:${realtimeUsec.toString(16)}:${bootId}`;
    });
  const lines = [
    COMMENT,
    `LAST_CURSOR=${position.cursor}`,
    ...(target === undefined ? [] : [`AGENT_TARGET=${target}`]),
    ...(tails.length === 0
      ? []
      : [`AGENT_CURSOR=${position.cursor}`, `AGENT_TAILS=${tails.join(",")}`]),
  ];
  return `${lines.join("\n")}\n`;
}

/** @throws AgentError E_CONFIG when there is no directory for the file and none can be made */
export function makeStateDirectory(path: string): void {
  const directory = dirname(path);
  try {
    mkdirSync(directory, { recursive: true, mode: 0o755 });
  } catch (error) {
    const message = `Cannot make directory "${directory}": ${reasonOf(error)}, need one for the state file`;
    const hint =
      "Make it and let the service's user write there, or name another place with --save-state=";
    throw new AgentError("E_CONFIG", message, { cause: error, hint });
  }
}

/**
 * Replaces the file in one step that survives a crash: there is always the old one or the new one, whole. Nothing else
 * waits for the disk meanwhile.
 * @throws Error of the file system; the old file is then still there
 */
export async function writeState(path: string, state: SavedState): Promise<void> {
  const temporary = `${path}.tmp`;
  const file = await open(temporary, "w", 0o644);
  await syncAndClose(file, formatState(state));
  await rename(temporary, path);
  await syncAndClose(await open(dirname(path), "r"));
}

async function syncAndClose(file: FileHandle, text?: string): Promise<void> {
  try {
    if (text !== undefined) await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

function parseTails(text: string): Position["tails"] {
  const tails = new Map<string, SequenceTail>();
  for (const part of text.split(",", TAILS_MAX)) {
    const [, id, seqnum, realtime, bootId] = TAIL.exec(part) ?? [];
    if (id === undefined || seqnum === undefined || realtime === undefined || bootId === undefined)
      continue;
    tails.set(id, {
      seqnum: Number.parseInt(seqnum, 16),
      realtimeUsec: Number.parseInt(realtime, 16),
      bootId,
    });
  }
  return tails;
}

/** Quotes are ours to read, though nobody writes them: it is the syntax of environment files. */
function unquote(value: string): string {
  return /^(["']).*\1$/.test(value) ? value.slice(1, -1) : value;
}

function unusable(path: string, problem: string, cause?: unknown): AgentError {
  const message = `Cannot use state file "${path}": ${problem}, need the place to go on from`;
  return new AgentError("E_CONFIG", message, {
    cause,
    hint: `Restore it, or say where to start with --after-cursor=, or remove it to send the whole journal: rm "${path}"`,
  });
}
