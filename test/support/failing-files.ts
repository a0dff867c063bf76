/** Files that cannot be opened, read or looked at, as with a failing disk or no descriptors left. */
import { spyOn } from "bun:test";
import fs from "node:fs";

type Call = "openSync" | "readSync" | "statSync";

/** Until it is disposed of, calls of node:fs fail for the files that `fail` was told of. */
export class FailingFiles {
  /** Reads from this offset on fail. */
  failFrom = 0;
  /** Times that a call failed. */
  failures = 0;
  readonly #errnoByPath: Record<Call, Map<string, string>> = {
    openSync: new Map(),
    readSync: new Map(),
    statSync: new Map(),
  };
  /** Calls by path that still work. */
  readonly #waiting = new Map<string, number>();
  readonly #spies: { mockRestore(): void }[];

  constructor() {
    const { openSync, readSync, statSync } = fs;
    this.#spies = [
      spyOn(fs, "openSync").mockImplementation((path, ...rest) => {
        this.#check("openSync", `${path}`);
        return openSync(path, ...rest);
      }),
      spyOn(fs, "readSync").mockImplementation(((
        fd: number,
        target: Uint8Array,
        start: number,
        size: number,
        offset: number,
      ) => {
        if (this.#errnoByPath.readSync.size > 0 && offset >= this.failFrom) {
          this.#check("readSync", pathOf(fd));
        }
        return readSync(fd, target, start, size, offset);
      }) as typeof fs.readSync),
      spyOn(fs, "statSync").mockImplementation(((path: string, ...rest: [fs.StatOptions]) => {
        this.#check("statSync", path);
        return statSync(path, ...rest);
      }) as typeof fs.statSync),
    ];
  }

  fail(call: Call, path: string, errno = "EIO"): void {
    this.#errnoByPath[call].set(path, errno);
  }

  /** The same, after so many calls that work. */
  failAfter(call: Call, path: string, calls: number, errno = "EIO"): void {
    this.#waiting.set(path, calls);
    this.fail(call, path, errno);
  }

  /** All files can be used again. */
  mend(): void {
    for (const paths of Object.values(this.#errnoByPath)) paths.clear();
    this.#waiting.clear();
  }

  [Symbol.dispose](): void {
    for (const spy of this.#spies) spy.mockRestore();
  }

  #check(call: Call, path: string): void {
    const errno = this.#errnoByPath[call].get(path);
    if (errno === undefined) return;
    const calls = this.#waiting.get(path) ?? 0;
    this.#waiting.set(path, calls - 1);
    if (calls > 0) return;
    this.failures++;
    throw Object.assign(new Error(`${errno}: ${call} "${path}"`), { code: errno });
  }
}

function pathOf(fd: number): string {
  return fs.readlinkSync(`/proc/self/fd/${fd}`);
}
