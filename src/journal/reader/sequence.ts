/**
 * What is known of one seqnum id: how far it was read, and which of its files are to be read after others. Files of
 * one id follow one another by number, so most of them need not be looked at until the one before is at its end.
 */
import { formatId128 } from "../../bytes/id128.ts";
import type { JournalHeader } from "../header.ts";
import { copyBoot, type Location } from "./order.ts";
import type { LastRead } from "./seek.ts";
import type { SetFile } from "./set-file.ts";
import type { SequenceTail } from "./start.ts";

export class Sequence implements LastRead {
  readonly id: Uint8Array;
  readonly text: string;
  /** The last entry that was returned or passed over; 0 = none. */
  seqnum = 0;
  realtimeUsec = 0;
  readonly bootWords = new Int32Array(4);
  /** Entries may be missing between the last one and the next file: the one in between is gone. */
  isInterrupted = false;
  /** An earlier run has read some of it. */
  isRestored = false;
  /** Numbers up to the last one may stand for other, newer entries. */
  mayReuse = true;
  /** Files whose turn has come are being looked for. */
  isBeginning = false;
  #heldFrom = Number.POSITIVE_INFINITY;
  /** By the number of their first entry. */
  readonly #waiting: SetFile[] = [];
  readonly #ready = new Set<SetFile>();

  constructor(id: Uint8Array) {
    this.id = id;
    this.text = formatId128(id);
  }

  /** Everything up to this entry was returned or passed over. */
  note(entry: Pick<Location, "seqnum" | "realtimeUsec" | "bootWords">): void {
    this.seqnum = entry.seqnum;
    this.realtimeUsec = entry.realtimeUsec;
    copyBoot(entry.bootWords, this.bootWords);
  }

  /** A file was read as far as it goes, though not all of its entries were looked at. */
  noteEnd(header: JournalHeader, unread: number): void {
    if (unread > 0 || header.tailEntrySeqnum <= this.seqnum) return;
    if (header.tailEntrySeqnum >= this.#heldFrom) return;
    const boot = new Uint8Array(header.tailEntryBootId);
    this.note({
      seqnum: header.tailEntrySeqnum,
      realtimeUsec: header.tailEntryRealtime,
      bootWords: new Int32Array(boot.buffer),
    });
  }

  /** Entries from this number on wait for a file that cannot be read at the moment. */
  get heldFrom(): number {
    return this.#heldFrom;
  }

  holdFrom(seqnum: number): void {
    this.#heldFrom = Math.min(this.#heldFrom, seqnum);
  }

  /** None waits. */
  release(): void {
    this.#heldFrom = Number.POSITIVE_INFINITY;
  }

  get tail(): SequenceTail {
    const { seqnum, realtimeUsec, bootWords } = this;
    return { seqnum, realtimeUsec, bootId: formatId128(new Uint8Array(bootWords.buffer)) };
  }

  wait(file: SetFile): void {
    file.stage = "waiting";
    const { headEntrySeqnum } = file.header;
    const behind = this.#waiting.findIndex(
      (other) => other.header.headEntrySeqnum > headEntrySeqnum,
    );
    if (behind < 0) this.#waiting.push(file);
    else this.#waiting.splice(behind, 0, file);
  }

  begin(file: SetFile): void {
    this.#ready.add(file);
  }

  end(file: SetFile): void {
    this.#ready.delete(file);
    const index = this.#waiting.indexOf(file);
    if (index >= 0) this.#waiting.splice(index, 1);
  }

  /** Whether files have not had their turn. */
  get isWaiting(): boolean {
    return this.#waiting.length > 0;
  }

  /** Takes the next file whose turn it is: all that are read end before it, or it begins among them. */
  takeDue(): SetFile | undefined {
    const first = this.#waiting[0];
    if (first === undefined || first.nextSeqnum >= this.#heldFrom) return undefined;
    const { headEntrySeqnum } = first.header;
    let isDue = this.#ready.size === 0;
    for (const { header } of this.#ready) {
      if (headEntrySeqnum <= header.tailEntrySeqnum) isDue = true;
    }
    return isDue ? this.#waiting.shift() : undefined;
  }
}
