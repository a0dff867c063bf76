/**
 * Notices that files have changed: at once where the kernel tells, by looking now and then where
 * it does not (network file systems, a folder that is itself replaced through a symlink).
 */
import { type FSWatcher, watch } from "node:fs";
import { dirname } from "node:path";
import { filesSignature } from "../platform/file-signature.ts";

export interface FileWatchOptions {
  /** Quiet time after a change: tools write key and certificate one after the other. */
  settleMs?: number;
  pollMs?: number;
}

/** Calls `onChange` after any of the files was changed, replaced, made or removed. */
export class FileWatch {
  readonly #files: readonly string[];
  readonly #onChange: () => void;
  readonly #settleMs: number;
  readonly #watchers: FSWatcher[] = [];
  readonly #pollTimer: ReturnType<typeof setInterval>;
  #settleTimer: ReturnType<typeof setTimeout> | undefined;
  #seen: string;

  constructor(files: readonly string[], onChange: () => void, options: FileWatchOptions = {}) {
    this.#files = files;
    this.#onChange = onChange;
    this.#settleMs = options.settleMs ?? 500;
    this.#seen = filesSignature(this.#files);
    this.#pollTimer = setInterval(() => this.#look(), options.pollMs ?? 30_000);
    for (const folder of new Set(files.map((file) => dirname(file)))) this.#watchFolder(folder);
  }

  close(): void {
    clearInterval(this.#pollTimer);
    clearTimeout(this.#settleTimer);
    for (const watcher of this.#watchers) watcher.close();
  }

  #watchFolder(folder: string): void {
    try {
      const watcher = watch(folder, () => this.#schedule());
      // Not fatal: the poll goes on.
      watcher.on("error", () => watcher.close());
      this.#watchers.push(watcher);
    } catch {
      // No such folder, or no inotify instances left: the poll has to do.
    }
  }

  #schedule(): void {
    clearTimeout(this.#settleTimer);
    this.#settleTimer = setTimeout(() => this.#look(), this.#settleMs);
  }

  #look(): void {
    const signature = filesSignature(this.#files);
    if (signature === this.#seen) return;
    this.#seen = signature;
    this.#onChange();
  }
}
