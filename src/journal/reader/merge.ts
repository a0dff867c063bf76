/**
 * Chooses, entry by entry, which file comes next. Most of the time that is the one of before, so its further entries
 * are held against bounds: as long as they stay below, they precede those of all other files.
 * HOT: guarded by scripts/bench/read.ts.
 */
import { compareLocations, isSameBoot, isSameEntry } from "./order.ts";
import type { SetFile } from "./set-file.ts";

export class Merge {
  /** The entry of the current file was returned: it is to be advanced before anything else. */
  isTaken = false;
  readonly #ready: SetFile[] = [];
  readonly #advance: (file: SetFile) => void;
  #current: SetFile | undefined;
  /** The next entries of other files: of the same sequence, of the same boot, of all others. */
  #seqnumEnd = 0;
  #monotonicEnd = 0;
  #realtimeEnd = 0;
  readonly #bootWords = new Int32Array(4);

  /** @param advance moves a file on, and removes it here when it has no further entry */
  constructor(advance: (file: SetFile) => void) {
    this.#advance = advance;
  }

  /** Files that have an entry. */
  get size(): number {
    return this.#ready.length;
  }

  /** The file whose entry comes next; undefined when no file has one. */
  next(): SetFile | undefined {
    if (this.isTaken) this.#takeNext();
    const current = this.#current;
    const file = current !== undefined && this.#isFirst(current) ? current : this.#choose();
    this.#current = file;
    this.isTaken = file !== undefined;
    return file;
  }

  /** To be called before files are changed by others than `advance`. */
  stop(): void {
    if (this.isTaken) this.#takeNext();
    this.#current = undefined;
  }

  /** A file that has an entry. */
  add(file: SetFile): void {
    this.#ready.push(file);
    this.#current = undefined;
  }

  remove(file: SetFile): void {
    const index = this.#ready.indexOf(file);
    if (index < 0) return;
    this.#ready.splice(index, 1);
    if (this.#current === file) this.isTaken = false;
    this.#current = undefined;
  }

  #takeNext(): void {
    this.isTaken = false;
    if (this.#current !== undefined) this.#advance(this.#current);
  }

  #isFirst(file: SetFile): boolean {
    return (
      file.seqnum < this.#seqnumEnd &&
      file.realtimeUsec < this.#realtimeEnd &&
      file.monotonicUsec < this.#monotonicEnd &&
      isSameBoot(file.bootWords, this.#bootWords)
    );
  }

  /** As sd-journal does: the first of all, one after the other. */
  #choose(): SetFile | undefined {
    const ready = this.#ready;
    let first = ready[0];
    if (first === undefined) return undefined;
    for (let i = 1; i < ready.length; i++) {
      if (compareLocations(ready[i]!, first) < 0) first = ready[i]!;
    }
    for (let i = ready.length - 1; i >= 0; i--) {
      const other = ready[i]!;
      // Gone from the list after that, or at its next entry.
      if (other !== first && isSameEntry(other, first)) this.#advance(other);
    }
    this.#setBounds(first);
    return first;
  }

  #setBounds(first: SetFile): void {
    const { sequence, bootWords } = first;
    let [seqnumEnd, monotonicEnd, realtimeEnd] = [Infinity, Infinity, Infinity];
    for (const other of this.#ready) {
      if (other === first) continue;
      if (other.sequence === sequence) seqnumEnd = Math.min(seqnumEnd, other.seqnum);
      else if (isSameBoot(other.bootWords, bootWords)) {
        monotonicEnd = Math.min(monotonicEnd, other.monotonicUsec);
      } else realtimeEnd = Math.min(realtimeEnd, other.realtimeUsec);
    }
    this.#seqnumEnd = seqnumEnd;
    this.#monotonicEnd = monotonicEnd;
    this.#realtimeEnd = realtimeEnd;
    this.#bootWords.set(bootWords);
  }
}
