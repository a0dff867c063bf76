/** A running `agent upload`, to be watched, stopped and killed. */
const PATIENCE_MS = 20_000;

export class UploaderProcess {
  /** All of its stderr so far. */
  log = "";
  readonly #child: Bun.Subprocess<"ignore", "ignore", "pipe">;

  /** @param command executable, subcommand and options; configuration files are not read */
  constructor(command: readonly string[], env: Readonly<Record<string, string>> = {}) {
    const { PATH } = Bun.env;
    this.#child = Bun.spawn([...command], {
      env: { PATH, SYSTEMD_JOURNAL_UPLOAD_CONFIG_FILE: "/dev/null", ...env },
      stdio: ["ignore", "ignore", "pipe"],
    });
    void this.#readLog(this.#child.stderr);
  }

  get pid(): number {
    return this.#child.pid;
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Resolves when stderr contains `text`; rejects when it does not come. */
  async logged(text: string): Promise<void> {
    const deadlineMs = performance.now() + PATIENCE_MS;
    while (!this.log.includes(text) && this.isRunning && performance.now() < deadlineMs) {
      await Bun.sleep(5);
    }
    if (!this.log.includes(text)) throw new Error(`"${text}" is not logged:\n${this.log}`);
  }

  /** Resolves with the exit status, or -1 when a signal ended it. */
  async ended(): Promise<number> {
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), PATIENCE_MS);
    await this.#child.exited;
    clearTimeout(timer);
    return this.#child.exitCode ?? -1;
  }

  /** Ends it at once; resolves when it is gone. */
  async kill(): Promise<void> {
    this.signal("SIGKILL");
    await this.#child.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  async #readLog(stderr: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of stderr) this.log += decoder.decode(chunk, { stream: true });
  }
}
