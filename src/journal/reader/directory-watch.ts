/**
 * Tells what changes in directories, by inotify. It may miss changes, in directories on other machines or when too many
 * come at once: who needs all of them has to look now and then.
 */
import { type FSWatcher, statSync, watch } from "node:fs";
import { join } from "node:path";

interface Watched {
  watcher: FSWatcher;
  /** Of the directory: another one may take its name. */
  identity: string;
}

export class DirectoryWatch {
  readonly #onChange: (path: string, isNew: boolean) => void;
  readonly #watched = new Map<string, Watched>();

  /** @param onChange gets the path of what changed, and whether there may be a new name, or one less */
  constructor(onChange: (path: string, isNew: boolean) => void) {
    this.#onChange = onChange;
  }

  /** Watches these directories, and no others. */
  update(directories: readonly string[]): void {
    const wanted = new Set(directories);
    for (const [path, { watcher }] of this.#watched) {
      if (wanted.has(path)) continue;
      watcher.close();
      this.#watched.delete(path);
    }
    for (const path of wanted) this.#watch(path);
  }

  close(): void {
    this.update([]);
  }

  #watch(path: string): void {
    const identity = identityOf(path);
    const known = this.#watched.get(path);
    if (known !== undefined) {
      if (known.identity === identity) return;
      known.watcher.close();
      this.#watched.delete(path);
    }
    if (identity === undefined) return;
    try {
      const watcher = watch(path, (event, name) => {
        this.#onChange(
          name === null ? path : join(path, name),
          event === "rename" || name === null,
        );
      });
      watcher.on("error", () => {
        watcher.close();
        this.#watched.delete(path);
      });
      this.#watched.set(path, { watcher, identity });
    } catch {
      // No inotify instances left, or it is gone: looking now and then has to do.
    }
  }
}

function identityOf(path: string): string | undefined {
  try {
    const { dev, ino } = statSync(path);
    return `${dev}:${ino}`;
  } catch {
    return undefined;
  }
}
