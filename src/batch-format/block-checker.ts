/**
 * The checks of a block, and what they need to know of the blocks before it in its body.
 * HOT: guarded by scripts/bench/batch.ts.
 */
import { ID128_SIZE } from "../bytes/id128.ts";
import { AgentError } from "../errors.ts";
import { ENTRY_FIELDS_MAX } from "../journal/entry.ts";
import { isFieldName } from "../journal/field-name.ts";
import type { BlockViews } from "./block-buffer.ts";
import {
  BLOCK,
  BLOCK_HEAD_SIZE,
  BlockFlag,
  DEFINITION,
  DEFINITION_HEAD_SIZE,
  DEFINITIONS_MAX,
  DICTIONARY_SIZE_MAX,
  definitionSize,
  ENTRY_HEAD,
  ENTRY_HEAD_SIZE,
  EntryFlag,
  entrySize,
  ORIGIN,
  ORIGIN_SIZE,
} from "./format.ts";

export interface BatchLimits {
  /** Fields of one entry. */
  readonly fieldsMax: number;
  /** Bytes of `NAME=value`. */
  readonly fieldSizeMax: number;
  /** Bytes of all fields of one entry. */
  readonly entrySizeMax: number;
}

/** Why an entry is refused. */
export type BatchRefusalReason =
  | "bad-timestamp"
  /** A boot and sequence that are not told. */
  | "bad-origin"
  | "no-boot-id"
  /** The sequence number is none, or its id is null. */
  | "bad-identity"
  | "bad-flags"
  | "no-fields"
  | "too-many-fields"
  /** A field that is not defined. */
  | "bad-number"
  /** A field whose name is none a journal may hold. */
  | "bad-name"
  | "field-too-large"
  | "entry-too-large";

interface Refusal {
  readonly reason: BatchRefusalReason;
  readonly detail: string;
}

/** @param offset where in the block the entry begins */
type OnRefused = (reason: BatchRefusalReason, offset: number, detail: string) => void;

const UNDERSCORE = 0x5f;
const EQUALS = 0x3d;
const SIZES_INITIAL = 256;
/** Bytes that a definition takes beside its payload, here and in the store, where a few files each keep a record of it. */
const DEFINITION_OVERHEAD = 64;

export class BlockChecker {
  readonly #limits: BatchLimits;
  readonly #onRefused: OnRefused;
  /** Origins of the block at hand, and whether there are null ids among them. */
  #origins = 0;
  #hasNullId = false;
  /** Fields defined so far. */
  #count = 0;
  /** Payload size of each; 0 = its name is not valid. */
  #sizes = new Uint32Array(SIZES_INITIAL);
  /** The largest payload so far. */
  #sizeMax = 0;
  /** Whether there are fields that no entry may have. */
  #hasBad = false;
  /** Bytes of all definitions. */
  #dictionarySize = 0;
  /** Of dictionaries that are over, the largest: what has grown to that is kept for the next. */
  #heldBefore = 0;

  constructor(limits: Partial<BatchLimits>, onRefused: OnRefused) {
    const {
      fieldsMax = ENTRY_FIELDS_MAX,
      fieldSizeMax = Infinity,
      entrySizeMax = Infinity,
    } = limits;
    this.#limits = { fieldsMax: Math.min(fieldsMax, ENTRY_FIELDS_MAX), fieldSizeMax, entrySizeMax };
    this.#onRefused = onRefused;
  }

  /** Bytes of memory that the body's dictionary takes, wherever it is. */
  get heldBytes(): number {
    const heldNow = this.#dictionarySize + this.#count * DEFINITION_OVERHEAD;
    return Math.max(this.#heldBefore, heldNow);
  }

  /**
   * Checks the first `size` bytes, which are a block, and marks the entries in it that are refused.
   * @returns why the block cannot be read, if it cannot
   * @throws AgentError E_LIMIT when the dictionary is too large
   */
  check(block: BlockViews, size: number): string | undefined {
    const { words } = block;
    const flags = words[BLOCK.flags >>> 2]!;
    if ((flags & ~BlockFlag.restart) !== 0) return `its flags are ${flags >>> 0}, need 0 or 1`;
    if ((flags & BlockFlag.restart) !== 0) this.#restart();
    const definitionsStart = this.#takeOrigins(words, size);
    if (definitionsStart < 0) return "an origin reaches past its end";
    const entriesStart = this.#takeDefinitions(block, definitionsStart, size);
    if (entriesStart < 0) return "a definition reaches past its end";
    const entryCount = words[BLOCK.entryCount >>> 2]! >>> 0;
    let at = entriesStart;
    for (let i = 0; i < entryCount; i++) {
      if (at + ENTRY_HEAD_SIZE > size) return "an entry reaches past its end";
      const fieldCount = words[(at + ENTRY_HEAD.fieldCount) >>> 2]! >>> 0;
      const next = at + entrySize(fieldCount);
      if (next > size) return "an entry reaches past its end";
      if (!this.#isSurelySound(block, at, fieldCount)) this.#examine(block, at, fieldCount);
      at = next;
    }
    return at === size ? undefined : `${size - at} bytes are neither definition nor entry`;
  }

  /** What was defined so far is over. */
  #restart(): void {
    this.#heldBefore = this.heldBytes;
    this.#count = 0;
    this.#sizeMax = 0;
    this.#hasBad = false;
    this.#dictionarySize = 0;
  }

  /** Returns where the definitions begin, or -1. */
  #takeOrigins(words: Int32Array, size: number): number {
    const count = words[BLOCK.originCount >>> 2]! >>> 0;
    const end = BLOCK_HEAD_SIZE + count * ORIGIN_SIZE;
    if (end > size) return -1;
    this.#origins = count;
    this.#hasNullId = false;
    for (let at = BLOCK_HEAD_SIZE; at < end; at += ID128_SIZE) {
      if (isNullId(words, at >>> 2)) this.#hasNullId = true;
    }
    return end;
  }

