/** What a verification has found so far, bounded: a damaged file may hold millions of problems. */

export interface Problem {
  /** File offset of the object or header field at fault. */
  offset: number;
  what: string;
}

/** Problems listed; the rest is counted only. */
export const PROBLEMS_LISTED_MAX = 100;

export class Findings {
  readonly problems: Problem[] = [];
  /** Problems found, listed or not. */
  problemCount = 0;
  readonly notes: string[] = [];

  problem(offset: number, what: string): void {
    this.problemCount++;
    if (this.problems.length < PROBLEMS_LISTED_MAX) this.problems.push({ offset, what });
  }

  note(text: string): void {
    this.notes.push(text);
  }
}
