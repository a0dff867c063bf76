/** A child process whose stderr is read on: to be watched, stopped and killed. */

/** How long it may take to log something, or to end after a signal. */
const PATIENCE_MS = 20_000;

export class LoggedProcess implements AsyncDisposable {
  /** All of its stderr so far. */
  log = "";
  readonly #child: Bun.Subprocess<"ignore", "ignore", "pipe">;
  readonly #logEnd: Promise<void>;

  /** @param env all of it but PATH */
  constructor(command: readonly string[], env: Readonly<Record<string, string>>) {
    const { PATH } = Bun.env;
    this.#child = Bun.spawn([...command], {
      env: { PATH, ...env },
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.#logEnd = this.#readLog(this.#child.stderr);
  }

  get pid(): number {
    return this.#child.pid;
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Resolves when stderr contains `text`; rejects when it does not come, or the process ends without. */
  async logged(text: string): Promise<void> {
    const deadlineMs = performance.now() + PATIENCE_MS;
    while (!this.log.includes(text) && this.isRunning && performance.now() < deadlineMs) {
      await Bun.sleep(5);
    }
    if (!this.isRunning) await this.#logEnd;
    if (!this.log.includes(text)) throw new Error(`"${text}" is not logged:\n${this.log}`);
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Resolves with the exit status, once it has ended after SIGTERM. */
  async stop(): Promise<number> {
    this.signal("SIGTERM");
    return await this.ended();
  }

  /** Resolves with the exit status, -1 when a signal ended it; rejects when it does not end. */
  async ended(): Promise<number> {
    let isHung = false;
    const timer = setTimeout(() => {
      isHung = true;
      this.signal("SIGKILL");
    }, PATIENCE_MS);
    await this.#child.exited;
    clearTimeout(timer);
    await this.#logEnd;
    if (isHung) throw new Error(`It does not end:\n${this.log}`);
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