  /** Returns where the entries begin, or -1. */
  #takeDefinitions({ bytes, words }: BlockViews, definitionsStart: number, size: number): number {
    const count = words[BLOCK.definitionCount >>> 2]! >>> 0;
    if (definitionsStart + count * DEFINITION_HEAD_SIZE > size) return -1;
    this.#requireRoom(count);
    let at = definitionsStart;
    for (let i = 0; i < count; i++) {
      if (at + DEFINITION_HEAD_SIZE > size) return -1;
      const payloadSize = words[(at + DEFINITION.payloadSize) >>> 2]! >>> 0;
      const start = at + DEFINITION_HEAD_SIZE;
      at += definitionSize(payloadSize);
      if (at > size) return -1;
      const nameLength = words[(start - DEFINITION_HEAD_SIZE + DEFINITION.nameLength) >>> 2]! >>> 0;
      const isGood = isGoodPayload(bytes, start, payloadSize, nameLength);
      if (!isGood || payloadSize > this.#limits.fieldSizeMax) this.#hasBad = true;
      if (payloadSize > this.#sizeMax) this.#sizeMax = payloadSize;
      this.#sizes[this.#count++] = isGood ? payloadSize : 0;
    }
    this.#dictionarySize += at - definitionsStart;
    if (this.#dictionarySize > DICTIONARY_SIZE_MAX) throw overLimit("bytes", this.#dictionarySize);
    return at;
  }

  #requireRoom(count: number): void {
    const total = this.#count + count;
    if (total > DEFINITIONS_MAX) throw overLimit("fields", total);
    if (total <= this.#sizes.length) return;
    const grown = new Uint32Array(Math.max(total, 2 * this.#sizes.length));
    grown.set(this.#sizes);
    this.#sizes = grown;
  }

  /** The fast path: false when there may be a reason to refuse the entry. */
  #isSurelySound({ halves, doubles }: BlockViews, at: number, fieldCount: number): boolean {
    const { fieldsMax, entrySizeMax } = this.#limits;
    const double = at >>> 3;
    if (
      !isTime(doubles[double + (ENTRY_HEAD.realtimeUsec >>> 3)]!, 1) ||
      !isTime(doubles[double + (ENTRY_HEAD.monotonicUsec >>> 3)]!, 0) ||
      !isTime(doubles[double + (ENTRY_HEAD.seqnum >>> 3)]!, 0) ||
      halves[(at + ENTRY_HEAD.origin) >>> 1]! >= this.#origins ||
      this.#hasNullId ||
      (halves[(at + ENTRY_HEAD.flags) >>> 1]! & ~EntryFlag.noXorHash) !== 0 ||
      fieldCount === 0 ||
      fieldCount > fieldsMax ||
      this.#hasBad ||
      fieldCount * this.#sizeMax > entrySizeMax
    ) {
      return false;
    }
    const first = (at + ENTRY_HEAD_SIZE) >>> 1;
    const end = first + fieldCount;
    const count = this.#count;
    let isDefined = true;
    for (let i = first; i < end; i++) if (halves[i]! >= count) isDefined = false;
    return isDefined;
  }

  /** The slow path: refuses the entry if there is a reason. */
  #examine(block: BlockViews, at: number, fieldCount: number): void {
    const refusal = this.#refusalOf(block, at, fieldCount);
    if (refusal === undefined) return;
    block.halves[(at + ENTRY_HEAD.flags) >>> 1] = EntryFlag.refused;
    this.#onRefused(refusal.reason, at, refusal.detail);
  }

  /** The first reason to refuse the entry, if there is one. */
  #refusalOf(
    { halves, words, doubles }: BlockViews,
    at: number,
    fieldCount: number,
  ): Refusal | undefined {
    const { fieldsMax } = this.#limits;
    const double = at >>> 3;
    const realtimeUsec = doubles[double + (ENTRY_HEAD.realtimeUsec >>> 3)]!;
    const monotonicUsec = doubles[double + (ENTRY_HEAD.monotonicUsec >>> 3)]!;
    const seqnum = doubles[double + (ENTRY_HEAD.seqnum >>> 3)]!;
    const flags = halves[(at + ENTRY_HEAD.flags) >>> 1]!;
    const origin = halves[(at + ENTRY_HEAD.origin) >>> 1]!;
    if (!isTime(realtimeUsec, 1)) return badTime(realtimeUsec, 1);
    if (!isTime(monotonicUsec, 0)) return badTime(monotonicUsec, 0);
    if (origin >= this.#origins) {
      return {
        reason: "bad-origin",
        detail: `entry has origin ${origin}, ${this.#origins} are told`,
      };
    }
    const ids = (BLOCK_HEAD_SIZE + origin * ORIGIN_SIZE) >>> 2;
    if (isNullId(words, ids + (ORIGIN.bootId >>> 2))) return NO_BOOT_ID;
    if (!isTime(seqnum, 0)) {
      return { reason: "bad-identity", detail: `sequence number is ${seqnum}, need 0 .. 2^53-1` };
    }
    if (seqnum > 0 && isNullId(words, ids + (ORIGIN.seqnumId >>> 2))) return NO_SEQNUM_ID;
    if ((flags & ~EntryFlag.noXorHash) !== 0) {
      return { reason: "bad-flags", detail: `flags are ${flags}, need 0 or 1` };
    }
    if (fieldCount === 0) return NO_FIELDS;
    if (fieldCount > fieldsMax) {
      const detail = `entry has ${fieldCount} fields, ${fieldsMax} is the most`;
      return { reason: "too-many-fields", detail };
    }
    return this.#fieldsRefusal(halves, (at + ENTRY_HEAD_SIZE) >>> 1, fieldCount);
  }

  #fieldsRefusal(halves: Uint16Array, first: number, fieldCount: number): Refusal | undefined {
    const { fieldSizeMax, entrySizeMax } = this.#limits;
    let total = 0;
    for (let i = first; i < first + fieldCount; i++) {
      const number = halves[i]!;
      if (number >= this.#count) {
        const detail = `entry has field ${number}, ${this.#count} are defined`;
        return { reason: "bad-number", detail };
      }
      const size = this.#sizes[number]!;
      if (size === 0) {
        return {
          reason: "bad-name",
          detail: `field ${number} is not NAME=value with a valid name`,
        };
      }
      if (size > fieldSizeMax) {
        return { reason: "field-too-large", detail: `field has more than ${fieldSizeMax} bytes` };
      }
      total += size;
    }
    if (total <= entrySizeMax) return undefined;
    return { reason: "entry-too-large", detail: `entry has more than ${entrySizeMax} bytes` };
  }
}

const NO_BOOT_ID: Refusal = { reason: "no-boot-id", detail: "boot id is null" };
const NO_SEQNUM_ID: Refusal = {
  reason: "bad-identity",
  detail: "entry has a sequence number, and the id of its sequence is null",
};
const NO_FIELDS: Refusal = { reason: "no-fields", detail: "entry has no fields" };

function badTime(usec: number, lowest: number): Refusal {
  return { reason: "bad-timestamp", detail: `time is ${usec}, need ${lowest} .. 2^53-1` };
}

function overLimit(what: "bytes" | "fields", count: number): AgentError {
  const most = what === "bytes" ? DICTIONARY_SIZE_MAX : DEFINITIONS_MAX;
  return new AgentError(
    "E_LIMIT",
    `Cannot read block: the fields defined are ${count} ${what}, ${most} is the most`,
  );
}

/** False for what is not a number, too. */
function isTime(value: number, lowest: number): boolean {
  return value >= lowest && value <= Number.MAX_SAFE_INTEGER && Math.floor(value) === value;
}

function isNullId(words: Int32Array, at: number): boolean {
  return (words[at]! | words[at + 1]! | words[at + 2]! | words[at + 3]!) === 0;
}

/** Whether it is `NAME=value` with a name a journal may hold and a stream may carry. */
function isGoodPayload(
  bytes: Uint8Array,
  start: number,
  size: number,
  nameLength: number,
): boolean {
  if (nameLength >= size || !isFieldName(bytes, start, start + nameLength)) return false;
  const isReserved = bytes[start] === UNDERSCORE && bytes[start + 1] === UNDERSCORE;
  return bytes[start + nameLength] === EQUALS && !isReserved;
}
