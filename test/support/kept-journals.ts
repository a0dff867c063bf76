/** The journals of a booted machine, those too that it deletes. */
import { linkSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { BootedMachine } from "./booted-machine.ts";
import { TREE_MACHINE_ID } from "./debian-tree.ts";
import { countEntries } from "./entry-digests.ts";
import { journalFiles } from "./stored-journals.ts";

export class KeptJournals {
  /** Where they are kept. */
  readonly path: string;
  /** What the machine has of them. */
  readonly directory: string;

  /** @param path a directory on the same file system */
  constructor({ journals }: BootedMachine, path: string) {
    this.path = path;
    this.directory = join(journals, TREE_MACHINE_ID);
  }

  get rotations(): number {
    return readdirSync(this.path).filter((name) => name.startsWith("system@")).length;
  }

  /** What has been archived. */
  keep(): void {
    const kept = readdirSync(this.path);
    for (const name of readdirSync(this.directory)) {
      if (name.includes("@") && !kept.includes(name)) this.#link(name);
    }
  }

  keepAll(): void {
    this.keep();
    for (const name of readdirSync(this.directory)) if (!name.includes("@")) this.#link(name);
  }

  /** Entries at the moment. */
  count(): number {
    this.keep();
    const active = journalFiles(this.directory).filter((file) => !file.includes("@"));
    return countEntries([...journalFiles(this.path), ...active]);
  }

  #link(name: string): void {
    linkSync(join(this.directory, name), join(this.path, name));
  }
}
