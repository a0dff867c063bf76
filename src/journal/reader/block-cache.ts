/**
 * Pieces of journal files in memory, read as they are needed: never a map of a file, which another process may
 * truncate. Shared by all files of a reader, so that its memory has one bound.
 * HOT: guarded by scripts/bench/read.ts.
 */
import fs from "node:fs";
import { viewOf } from "../../bytes/view.ts";
import { journalIoError } from "../io-error.ts";

/** Blocks begin at multiples of this. */
const STRIDE = 128 * 1024;
/** A block reaches into the next one by this, so that nearly every object lies whole in the block it begins in. */
const OVERLAP = 32 * 1024;
const BLOCK_SIZE = STRIDE + OVERLAP;
/** 25 MiB; 50 MiB where many files are read by turns. */
const BLOCKS = 160;
const BLOCKS_MAX = 320;
/** Of each file that is read: of its entries, of fields that they share, of new fields. */
const BLOCKS_OF_FILE = 3;
/** More files at a time have keys of their own than descriptors. */
const BLOCKS_PER_FILE = 2 ** 32;

/** Objects up to this size are found in a block; larger ones are for {@link readAt}. */
export const BLOCK_OBJECT_MAX = OVERLAP;

/** Whose blocks these are. */
export interface BlockFile {
  readonly path: string;
  readonly fd: number;
  /** Different from those of all other open files. */
  readonly id: number;
  /** Called after bytes were read, before they are used; throws when they may not be the file's. */
  afterRead(): void;
}

export class BlockCache {
  readonly bytes: Buffer;
  readonly view: DataView;
  /** Times a block was read from a file. */
  loads = 0;
  readonly #slotByKey = new Map<number, number>();
  readonly #keys: Float64Array;
  readonly #sizes: Uint32Array;
  /** Used since the hand came by: kept for one more round. */
  readonly #isUsed: Uint8Array;
  /** Those that are used at present. */
  #blocks: number;
  #hand = 0;
  #lastKey = -1;
  #lastSlot = 0;

  constructor(blocks: number = BLOCKS, blocksMax: number = BLOCKS_MAX) {
    this.#blocks = blocks;
    // Takes memory where it is written.
    this.bytes = Buffer.alloc(blocksMax * BLOCK_SIZE);
    this.view = viewOf(this.bytes);
    this.#keys = new Float64Array(blocksMax).fill(-1);
    this.#sizes = new Uint32Array(blocksMax);
    this.#isUsed = new Uint8Array(blocksMax);
  }

  /** So many files are read by turns. */
  widen(files: number): void {
    const blocks = Math.min(files * BLOCKS_OF_FILE, this.#keys.length);
    if (blocks > this.#blocks) this.#blocks = blocks;
  }

  /**
   * Brings bytes [offset, offset + size) of a file in. Valid until the next call.
   * @param size up to BLOCK_OBJECT_MAX
   * @returns where they begin in `bytes`; -1 when the file ends before
   * @throws AgentError E_IO
   */
  locate(file: BlockFile, offset: number, size: number): number {
    const block = Math.floor(offset / STRIDE);
    const key = file.id * BLOCKS_PER_FILE + block;
    const slot = key === this.#lastKey ? this.#lastSlot : this.#find(file, key, block);
    const start = offset - block * STRIDE;
    // As an integer in the engine's eyes, too, even when `offset` is a double: each use of it as an index is slow else.
    return start + size <= this.#sizes[slot]! ? (slot * BLOCK_SIZE + start) | 0 : -1;
  }

  /** Forgets what is held of a file past `offset`: it has changed. */
  dropFrom(file: BlockFile, offset: number): void {
    for (let slot = 0; slot < this.#keys.length; slot++) {
      const key = this.#keys[slot]!;
      if (Math.floor(key / BLOCKS_PER_FILE) !== file.id) continue;
      const end = (key % BLOCKS_PER_FILE) * STRIDE + BLOCK_SIZE;
      if (end > offset) this.#drop(slot);
    }
  }

  #find(file: BlockFile, key: number, block: number): number {
    let slot = this.#slotByKey.get(key);
    if (slot === undefined) {
      slot = this.#takeSlot();
      this.#sizes[slot] = readAt(
        file,
        this.bytes.subarray(slot * BLOCK_SIZE, (slot + 1) * BLOCK_SIZE),
        block * STRIDE,
      );
      file.afterRead();
      this.loads++;
      this.#keys[slot] = key;
      this.#slotByKey.set(key, slot);
    }
    this.#isUsed[slot] = 1;
    this.#lastKey = key;
    this.#lastSlot = slot;
    return slot;
  }

  /** An empty slot: the next one that was not used for a round. */
  #takeSlot(): number {
    while (this.#isUsed[this.#hand] === 1) {
      this.#isUsed[this.#hand] = 0;
      this.#hand = (this.#hand + 1) % this.#blocks;
    }
    const slot = this.#hand;
    this.#hand = (this.#hand + 1) % this.#blocks;
    this.#drop(slot);
    return slot;
  }

  #drop(slot: number): void {
    const key = this.#keys[slot]!;
    if (key < 0) return;
    this.#slotByKey.delete(key);
    this.#keys[slot] = -1;
    this.#isUsed[slot] = 0;
    if (key === this.#lastKey) this.#lastKey = -1;
  }
}

/**
 * Fills `target` from the file at `offset`.
 * @returns bytes that the file had
 * @throws AgentError E_IO
 */
export function readAt(file: BlockFile, target: Uint8Array, offset: number): number {
  // What a damaged file says is no offset of any file.
  if (offset > Number.MAX_SAFE_INTEGER) return 0;
  let filled = 0;
  try {
    while (filled < target.length) {
      const count = fs.readSync(file.fd, target, filled, target.length - filled, offset + filled);
      if (count === 0) break;
      filled += count;
    }
  } catch (error) {
    throw journalIoError("read", file.path, error);
  }
  return filled;
}
