/** Remembers the entry that was returned last, cheaply: its cursor is made when it is asked for. */
import { formatCursor } from "../cursor.ts";
import { copyBoot } from "./order.ts";
import type { Sequence } from "./sequence.ts";
import type { SetFile } from "./set-file.ts";

export class LastEntry {
  #sequence: Sequence | undefined;
  #seqnum = 0;
  readonly #bootWords = new Int32Array(4);
  #monotonicUsec = 0;
  #realtimeUsec = 0;
  #xorHashHigh = 0;
  #xorHashLow = 0;

  note(file: SetFile): void {
    this.#sequence = file.sequence;
    this.#seqnum = file.seqnum;
    this.#monotonicUsec = file.monotonicUsec;
    this.#realtimeUsec = file.realtimeUsec;
    this.#xorHashHigh = file.xorHashHigh;
    this.#xorHashLow = file.xorHashLow;
    copyBoot(file.bootWords, this.#bootWords);
  }

  /** Undefined before the first entry. */
  get cursor(): string | undefined {
    if (this.#sequence === undefined) return undefined;
    return formatCursor({
      seqnumId: this.#sequence.id,
      seqnum: this.#seqnum,
      bootId: new Uint8Array(this.#bootWords.buffer),
      monotonicUsec: this.#monotonicUsec,
      realtimeUsec: this.#realtimeUsec,
      xorHash: { high: this.#xorHashHigh, low: this.#xorHashLow },
    });
  }
}
