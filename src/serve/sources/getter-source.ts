/** Imports what a command writes to its standard output (`--getter=`). */
import type { Subprocess } from "bun";
import { AgentError, reasonOf } from "../../errors.ts";
import { systemClock } from "../../platform/clock.ts";
import type { Ingest, IngestStream } from "../ingest-types.ts";
import { expectAgentError, pump, reportAbort, reportEnd, type SourceReport } from "./source.ts";

/** A command told to stop has this long before it is killed. */
const KILL_DELAY_MS = 500;

const PART = /\\.|'(?:\\.|[^\\'])*'|"(?:\\.|[^\\"])*"|[^\\'" \t\n\r]/.source;
const WORD = new RegExp(`(?:${PART})+`, "gsu");
const COMMAND = new RegExp(`^(?:${PART}|[ \\t\\n\\r])*$`, "su");

export interface GetterSourceOptions {
  ingest: Ingest;
  signal: AbortSignal;
}

/**
 * Splits a command into words as systemd does: at white space, with `'` and `"` around any part of a
 * word, and a backslash taking the next character as it is, inside quotes too. There is no shell:
 * `$`, `;`, `#` and the like are ordinary characters.
 * @throws AgentError E_USAGE when it is empty, or a quote or backslash is left open.
 */
export function splitCommand(command: string): string[] {
  if (!COMMAND.test(command)) {
    throw new AgentError(
      "E_USAGE",
      `Cannot split the command "${command}": a quote or backslash is left open, its end is needed`,
    );
  }
  const words = command.match(WORD) ?? [];
  if (words.length === 0) {
    throw new AgentError("E_USAGE", "Cannot run a getter: it is empty, a command is needed");
  }
  return words.map(unquote);
}

/**
 * Runs the command to its end; entries are filed under the command's name. A command that fails is
 * a failed source, though what it wrote is stored. Never rejects but for a bug.
 * @param words as `splitCommand` returns them.
 */
export async function runGetter(
  words: readonly string[],
  options: GetterSourceOptions,
): Promise<SourceReport> {
  const { ingest, signal } = options;
  const name = words[0] ?? "";
  if (signal.aborted) return reportAbort(name, undefined);
  let child: Getter | undefined;
  let stream: IngestStream | undefined;
  try {
    stream = ingest.open(name, undefined);
    child = spawnGetter(words);
    const readError = (cause: unknown): AgentError => runError(name, cause);
    const cut = await pump(child.stdout, stream, { readError, signal });
    if (!signal.aborted) await Promise.race([child.exited, aborted(signal)]);
    if (signal.aborted) {
      stream.abort();
      return reportAbort(name, undefined);
    }
    return reportEnd(name, await stream.end(), cut ?? exitError(name, child));
  } catch (error) {
    stream?.abort();
    return reportAbort(name, expectAgentError(error));
  } finally {
    if (child !== undefined) await stopGetter(child);
  }
}

/** `a"b 'c'"\\ d` → `ab 'c' d` */
function unquote(word: string): string {
  const unescaped = (text: string): string => text.replace(/\\(.)/gsu, "$1");
  return word.replace(
    /\\(.)|'((?:\\.|[^\\'])*)'|"((?:\\.|[^\\"])*)"/gsu,
    (_all, char?: string, single?: string, double?: string) =>
      char ?? unescaped(single ?? double ?? ""),
  );
}

type Getter = Subprocess<"inherit", "pipe", "inherit">;

function spawnGetter(words: readonly string[]): Getter {
  try {
    return Bun.spawn([...words], { stdin: "inherit", stdout: "pipe", stderr: "inherit" });
  } catch (cause) {
    throw runError(words[0] ?? "", cause);
  }
}

/** Leaves no process behind, not even one that ignores SIGTERM. */
async function stopGetter(child: Getter): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGTERM");
  const grace = new AbortController();
  const exited = child.exited.then(() => grace.abort());
  await systemClock.sleep(KILL_DELAY_MS, grace.signal);
  if (!grace.signal.aborted) child.kill("SIGKILL");
  await exited;
}

function aborted(signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  signal.addEventListener("abort", () => resolve(), { once: true });
  return promise;
}

function exitError(name: string, child: Getter): AgentError | undefined {
  if (child.exitCode === 0) return undefined;
  const how =
    child.signalCode === null
      ? `exited with status ${child.exitCode}`
      : `was killed by ${child.signalCode}`;
  return new AgentError("E_PEER", `Cannot import all of "${name}": the command ${how}`, {
    hint: "its own messages are above; the entries it wrote are stored",
  });
}

function runError(name: string, cause: unknown): AgentError {
  return new AgentError("E_PEER", `Cannot run "${name}": ${reasonOf(cause)}`, { cause });
}
