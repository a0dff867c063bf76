/** A file system that is soon full: a tmpfs of its own, which needs root. */
import { rmSync, statfsSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { errnoOf } from "../../src/errors.ts";
import { TempDir } from "./temp-dir.ts";

export class SmallDisk implements Disposable {
  readonly path: string;
  readonly #dir = new TempDir();
  readonly #ballast: string;

  /** @throws Error when it may not be mounted. */
  constructor(sizeBytes: number) {
    this.path = this.#dir.path;
    this.#ballast = join(this.path, "ballast");
    const options = `size=${sizeBytes},mode=0700`;
    try {
      command("mount", "-t", "tmpfs", "-o", options, "agent-test", this.path);
    } catch (error) {
      this.#dir[Symbol.dispose]();
      throw error;
    }
  }

  /** Whether this machine lets us have one. */
  static isPossible(): boolean {
    try {
      new SmallDisk(65_536)[Symbol.dispose]();
      return true;
    } catch {
      return false;
    }
  }

  get freeBytes(): number {
    const { bavail, frsize } = statfsSync(this.path);
    return bavail * frsize;
  }

  /** Takes or gives back space, so that this much is left, or less when others write meanwhile. */
  leaveFree(freeBytes: number): void {
    this.release();
    try {
      writeFileSync(this.#ballast, new Uint8Array(Math.max(0, this.freeBytes - freeBytes)));
    } catch (error) {
      if (errnoOf(error) !== "ENOSPC") throw error;
    }
  }

  /** Gives all space back that was taken. */
  release(): void {
    writeFileSync(this.#ballast, "", { flag: "a" });
    truncateSync(this.#ballast);
  }

  [Symbol.dispose](): void {
    // Lazily: it goes with the last process that has a file of it open.
    command("umount", "--lazy", this.path);
    rmSync(this.path, { recursive: true, force: true });
  }
}

function command(...words: string[]): void {
  const { exitCode, stderr } = Bun.spawnSync(words);
  if (exitCode !== 0) throw new Error(`${words.join(" ")}: ${stderr}`);
}
