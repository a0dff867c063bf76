/** One entry sent through all of it: written to the local journal, looked for where it has to arrive. */
import { existsSync } from "node:fs";
import { formatId128 } from "../bytes/id128.ts";
import { AgentError } from "../errors.ts";
import { parseCursor } from "../journal/cursor.ts";
import type { RunCommand } from "../platform/run.ts";
import { LOCAL_PLACES, type PlaceSettings } from "../upload/settings.ts";
import { openSource } from "../upload/source.ts";
import type { SavedState } from "../upload/state.ts";

const PROBE_IDENTIFIER = "agent-install";

/** Clocks may be set back a little meanwhile. */
const SLACK_USEC = 60_000_000;

/**
 * Writes an entry of priority "info".
 * @param namespace of the journal; undefined = the default one
 * @returns its MESSAGE
 * @throws AgentError E_CONFIG when there is no journal to write to
 */
export async function writeProbe(
  run: RunCommand,
  namespace: string | undefined,
  id: string,
): Promise<string> {
  const message = `agent install checks itself: ${id}`;
  const input = `${message}\n`;
  if (namespace !== undefined) return await writeToNamespace(run, namespace, message);
  let result = await run(["systemd-cat", `--identifier=${PROBE_IDENTIFIER}`, "--priority=info"], {
    input,
  });
  // "systemd-cat" without a command runs cat(1), which containers may lack.
  if (result.status !== 0) result = await run(loggerCommand([], message));
  if (result.status === 0) return message;
  throw unwritten("the journal", result.stderr);
}

async function writeToNamespace(
  run: RunCommand,
  namespace: string,
  message: string,
): Promise<string> {
  const socket = `/run/systemd/journal.${namespace}/dev-log`;
  const what = `journal namespace "${namespace}"`;
  if (!existsSync(socket)) {
    const hint = `systemctl start systemd-journald@${namespace}.socket`;
    throw new AgentError("E_CONFIG", `Cannot write to ${what}: nobody listens on "${socket}"`, {
      hint,
    });
  }
  const { status, stderr } = await run(loggerCommand([`--socket=${socket}`], message));
  if (status !== 0) throw unwritten(what, stderr);
  return message;
}

function loggerCommand(options: readonly string[], message: string): string[] {
  return ["logger", ...options, `--tag=${PROBE_IDENTIFIER}`, "--priority=user.info", message];
}

function unwritten(what: string, stderr: string): AgentError {
  return new AgentError("E_CONFIG", `Cannot write to ${what}: ${stderr.trim()}`);
}

/**
 * Waits for an entry with this MESSAGE.
 * @param places where; undefined parts: the local default journal
 * @returns its cursor; undefined when the signal came first
 * @throws AgentError E_CONFIG when there is no such place
 */
export async function waitForEntry(
  places: Partial<PlaceSettings>,
  message: string,
  nowUsec: number,
  signal: AbortSignal,
): Promise<string | undefined> {
  const source = openSource(
    {
      places: { ...LOCAL_PLACES, ...places },
      start: {
        cursor: undefined,
        afterCursor: undefined,
        sinceUsec: nowUsec - SLACK_USEC,
        untilUsec: undefined,
        boot: "all",
        lines: undefined,
        maxAgeUsec: undefined,
      },
      selection: {
        units: [],
        identifiers: [PROBE_IDENTIFIER],
        priorities: undefined,
        facilities: [],
        grep: [],
        matches: [[`MESSAGE=${message}`]],
        excludeUnits: [],
        excludeIdentifiers: [],
        excludeFacilities: [],
        excludePriorities: [],
        excludeGrep: [],
        excludeMatches: [],
      },
      transform: { dropFields: [], redactFields: [], addFields: [] },
      follow: true,
    },
    undefined,
  );
  try {
    while (!signal.aborted) {
      if (source.next() !== undefined) return source.position()?.cursor;
      await source.wait(signal);
    }
    return undefined;
  } finally {
    source.close();
  }
}

/** Whether a position is at this entry, or behind it: it was acknowledged. */
export function isBehind(position: SavedState["position"], entryCursor: string): boolean {
  const entry = parseCursor(entryCursor);
  const { seqnumId, seqnum = 0, realtimeUsec = 0 } = entry;
  const id = seqnumId === undefined ? "" : formatId128(seqnumId);
  const tail = position.tails.get(id);
  if (tail !== undefined) return tail.seqnum >= seqnum;
  const last = parseCursor(position.cursor);
  const isSameSequence = last.seqnumId !== undefined && formatId128(last.seqnumId) === id;
  if (isSameSequence) return (last.seqnum ?? 0) >= seqnum;
  // Numbers of two sequences do not compare. Entries are sent in the order of their times.
  return position.tails.size === 0 && (last.realtimeUsec ?? 0) > realtimeUsec;
}
