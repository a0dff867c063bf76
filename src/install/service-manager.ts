/** The service manager, as far as an installation needs it: `systemctl` of this machine. */
import { printable } from "../bytes/printable.ts";
import { AgentError } from "../errors.ts";
import type { CommandResult, RunCommand } from "../platform/run.ts";

export interface UnitState {
  /** ActiveState=: "active", "inactive", "failed", "activating"… */
  active: string;
  /** Result= and the like, in words, when it is not well. */
  problem: string | undefined;
}

export interface ServiceManager {
  daemonReload(): Promise<void>;
  /** @throws AgentError E_CONFIG with the last lines of its journal when a unit does not start */
  start(unit: string): Promise<void>;
  restart(unit: string): Promise<void>;
  /** Not running before is no error. */
  stop(unit: string): Promise<void>;
  state(unit: string): Promise<UnitState>;
}

/** Of the journal of a unit that does not start. */
const JOURNAL_LINES = 10;
/** What systemctl says of a unit that is not there: exit status 5, LSB's "program is not installed". */
const STATUS_NOT_THERE = 5;

/** systemd of this machine. */
export function systemctlManager(run: RunCommand): ServiceManager {
  const systemctl = (...words: string[]): Promise<CommandResult> =>
    run(["systemctl", "--no-ask-password", ...words]);
  const launch = async (verb: "start" | "restart", unit: string): Promise<void> => {
    // A unit that reached its limit of starts would be refused without a try.
    await systemctl("reset-failed", unit);
    const result = await systemctl(verb, unit);
    if (result.status !== 0) throw await launchError(run, verb, unit, result);
  };
  return {
    async daemonReload(): Promise<void> {
      const result = await systemctl("daemon-reload");
      if (result.status === 0) return;
      const message = `Cannot reload the service manager: ${describe(result)}`;
      throw new AgentError("E_CONFIG", message);
    },
    start: (unit) => launch("start", unit),
    restart: (unit) => launch("restart", unit),
    async stop(unit): Promise<void> {
      const result = await systemctl("stop", unit);
      if (result.status === 0 || result.status === STATUS_NOT_THERE) return;
      throw new AgentError("E_CONFIG", `Cannot stop "${unit}": ${describe(result)}`);
    },
    async state(unit): Promise<UnitState> {
      return stateOf(await showUnit(run, unit, STATE_PROPERTIES));
    },
  };
}

const STATE_PROPERTIES = ["LoadState", "ActiveState", "Result", "NRestarts", "ExecMainStatus"];

/**
 * Properties of a unit as `systemctl show` has them; a unit of which nothing is known has them too.
 * @throws AgentError E_CONFIG when there is no service manager to ask
 */
export async function showUnit(
  run: RunCommand,
  unit: string,
  properties: readonly string[],
): Promise<Map<string, string>> {
  const result = await run(["systemctl", "show", `--property=${properties.join(",")}`, unit]);
  if (result.status !== 0) {
    const message = `Cannot ask the service manager for "${unit}": ${describe(result)}`;
    throw new AgentError("E_CONFIG", message);
  }
  const values = new Map<string, string>();
  for (const line of result.stdout.split("\n")) {
    const equals = line.indexOf("=");
    if (equals > 0) values.set(line.slice(0, equals), line.slice(equals + 1));
  }
  return values;
}

/**
 * The last lines of a unit's journal, oldest first, without their times; empty where there are none.
 * @param priority the least one that counts: "err"
 */
export async function lastLines(
  run: RunCommand,
  unit: string,
  count: number,
  priority?: string,
): Promise<string[]> {
  const filter = priority === undefined ? [] : [`--priority=${priority}`];
  const options = ["--quiet", "--no-pager", "--output=cat", `--lines=${count}`, ...filter];
  const { status, stdout } = await run(["journalctl", `--unit=${unit}`, ...options]);
  if (status !== 0) return [];
  // With this output journalctl shows messages as they are.
  return stdout.split("\n").flatMap((line) => (line === "" ? [] : [printable(line)]));
}

function stateOf(values: ReadonlyMap<string, string>): UnitState {
  const active = values.get("ActiveState") ?? "unknown";
  const load = values.get("LoadState");
  if (load !== undefined && load !== "loaded") {
    return { active, problem: LOAD_PROBLEMS[load] ?? `it cannot be loaded (${load})` };
  }
  const result = values.get("Result") ?? "success";
  const exit = values.get("ExecMainStatus") ?? "0";
  const restarts = Number(values.get("NRestarts") ?? "0");
  const isWell = active === "active" && result === "success";
  if (isWell || (active === "inactive" && result === "success")) {
    return { active, problem: undefined };
  }
  const words = [
    result === "success" ? `it is ${active}` : (RESULT_PROBLEMS[result] ?? `result "${result}"`),
    ...(result === "exit-code" && exit !== "0" ? [`exit status ${exit}`] : []),
    ...(restarts > 0 ? [`restarted ${restarts} times`] : []),
  ];
  return { active, problem: words.join(", ") };
}

/** systemd.exec(5), Result= of org.freedesktop.systemd1.Service and .Socket. */
const RESULT_PROBLEMS: Record<string, string> = {
  "exit-code": "its process failed",
  signal: "its process was ended by a signal",
  "core-dump": "its process crashed",
  timeout: "it took too long",
  watchdog: "it gave no sign of life",
  protocol: "it ended before it was ready",
  resources: "the service manager could not set it up",
  "start-limit-hit": "it was started too often in a short time",
  "oom-kill": "there was not enough memory for it",
  "service-start-limit-hit": "its service was started too often in a short time",
  "trigger-limit-hit": "it was triggered too often in a short time",
};

const LOAD_PROBLEMS: Record<string, string> = {
  "not-found": "there is no such unit",
  masked: "it is masked",
  "bad-setting": "a setting of it cannot be used",
  error: "it cannot be read",
};

async function launchError(
  run: RunCommand,
  verb: string,
  unit: string,
  result: CommandResult,
): Promise<AgentError> {
  const values = await showUnit(run, unit, STATE_PROPERTIES).catch(() => undefined);
  const problem = values === undefined ? undefined : stateOf(values).problem;
  const lines = await lastLines(run, unit, JOURNAL_LINES);
  const message = `Cannot ${verb} "${unit}": ${problem ?? describe(result)}`;
  const log = lines.map((line) => `\n  ${line}`).join("");
  return new AgentError("E_CONFIG", `${message}${log === "" ? "" : `; its log ends:${log}`}`, {
    hint: `See more with: journalctl --unit=${unit}`,
  });
}

function describe({ status, stderr }: CommandResult): string {
  const text = stderr.trim().replaceAll("\n", "; ");
  return text === "" ? `systemctl ended with status ${status}` : text;
}
