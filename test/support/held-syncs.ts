/** A disk that takes as long as the test wants to make things durable. */
import { spyOn } from "bun:test";
import fs from "node:fs";

type Callback = (error: Error | null) => void;

/** Holds back every fdatasync that the store asks for, in the order of asking. */
export class HeldSyncs implements Disposable {
  readonly waiting: { fd: number; done: Callback }[] = [];
  readonly #spy = spyOn(fs, "fdatasync").mockImplementation(((fd: number, done: Callback) => {
    this.waiting.push({ fd, done });
  }) as typeof fs.fdatasync);

  /** Lets those that wait now go on; with an error they fail. */
  release(error: Error | null = null): void {
    for (const { done } of this.waiting.splice(0)) done(error);
  }

  [Symbol.dispose](): void {
    this.#spy.mockRestore();
    this.release();
  }
}
