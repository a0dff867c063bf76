/** The receiver without its network: pipeline and store on a directory, fed with bytes. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { verifyJournalFile } from "../../src/journal/verify.ts";
import { Counters } from "../../src/serve/counters.ts";
import { IngestPipeline } from "../../src/serve/ingest.ts";
import type { IngestResult } from "../../src/serve/ingest-types.ts";
import { DEFAULT_LIMITS, type IngestLimits } from "../../src/serve/settings.ts";
import { Store } from "../../src/serve/store/store.ts";

export class IngestRig {
  readonly directory: string;
  /** Entries stored by requests that ended. */
  stored = 0;
  /** Bytes of warnings about senders. */
  logBytes = 0;
  readonly #store: Store;
  readonly #pipeline: IngestPipeline;

  private constructor(directory: string, limits: Partial<IngestLimits>) {
    this.directory = directory;
    this.#store = new Store({
      output: directory,
      splitMode: "host",
      format: { compressThresholdBytes: 512, compact: true, keyedHash: true },
      // Nothing is deleted: what was stored is counted at the end.
      retention: {
        maxUseBytes: 0,
        keepFreeBytes: 0,
        maxFileSizeBytes: undefined,
        maxFiles: 0,
        maxRetentionSec: 0,
        maxFileSec: 0,
      },
      receiverId: "0123456789abcdef0123456789abcdef",
    });
    const counters = new Counters({
      warn: (line) => {
        this.logBytes += line.length;
      },
      nowMs: () => performance.now(),
    });
    this.#pipeline = new IngestPipeline(this.#store, { ...DEFAULT_LIMITS, ...limits }, counters);
  }

  static async open(directory: string, limits: Partial<IngestLimits> = {}): Promise<IngestRig> {
    const rig = new IngestRig(directory, limits);
    await rig.#store.start();
    return rig;
  }

  get heldBytes(): number {
    return this.#pipeline.heldBytes;
  }

  /** One request; through one buffer, as a socket's: a kept reference would show. */
  async feed(sender: string, chunks: Iterable<Uint8Array>): Promise<IngestResult> {
    const stream = this.#pipeline.open(sender, undefined);
    let shared = new Uint8Array(0);
    for (const chunk of chunks) {
      if (shared.length < chunk.length) shared = new Uint8Array(chunk.length);
      shared.set(chunk);
      await stream.push(shared.subarray(0, chunk.length));
      shared.fill(0xff, 0, chunk.length);
    }
    const result = await stream.end();
    this.stored += result.counts.stored;
    return result;
  }

  async close(): Promise<void> {
    await this.#store.close();
  }
}

export interface DirectoryCheck {
  files: string[];
  entries: number;
  /** One line each; empty when all files are sound. */
  problems: string[];
}

/** Verifies every file of a directory nobody writes to. */
export function checkDirectory(directory: string): DirectoryCheck {
  const files = readdirSync(directory).map((name) => join(directory, name));
  const check: DirectoryCheck = { files, entries: 0, problems: [] };
  for (const file of files) {
    const { entries, problems } = verifyJournalFile(file);
    check.entries += entries;
    for (const { what, offset } of problems) check.problems.push(`${file}: ${what} at ${offset}`);
  }
  return check;
}
