/**
 * Reads bodies of the batch format from chunks split anywhere, and checks everything about them, so that whoever
 * gets a block can trust it. HOT: guarded by scripts/bench/batch.ts.
 */
import { AgentError } from "../errors.ts";
import { type Entry, newEntry } from "../journal/entry.ts";
import { FieldDictionary, spellOutFields } from "../journal/field-dictionary.ts";
import { BlockBuffer } from "./block-buffer.ts";
import { type BatchLimits, type BatchRefusalReason, BlockChecker } from "./block-checker.ts";
import { readBlock } from "./block-reader.ts";
import {
  BLOCK,
  BLOCK_HEAD_SIZE,
  BLOCK_SIGNATURE,
  BLOCK_SIZE_MAX,
  DICTIONARY_SIZE_MAX,
} from "./format.ts";

export interface BatchHandler {
  /**
   * The next block, for `readBlock()`. Valid during the call only; begins at a multiple of 8 of its buffer.
   */
  onBlock(block: Uint8Array): void;
  /**
   * One entry that will not come.
   * @param offset where in the body it begins, in bytes
   * @param detail what is wrong, for a log line
   */
  onRefused(reason: BatchRefusalReason, offset: number, detail: string): void;
}

export class BatchDecoder {
  readonly #handler: BatchHandler;
  readonly #checker: BlockChecker;
  readonly #buffer = new BlockBuffer();
  /** Bytes of the block from its start that have to be there before it is looked at again. */
  #needed = BLOCK_HEAD_SIZE;
  /** Of the body's bytes before the block at hand. */
  #offset = 0;

  constructor(handler: BatchHandler, limits: Partial<BatchLimits> = {}) {
    this.#handler = handler;
    this.#checker = new BlockChecker(limits, (reason, offset, detail) =>
      handler.onRefused(reason, this.#offset + offset, detail),
    );
  }

  /** Bytes of memory that the body takes between two calls of push(), here and where its dictionary is kept. */
  get bufferedBytes(): number {
    return this.#buffer.heldBytes + this.#checker.heldBytes;
  }

  /**
   * Takes the next bytes of the body and calls the handler for each block that ends in them.
   * @throws AgentError E_EXPORT_SYNTAX when blocks cannot be told apart, E_LIMIT when the dictionary is too large;
   * or what the handler throws. The body is then over.
   */
  push(chunk: Uint8Array): void {
    const buffer = this.#buffer;
    try {
      for (let taken = 0; taken < chunk.length; ) {
        taken += buffer.append(chunk, taken, this.#needed);
        if (buffer.size < this.#needed) continue;
        if (this.#needed === BLOCK_HEAD_SIZE) this.#needed = this.#checkSize();
        if (buffer.size === this.#needed) this.#endBlock();
      }
    } finally {
      buffer.settle();
    }
  }

  /** The body is over. Returns the size of the unfinished block at its end, which is dropped; mostly 0. */
  end(): number {
    const { size } = this.#buffer;
    this.#buffer.clear();
    this.#buffer.settle();
    return size;
  }

  /** The size of the block whose head is there. */
  #checkSize(): number {
    const { words } = this.#buffer.views;
    const signature = words[BLOCK.signature >>> 2]!;
    const size = words[BLOCK.size >>> 2]! >>> 0;
    if (signature !== BLOCK_SIGNATURE) {
      throw this.#broken(`it begins with 0x${hex(signature)}, need 0x${hex(BLOCK_SIGNATURE)}`);
    }
    if (size < BLOCK_HEAD_SIZE || size % 8 !== 0) {
      throw this.#broken(`it has ${size} bytes, need a multiple of 8 from ${BLOCK_HEAD_SIZE} on`);
    }
    if (size <= BLOCK_SIZE_MAX) return size;
    const others = words[BLOCK.originCount >>> 2]! | words[BLOCK.entryCount >>> 2]!;
    if (words[BLOCK.definitionCount >>> 2] !== 1 || others !== 0) {
      throw this.#broken(`it has ${size} bytes, ${BLOCK_SIZE_MAX} is the most`);
    }
    if (size > BLOCK_HEAD_SIZE + DICTIONARY_SIZE_MAX) {
      throw new AgentError(
        "E_LIMIT",
        `Cannot read block: a field has about ${size} bytes, ${DICTIONARY_SIZE_MAX} is the most`,
        { offset: this.#offset },
      );
    }
    return size;
  }

  #endBlock(): void {
    const { views, size } = this.#buffer;
    const problem = this.#checker.check(views, size);
    if (problem !== undefined) throw this.#broken(problem);
    this.#handler.onBlock(views.bytes.subarray(0, size));
    this.#offset += size;
    this.#needed = BLOCK_HEAD_SIZE;
    this.#buffer.clear();
  }

  #broken(problem: string): AgentError {
    return new AgentError("E_EXPORT_SYNTAX", `Cannot read block: ${problem}`, {
      offset: this.#offset,
    });
  }
}

/**
 * Decodes a whole body that is in memory: one that was sent and refused, to be sent in another way.
 * @param onEntry gets the entries one after the other, with their fields; valid during the call
 * @returns how many entries were passed over, because no receiver takes them
 * @throws AgentError E_EXPORT_SYNTAX, E_LIMIT
 */
export function decodeBatch(body: Uint8Array, onEntry: (entry: Entry) => void): number {
  const dictionary = new FieldDictionary();
  const scratch = newEntry();
  let refused = 0;
  const decoder = new BatchDecoder({
    onBlock(block): void {
      readBlock(block, dictionary, scratch, (entry) => {
        spellOutFields(entry);
        onEntry(entry);
      });
    },
    onRefused(): void {
      refused++;
    },
  });
  decoder.push(body);
  const rest = decoder.end();
  if (rest === 0) return refused;
  throw new AgentError(
    "E_EXPORT_SYNTAX",
    `Cannot read block: body ends after ${rest} bytes of it`,
    {
      offset: body.length - rest,
    },
  );
}

function hex(word: number): string {
  return (word >>> 0).toString(16).padStart(8, "0");
}
