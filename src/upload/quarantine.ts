/**
 * Where entries go that a receiver refuses: a file in the export format, to be looked at and, once the cause is found,
 * to be sent with `agent upload FILE`. When it is full it becomes `FILE.1`, in place of the one before.
 */
import { mkdirSync, renameSync, statSync } from "node:fs";
import { open } from "node:fs/promises";
import { dirname } from "node:path";
import { errnoOf, reasonOf } from "../errors.ts";
import { log } from "../log.ts";

export interface QuarantineOptions {
  /** Undefined = entries are counted and logged only. */
  path: string | undefined;
  /** Bytes of the file, and of the one before it. */
  sizeMax: number;
}

export interface RefusedEntry {
  /** The entry in the export format. */
  pieces: readonly Uint8Array[];
  /** As journalctl writes it; undefined for an entry without identity. */
  cursor: string | undefined;
  /** What the receiver said. */
  reason: string;
}

export class Quarantine {
  readonly #options: QuarantineOptions;
  #count = 0;
  #isProblemLogged = false;

  constructor(options: QuarantineOptions) {
    this.#options = options;
  }

  /** Entries set aside since the start, kept in a file or not. */
  get count(): number {
    return this.#count;
  }

  /** Resolves when the entry is on disk, or it is logged why not. Never rejects. */
  async add({ pieces, cursor, reason }: RefusedEntry): Promise<void> {
    this.#count++;
    const where = await this.#keep(pieces);
    const name = cursor === undefined ? "An entry" : `Entry "${cursor}"`;
    log.warn(`${name} is refused and passed over: ${reason}; ${where} quarantined=${this.#count}`);
  }

  async #keep(pieces: readonly Uint8Array[]): Promise<string> {
    const { path, sizeMax } = this.#options;
    if (path === undefined) return "it is not kept";
    const size = pieces.reduce((sum, piece) => sum + piece.length, 0);
    if (size > sizeMax) return `it is not kept: ${size} bytes, at most ${sizeMax} are`;
    try {
      mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
      if (fileSize(path) + size > sizeMax) renameSync(path, `${path}.1`);
      await append(path, Buffer.concat(pieces));
      return `it is kept in "${path}"`;
    } catch (error) {
      if (!this.#isProblemLogged) log.warn(`Cannot write to "${path}": ${reasonOf(error)}`);
      this.#isProblemLogged = true;
      return "it could not be kept";
    }
  }
}

async function append(path: string, bytes: Uint8Array): Promise<void> {
  const sizeBefore = fileSize(path);
  // Entries of a journal are not for everybody to read.
  const file = await open(path, "a", 0o640);
  try {
    await file.appendFile(bytes);
    await file.sync();
  } catch (error) {
    // Half an entry would spoil the next one.
    await file.truncate(sizeBefore);
    throw error;
  } finally {
    await file.close();
  }
}

function fileSize(path: string): number {
  try {
    return statSync(path).size;
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return 0;
    throw error;
  }
}
