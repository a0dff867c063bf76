/** A running receiver, ours or systemd's, as a process to be watched and measured. */
import { join } from "node:path";
import { isListening } from "./ports.ts";
import { readPeakRss } from "./process-usage.ts";
import { until } from "./until.ts";

const ROOT = join(import.meta.dir, "../..");

/** `agent` from the sources. */
export const AGENT_SOURCES: readonly string[] = [process.execPath, join(ROOT, "src/main.ts")];

/** What is kept of the log; `logBytes` counts all of it. */
const LOG_KEPT_MAX = 1 << 20;
const PEAK_INTERVAL_MS = 20;

export class ReceiverProcess implements AsyncDisposable {
  readonly pid: number;
  /** Its stderr so far. */
  log = "";
  logBytes = 0;
  peakRss = 0;
  readonly #child: Bun.Subprocess<"ignore", "ignore", "pipe">;
  readonly #logEnd: Promise<void>;
  readonly #peakTimer: NodeJS.Timeout;
  /** It does not outlive whoever started it, not even when that fails. */
  readonly #kill = (): void => this.#child.kill("SIGKILL");

  constructor(command: readonly string[]) {
    const { PATH, TMPDIR } = Bun.env;
    this.#child = Bun.spawn([...command], {
      env: { PATH, TMPDIR, SYSTEMD_JOURNAL_REMOTE_CONFIG_FILE: "/dev/null" },
      stdin: "ignore",
      stdout: "ignore",
      stderr: "pipe",
    });
    this.pid = this.#child.pid;
    this.#logEnd = this.#readLog();
    process.once("exit", this.#kill);
    this.#peakTimer = setInterval(() => this.#readPeak(), PEAK_INTERVAL_MS);
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Resolves when it takes connections on this port of 127.0.0.1. */
  async listening(port: number): Promise<void> {
    await until(() => !this.isRunning || isListening(port), 20_000);
    if (!this.isRunning) throw new Error(`Cannot wait for the receiver: it ended\n${this.log}`);
  }

  /** Its exit status; -1 when a signal ended it. */
  async ended(): Promise<number> {
    await this.#child.exited;
    clearInterval(this.#peakTimer);
    process.off("exit", this.#kill);
    await this.#logEnd;
    return this.#child.exitCode ?? -1;
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number> {
    this.#readPeak();
    this.#child.kill(signal);
    return await this.ended();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop("SIGKILL");
  }

  /** User and system time it took, in seconds; known after its end. */
  get cpuSeconds(): number {
    return Number(this.#child.resourceUsage()?.cpuTime.total ?? 0) / 1e6;
  }

  #readPeak(): void {
    this.peakRss = Math.max(this.peakRss, readPeakRss(this.pid));
  }

  async #readLog(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of this.#child.stderr) {
      this.logBytes += chunk.length;
      if (this.log.length < LOG_KEPT_MAX) this.log += decoder.decode(chunk, { stream: true });
    }
  }
}
