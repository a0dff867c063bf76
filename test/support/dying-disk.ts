/** Changes of the disk that fail: one of them, or all from one on, as if the process had been killed there. */
import { spyOn } from "bun:test";
import fs from "node:fs";

const CALLS = [
  "fchmodSync",
  "fchownSync",
  "fsyncSync",
  "futimesSync",
  "lchownSync",
  "mkdirSync",
  "openSync",
  "renameSync",
  "rmSync",
  "rmdirSync",
  "symlinkSync",
  "unlinkSync",
  "writeFileSync",
  "writeSync",
] as const;

/** Calls that a full disk refuses. */
const NEED_SPACE = new Set(["fsyncSync", "mkdirSync", "openSync", "symlinkSync", "renameSync"]);
NEED_SPACE.add("writeFileSync").add("writeSync");

export type Fault =
  /** The call of this number fails for want of space, or the next one that may. */
  | { kind: "full"; at: number }
  /** No call from this number on does anything. */
  | { kind: "killed"; at: number };

/** Until it is disposed of. */
export class DyingDisk implements Disposable {
  /** Changes that were tried. */
  steps = 0;
  hasFailed = false;
  readonly #fault: Fault | undefined;
  readonly #spies: { mockRestore(): void }[];

  constructor(fault?: Fault) {
    this.#fault = fault;
    this.#spies = CALLS.map((name) => {
      const original = fs[name] as (...words: unknown[]) => unknown;
      const spy = spyOn(fs, name) as unknown as {
        mockImplementation(call: (...words: unknown[]) => unknown): { mockRestore(): void };
      };
      return spy.mockImplementation((...words) => {
        const isRead = name === "openSync" && (Number(words[1]) & fs.constants.O_CREAT) === 0;
        if (!isRead) this.step(name);
        // No test cuts the power: it would only take long.
        return name === "fsyncSync" ? undefined : original(...words);
      });
    });
  }

  /** For what changes without the disk: a command, a unit. */
  step(name: string): void {
    this.steps++;
    if (this.#fault === undefined || this.steps < this.#fault.at) return;
    if (this.#fault.kind === "killed") {
      this.hasFailed = true;
      throw new Error(`killed before ${name}`);
    }
    if (this.hasFailed || !NEED_SPACE.has(name)) return;
    this.hasFailed = true;
    throw Object.assign(new Error(`ENOSPC: no space left on device, ${name}`), { code: "ENOSPC" });
  }

  [Symbol.dispose](): void {
    for (const spy of this.#spies) spy.mockRestore();
  }
}
