/**
 * The checks of a block, and what they need to know of the blocks before it in its body.
 * HOT: guarded by scripts/bench/batch.ts.
 */
import { AgentError } from "../errors.ts";
import { ENTRY_FIELDS_MAX } from "../journal/entry.ts";
import { isFieldName } from "../journal/field-name.ts";
import {
  BLOCK,
  BLOCK_HEAD_SIZE,
  DEFINITION,
  DEFINITION_HEAD_SIZE,
  DEFINITIONS_MAX,
  DICTIONARY_SIZE_MAX,
  definitionSize,
  ENTRY_HEAD,
  ENTRY_HEAD_SIZE,
  EntryFlag,
  entrySize,
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
/** Bytes that a definition takes beside its payload, here and in the store. */
const DEFINITION_OVERHEAD = 16;

export class BlockChecker {
  readonly #limits: BatchLimits;
  readonly #onRefused: OnRefused;
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
    return this.#dictionarySize + this.#count * DEFINITION_OVERHEAD;
  }

  /**
   * Checks the block bytes[0 .. size) and marks the entries in it that are refused.
   * @param words the same memory as `bytes`, as `doubles`
   * @returns why the block cannot be read, if it cannot
   * @throws AgentError E_LIMIT when the dictionary is too large
   */
  check(
    bytes: Uint8Array,
    words: Int32Array,
    doubles: Float64Array,
    size: number,
  ): string | undefined {
    const entriesStart = this.#takeDefinitions(bytes, words, size);
    if (entriesStart < 0) return "a definition reaches past its end";
    const entryCount = words[BLOCK.entryCount >>> 2]! >>> 0;
    let at = entriesStart;
    for (let i = 0; i < entryCount; i++) {
      if (at + ENTRY_HEAD_SIZE > size) return "an entry reaches past its end";
      const fieldCount = words[(at + ENTRY_HEAD.fieldCount) >>> 2]! >>> 0;
      const next = at + entrySize(fieldCount);
      if (next > size) return "an entry reaches past its end";
      if (!this.#isSurelySound(words, doubles, at, fieldCount)) {
        this.#examine(words, doubles, at, fieldCount);
      }
      at = next;
    }
    return at === size ? undefined : `${size - at} bytes are neither definition nor entry`;
  }

  /** Returns where the entries begin, or -1. */
  #takeDefinitions(bytes: Uint8Array, words: Int32Array, size: number): number {
    const count = words[BLOCK.definitionCount >>> 2]! >>> 0;
    if (BLOCK_HEAD_SIZE + count * DEFINITION_HEAD_SIZE > size) return -1;
    this.#requireRoom(count);
    let at = BLOCK_HEAD_SIZE;
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
    this.#dictionarySize += at - BLOCK_HEAD_SIZE;
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
  #isSurelySound(
    words: Int32Array,
    doubles: Float64Array,
    at: number,
    fieldCount: number,
  ): boolean {
    const { fieldsMax, entrySizeMax } = this.#limits;
    const double = at >>> 3;
    const word = at >>> 2;
    const seqnum = doubles[double + (ENTRY_HEAD.seqnum >>> 3)]!;
    const flags = words[word + (ENTRY_HEAD.flags >>> 2)]!;
    if (
      !isTime(doubles[double + (ENTRY_HEAD.realtimeUsec >>> 3)]!, 1) ||
      !isTime(doubles[double + (ENTRY_HEAD.monotonicUsec >>> 3)]!, 0) ||
      !isTime(seqnum, 0) ||
      isNullId(words, word + (ENTRY_HEAD.bootId >>> 2)) ||
      (seqnum > 0 && isNullId(words, word + (ENTRY_HEAD.seqnumId >>> 2))) ||
      (flags & ~EntryFlag.noXorHash) !== 0 ||
      fieldCount === 0 ||
      fieldCount > fieldsMax ||
      this.#hasBad ||
      fieldCount * this.#sizeMax > entrySizeMax
    ) {
      return false;
    }
    const first = word + (ENTRY_HEAD_SIZE >>> 2);
    const end = first + fieldCount;
    const count = this.#count;
    let isDefined = true;
    for (let i = first; i < end; i++) if (words[i]! >>> 0 >= count) isDefined = false;
    return isDefined;
  }

  /** The slow path: refuses the entry if there is a reason. */
  #examine(words: Int32Array, doubles: Float64Array, at: number, fieldCount: number): void {
    const refusal = this.#refusalOf(words, doubles, at, fieldCount);
    if (refusal === undefined) return;
    words[(at + ENTRY_HEAD.flags) >>> 2] = EntryFlag.refused;
    this.#onRefused(refusal.reason, at, refusal.detail);
  }

  /** The first reason to refuse the entry, if there is one. */
  #refusalOf(
    words: Int32Array,
    doubles: Float64Array,
    at: number,
    fieldCount: number,
  ): Refusal | undefined {
    const { fieldsMax } = this.#limits;
    const double = at >>> 3;
    const word = at >>> 2;
    const realtimeUsec = doubles[double + (ENTRY_HEAD.realtimeUsec >>> 3)]!;
    const monotonicUsec = doubles[double + (ENTRY_HEAD.monotonicUsec >>> 3)]!;
    const seqnum = doubles[double + (ENTRY_HEAD.seqnum >>> 3)]!;
    const flags = words[word + (ENTRY_HEAD.flags >>> 2)]!;
    if (!isTime(realtimeUsec, 1)) return badTime(realtimeUsec, 1);
    if (!isTime(monotonicUsec, 0)) return badTime(monotonicUsec, 0);
    if (isNullId(words, word + (ENTRY_HEAD.bootId >>> 2))) return NO_BOOT_ID;
    if (!isTime(seqnum, 0)) {
      return { reason: "bad-identity", detail: `sequence number is ${seqnum}, need 0 .. 2^53-1` };
    }
    if (seqnum > 0 && isNullId(words, word + (ENTRY_HEAD.seqnumId >>> 2))) return NO_SEQNUM_ID;
    if ((flags & ~EntryFlag.noXorHash) !== 0) {
      return { reason: "bad-flags", detail: `flags are ${flags >>> 0}, need 0 or 1` };
    }
    if (fieldCount === 0) return NO_FIELDS;
    if (fieldCount > fieldsMax) {
      const detail = `entry has ${fieldCount} fields, ${fieldsMax} is the most`;
      return { reason: "too-many-fields", detail };
    }
    return this.#fieldsRefusal(words, word + (ENTRY_HEAD_SIZE >>> 2), fieldCount);
  }

  #fieldsRefusal(words: Int32Array, first: number, fieldCount: number): Refusal | undefined {
    const { fieldSizeMax, entrySizeMax } = this.#limits;
    let total = 0;
    for (let i = first; i < first + fieldCount; i++) {
      const number = words[i]! >>> 0;
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
    `Cannot read block: the fields of its body are ${count} ${what}, ${most} is the most`,
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
