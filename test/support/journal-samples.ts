/** One journal file of each layout, made by systemd, and their verification. */
import { join } from "node:path";
import { AgentError } from "../../src/errors.ts";
import { verifyJournalFile } from "../../src/journal/verify.ts";
import { Patient } from "./journal-damage.ts";
import { type JournalVariant, makeJournal, sampleExport } from "./journal-tools.ts";
import type { TempDir } from "./temp-dir.ts";

export const SAMPLE_ENTRIES = 120;

export const VARIANTS: Record<string, JournalVariant> = {
  "compact keyed": {},
  "compact unkeyed": { keyed: false },
  "regular keyed": { compact: false },
  "regular unkeyed": { compact: false, keyed: false },
};

export class JournalSamples {
  readonly #dir: TempDir;

  constructor(dir: TempDir) {
    this.#dir = dir;
  }

  /** Has systemd write them. */
  make(): void {
    for (const [name, variant] of Object.entries(VARIANTS)) {
      makeJournal(this.path(name), sampleExport(SAMPLE_ENTRIES), variant);
    }
  }

  path(variant: string): string {
    return join(this.#dir.path, `${variant.replace(" ", "-")}.journal`);
  }

  /** Lets `run` damage a sample, and heals it. */
  withPatient(variant: string, run: (patient: Patient) => void): void {
    using patient = new Patient(this.path(variant));
    try {
      run(patient);
    } finally {
      patient.heal();
    }
  }
}

/** The problems of a file as text; an AgentError that is thrown counts as one. */
export function problemsOf(file: string): string[] {
  try {
    return verifyJournalFile(file).problems.map(({ offset, what }) => `${offset}: ${what}`);
  } catch (error) {
    if (error instanceof AgentError) return [error.message];
    throw error;
  }
}
