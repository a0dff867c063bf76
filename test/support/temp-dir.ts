import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

/** A directory that is removed at the end of the scope: `using dir = new TempDir()`. */
export class TempDir {
  readonly path: string;

  /** @param parent where it is made: "/dev/shm" where syncs would take most of a test's time */
  constructor(parent: string = tmpdir()) {
    this.path = mkdtempSync(join(parent, "agent-test-"));
  }

  /** Writes a file, with the folders above it; returns its path. */
  write(name: string, content: string | Uint8Array): string {
    const path = join(this.path, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    return path;
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
