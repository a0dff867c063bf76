/** The entries of one request or stream on their way into their sender's journal. */
import { readBlock } from "../../batch-format/block-reader.ts";
import { AgentError } from "../../errors.ts";
import { type Entry, newEntry } from "../../journal/entry.ts";
import {
  type FieldDictionary,
  releaseDictionary,
  takeDictionary,
} from "../../journal/field-dictionary.ts";
import type { Sink } from "../ingest-types.ts";
import type { SenderJournal } from "./sender-journal.ts";

/** What a sink needs of the store. */
export interface SinkOwner {
  /** @throws AgentError E_NO_SPACE while the file system is too full to take more. */
  requireSpace(): void;
  /** Something was appended, or failed to be: publish and sync it in time. */
  appended(journal: SenderJournal): void;
  /** An entry could not be added. */
  failed(error: unknown): void;
  /** Something reached the disk. */
  synced(): void;
  /** After a failure: frees space if it can. True when trying again makes sense. */
  makeSpace(error: unknown): Promise<boolean>;
  released(journal: SenderJournal): void;
}

/** The entry of a block at hand, for all sinks. */
const scratchEntry = newEntry();

export class JournalSink implements Sink {
  stored = 0;
  duplicates = 0;
  readonly #journal: SenderJournal;
  readonly #owner: SinkOwner;
  #lossesSeen: number;
  /** The fields that have numbers. */
  #dictionary: FieldDictionary | undefined;
  #closed = false;

  constructor(journal: SenderJournal, owner: SinkOwner) {
    this.#journal = journal;
    this.#owner = owner;
    this.#lossesSeen = journal.losses;
    journal.sinks++;
  }

  add(entry: Entry): void {
    this.#owner.requireSpace();
    try {
      if (this.#journal.add(entry)) this.stored++;
      else this.duplicates++;
    } catch (error) {
      this.#owner.failed(error);
      throw error;
    } finally {
      this.#owner.appended(this.#journal);
    }
  }

  addBlock(block: Uint8Array): void {
    this.#dictionary ??= takeDictionary();
    readBlock(block, this.#dictionary, scratchEntry, this.#addEntry);
  }

  /**
   * Syncs all the sender's files, not only what this sink added: an entry recognised as stored may have
   * come with a request that is not acknowledged yet.
   */
  async commit(): Promise<void> {
    try {
      await this.#journal.sync();
    } catch (error) {
      this.#owner.failed(error);
      if (!(await this.#owner.makeSpace(error))) throw error;
      await this.#journal.sync();
    }
    this.#owner.synced();
    const { losses, lossCode, base } = this.#journal;
    if (losses === this.#lossesSeen) return;
    this.#lossesSeen = losses;
    throw new AgentError(
      lossCode,
      `Cannot acknowledge entries of "${base}": a file of theirs was given up`,
    );
  }

  /** Adding is storing here: nobody has to wait. */
  ready(): undefined {
    return undefined;
  }

  readonly #addEntry = (entry: Entry): void => this.add(entry);

  close(): void {
    if (this.#closed) return;
    if (this.#dictionary !== undefined) releaseDictionary(this.#dictionary);
    this.#dictionary = undefined;
    this.#closed = true;
    this.#journal.sinks--;
    this.#owner.released(this.#journal);
  }
}
