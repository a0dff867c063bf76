/** Lets concurrent callers share one expensive commit, such as an fdatasync. */
export class GroupCommit {
  readonly #commit: () => Promise<void>;
  #running: Promise<void> | undefined;
  #waiting: Promise<void> | undefined;

  constructor(commit: () => Promise<void>) {
    this.#commit = commit;
  }

  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** Resolves when the commit now running, if any, is done. */
  async settled(): Promise<void> {
    await this.#running?.catch(() => undefined);
  }

  /** Resolves after a commit that began after this call; rejects as that one does. */
  request(): Promise<void> {
    this.#waiting ??= this.#runNext();
    return this.#waiting;
  }

  async #runNext(): Promise<void> {
    // Lets callers of this turn join, then waits for a commit that began before their changes.
    await (this.#running?.catch(() => undefined) ?? Promise.resolve());
    this.#waiting = undefined;
    const commit = this.#commit();
    this.#running = commit;
    try {
      await commit;
    } finally {
      if (this.#running === commit) this.#running = undefined;
    }
  }
}
