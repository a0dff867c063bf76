/** What the service manager's status line says of an uploader. */
import type { PipelineProgress } from "./pipeline.ts";

/** Entries a second over the time since the last look. */
export class RateMeter {
  #entries = 0;
  #atMs: number;

  constructor(nowMs: number) {
    this.#atMs = nowMs;
  }

  /** @param entries in all so far */
  update(entries: number, nowMs: number): number {
    const seconds = (nowMs - this.#atMs) / 1000;
    const rate = seconds > 0 ? (entries - this.#entries) / seconds : 0;
    this.#entries = entries;
    this.#atMs = nowMs;
    return rate;
  }
}

/** One receiver: "https://logs.example.net:19532/upload: 12 entries (0.4 s) behind, 310/s, 5120 acknowledged". */
export function formatProgress(
  progress: PipelineProgress,
  entriesPerSec: number,
  nowMs: number,
): string {
  const { url, entries, backlog, realtimeUsec, quarantined, losses } = progress;
  const { problem, stateProblem } = progress;
  const lagSec = realtimeUsec === undefined ? undefined : nowMs / 1000 - realtimeUsec / 1e6;
  const lag = lagSec === undefined ? "" : ` (${formatSeconds(Math.max(0, lagSec))})`;
  const damaged = sum(losses.damaged.values());
  const parts = [
    ...(problem === undefined ? [] : [`RETRYING (${problem})`]),
    ...(stateProblem === undefined ? [] : [`POSITION NOT SAVED (${stateProblem})`]),
    backlog === 0 ? "up to date" : `${backlog} entries${lag} behind`,
    `${Math.round(entriesPerSec)}/s`,
    `${entries} acknowledged`,
    ...(quarantined === 0 ? [] : [`${quarantined} quarantined`]),
    ...(losses.vacuumed === 0 ? [] : [`${losses.vacuumed} deleted before they were sent`]),
    ...(damaged === 0 ? [] : [`${damaged} damaged`]),
  ];
  return `${url}: ${parts.join(", ")}`;
}

/** The last line of log of one receiver. */
export function formatTotals(progress: PipelineProgress): string {
  const { url, entries, bytes, backlog, quarantined, losses } = progress;
  const damaged = [...losses.damaged].map(([reason, count]) => ` damaged-${reason}=${count}`);
  return `Finished url="${url}" acknowledged=${entries} bytes=${bytes} left=${backlog} quarantined=${quarantined} vacuumed=${losses.vacuumed}${damaged.join("")}`;
}

/** 0.42 → "0.4 s", 75 → "1 min 15 s", 100,000 → "27 h 46 min" */
function formatSeconds(seconds: number): string {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.floor(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

function sum(counts: Iterable<number>): number {
  let total = 0;
  for (const count of counts) total += count;
  return total;
}
