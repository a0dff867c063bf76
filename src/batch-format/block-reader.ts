/**
 * Entries from blocks that a BatchDecoder has found to be sound: nothing is checked here.
 * HOT: guarded by scripts/bench/batch.ts.
 */
import type { Entry } from "../journal/entry.ts";
import type { FieldDictionary } from "../journal/field-dictionary.ts";
import {
  BLOCK,
  BLOCK_HEAD_SIZE,
  BlockFlag,
  DEFINITION,
  DEFINITION_HEAD_SIZE,
  definitionSize,
  ENTRY_HEAD,
  ENTRY_HEAD_SIZE,
  EntryFlag,
  entrySize,
  ORIGIN,
  ORIGIN_SIZE,
} from "./format.ts";

/**
 * Takes a block's definitions into `dictionary`, which holds those of the blocks before it that still count, then reads
 * the entries one after the other into `entry`, by number, and calls `onEntry` for each.
 * @param block begins at a multiple of 8 of its buffer
 */
export function readBlock(
  block: Uint8Array,
  dictionary: FieldDictionary,
  entry: Entry,
  onEntry: (entry: Entry) => void,
): void {
  const { buffer, byteOffset, length } = block;
  const halves = new Uint16Array(buffer, byteOffset, length >>> 1);
  const words = new Int32Array(buffer, byteOffset, length >>> 2);
  const doubles = new Float64Array(buffer, byteOffset, length >>> 3);
  entry.numbers = halves;
  const entryCount = words[BLOCK.entryCount >>> 2]!;
  let at = takeDefinitions(block, words, dictionary);
  let origin = -1;
  for (let i = 0; i < entryCount; i++) {
    const word = at >>> 2;
    const fieldCount = words[word + (ENTRY_HEAD.fieldCount >>> 2)]!;
    const flags = halves[(at + ENTRY_HEAD.flags) >>> 1]!;
    if ((flags & EntryFlag.refused) === 0) {
      const double = at >>> 3;
      entry.dictionary = dictionary;
      entry.numbersStart = (at + ENTRY_HEAD_SIZE) >>> 1;
      entry.fieldCount = fieldCount;
      entry.realtimeUsec = doubles[double + (ENTRY_HEAD.realtimeUsec >>> 3)]!;
      entry.monotonicUsec = doubles[double + (ENTRY_HEAD.monotonicUsec >>> 3)]!;
      entry.seqnum = doubles[double + (ENTRY_HEAD.seqnum >>> 3)]!;
      entry.hasXorHash = (flags & EntryFlag.noXorHash) === 0;
      entry.xorHashLow = words[word + (ENTRY_HEAD.xorHashLow >>> 2)]!;
      entry.xorHashHigh = words[word + (ENTRY_HEAD.xorHashHigh >>> 2)]!;
      const own = halves[(at + ENTRY_HEAD.origin) >>> 1]!;
      if (own !== origin) {
        origin = own;
        takeOrigin(block, BLOCK_HEAD_SIZE + origin * ORIGIN_SIZE, entry);
      }
      onEntry(entry);
    }
    at += entrySize(fieldCount);
  }
}

/** Returns where the entries begin. */
function takeDefinitions(
  block: Uint8Array,
  words: Int32Array,
  dictionary: FieldDictionary,
): number {
  if ((words[BLOCK.flags >>> 2]! & BlockFlag.restart) !== 0) dictionary.clear();
  const count = words[BLOCK.definitionCount >>> 2]!;
  const first = BLOCK_HEAD_SIZE + words[BLOCK.originCount >>> 2]! * ORIGIN_SIZE;
  let end = first;
  for (let i = 0; i < count; i++) end += definitionSize(words[end >>> 2]! >>> 0);
  const moved = dictionary.copyIn(block, first, end) - first;
  let at = first;
  for (let i = 0; i < count; i++) {
    const payloadSize = words[(at + DEFINITION.payloadSize) >>> 2]! >>> 0;
    const start = moved + at + DEFINITION_HEAD_SIZE;
    dictionary.define(start, start + payloadSize, words[(at + DEFINITION.nameLength) >>> 2]!);
    at += definitionSize(payloadSize);
  }
  return end;
}

function takeOrigin(block: Uint8Array, at: number, { bootId, seqnumId }: Entry): void {
  copyId(block, at + ORIGIN.bootId, bootId);
  copyId(block, at + ORIGIN.seqnumId, seqnumId);
}

function copyId(block: Uint8Array, offset: number, id: Uint8Array): void {
  for (let i = 0; i < 16; i++) id[i] = block[offset + i]!;
}
