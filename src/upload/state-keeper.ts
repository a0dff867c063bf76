/** Keeps a state file up to date: the last acknowledged position is on disk soon, and at the end in any case. */
import { reasonOf } from "../errors.ts";
import { log } from "../log.ts";
import type { Position } from "./delivery-types.ts";
import { writeState } from "./state.ts";

/** Between two writes for a receiver that recognises what it has stored; each costs two fsyncs. */
const SAVE_INTERVAL_MS = 200;
/** After a write that failed, without a newer position that would be written sooner. */
const RETRY_INTERVAL_MS = 5_000;

export interface StateKeeperOptions {
  /** Undefined = the position is not kept. */
  path: string | undefined;
  /** Written into the file where each of several targets has one. */
  target: string | undefined;
}

export class StateKeeper {
  readonly #options: StateKeeperOptions;
  #unsaved: Position | undefined;
  #writing: Promise<void> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #problem: string | undefined;

  constructor(options: StateKeeperOptions) {
    this.#options = options;
  }

  /** Why the newest position is not on disk. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Everything up to here is stored at the receiver; it is written with the next few others. */
  note(position: Position): void {
    if (this.#options.path === undefined) return;
    this.#unsaved = position;
    this.#timer ??= this.#flushIn(SAVE_INTERVAL_MS);
  }

  /** Resolves when what was noted is on disk, or could not be written, which is logged. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    while (this.#writing !== undefined) await this.#writing;
    if (this.#unsaved === undefined || this.#options.path === undefined) return;
    this.#writing = this.#write(this.#options.path, this.#unsaved);
    await this.#writing;
  }

  #flushIn(delayMs: number): ReturnType<typeof setTimeout> {
    return setTimeout(() => {
      this.#timer = undefined;
      void this.flush();
    }, delayMs);
  }

  async #write(path: string, position: Position): Promise<void> {
    try {
      await writeState(path, { position, target: this.#options.target });
      if (this.#unsaved === position) this.#unsaved = undefined;
      if (this.#problem !== undefined) log.info(`State file "${path}" can be written again`);
      this.#problem = undefined;
    } catch (error) {
      const problem = reasonOf(error);
      if (this.#problem === undefined) {
        log.warn(
          `Cannot write state file "${path}": ${problem}; after a restart, entries acknowledged since its last change are sent again`,
        );
      }
      this.#problem = problem;
      // It does not hold up the end, before which there was one more attempt.
      this.#timer ??= this.#flushIn(RETRY_INTERVAL_MS).unref();
    } finally {
      this.#writing = undefined;
    }
  }
}
