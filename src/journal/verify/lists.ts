/**
 * Second pass, entry lists: the file's own and that of every DATA object, and that an entry is in
 * the lists of exactly the DATA objects it names (journal-verify.c: verify_entry_array(),
 * verify_entry(), verify_data()). HOT: guarded by scripts/bench/verify.ts.
 *
 * systemd searches each entry in each list. Here the chains are followed in memory, then all
 * arrays and entries are read once, in file order; for each DATA the entries that name it are
 * added to a sum and the entries it lists are subtracted, so that nothing is left if they agree.
 */
import { ENTRY, ENTRY_ARRAY, HEADER, OBJECT } from "../format.ts";
import { WINDOW_SIZE } from "./file-window.ts";
import { arrayItemSize } from "./objects.ts";
import type { Scan } from "./scan.ts";

const WORD = 4;
/** Owners of an array: none, the file's list of all entries, or a DATA object by number plus 2. */
const UNOWNED = 0;
const GLOBAL = 1;
const FIRST_DATA = 2;

/** What is kept of each DATA: four i32. */
const LEDGER = { sumA: 0, sumB: 1, count: 2, namedBy: 3 } as const;
const LEDGER_SIZE = 4;

interface Lists {
  /** For each array, whose list it is part of, and how many of its items belong to the list. */
  owner: Uint32Array;
  used: Uint32Array;
  /** Slot of the last entry read from each list, by owner. */
  last: Uint32Array;
  /** Entries of the file's own list read. */
  listed: number;
  /**
   * For each DATA, sums over two mixes of entry slots and the number of entries, which are 0 if
   * they agree; and the last entry that named it, so that one that names it twice counts once.
   */
  ledger: Int32Array;
  /** The entry which DATA objects need not list yet: linking it is the last thing a writer does. */
  tail: number;
  /** DATA objects that the tail entry names, and that list it. */
  tailItems: Set<number>;
  tailListers: Set<number>;
}

export function checkEntryLists(scan: Scan): void {
  const { data, arrays, entries } = scan;
  const lists: Lists = {
    owner: new Uint32Array(arrays.index.count),
    used: new Uint32Array(arrays.index.count),
    last: new Uint32Array(FIRST_DATA + data.index.count),
    listed: 0,
    ledger: new Int32Array(data.index.count * LEDGER_SIZE),
    tail: entries.count === 0 ? 0 : entries.slots[entries.count - 1]!,
    tailItems: new Set(),
    tailListers: new Set(),
  };
  followGlobalChain(scan, lists);
  for (let index = 0; index < data.index.count; index++) followDataChain(scan, lists, index);
  readInFileOrder(scan, lists);
  for (let index = 0; index < data.index.count; index++) checkBalance(scan, lists, index);
}

function followGlobalChain(scan: Scan, lists: Lists): void {
  const { header, findings } = scan;
  const first = header.entryArrayOffset;
  if (first !== 0 && scan.arrays.index.indexOf(first / 8) < 0) {
    findings.problem(HEADER.entryArrayOffset, `first entry array ${first} is not an entry array`);
    return;
  }
  const tail = followChain(scan, lists, first / 8, header.entries, GLOBAL, HEADER.entryArrayOffset);
  if (tail < 0 || header.tailEntryArrayOffset === undefined) return;
  const array = tail * 8;
  const items = tail === 0 ? 0 : lists.used[scan.arrays.index.indexOf(tail)]!;
  if (header.tailEntryArrayOffset !== array || header.tailEntryArrayEntries !== items) {
    findings.problem(
      HEADER.tailEntryArrayOffset,
      `tail entry array ${header.tailEntryArrayOffset} with ${header.tailEntryArrayEntries} items, the chain ends with ${items} in ${array}`,
    );
  }
}

function followDataChain(scan: Scan, lists: Lists, index: number): void {
  const { data, findings } = scan;
  const object = data.index.offset(index);
  const listed = data.entries.values[index]!;
  const array = data.firstArray.values[index]!;
  if (listed < 2 && array !== 0) {
    findings.problem(object, `data with an entry array at ${array * 8} but ${listed} entries`);
    return;
  }
  if (listed === 0) return;
  const entry = data.firstEntry.values[index]!;
  if (scan.entries.indexOf(entry) < 0) {
    findings.problem(object, `data with its first entry at ${entry * 8}, where no entry is`);
  }
  lists.last[FIRST_DATA + index] = entry;
  subtract(lists, index, entry);
  const tail = followChain(scan, lists, array, listed - 1, FIRST_DATA + index, object);
  if (scan.isCompact && tail >= 0) checkDataTail(scan, lists, index, tail);
}

function checkDataTail(scan: Scan, lists: Lists, index: number, tail: number): void {
  const { data } = scan;
  const items = tail === 0 ? 0 : lists.used[scan.arrays.index.indexOf(tail)]!;
  const tailArray = data.tailArray.values[index]!;
  const tailItems = data.tailArrayEntries.values[index]!;
  if (tailArray !== tail * 8 || tailItems !== items) {
    scan.findings.problem(
      data.index.offset(index),
      `data with ${tailItems} items in its tail array ${tailArray}, the chain ends with ${items} in ${tail * 8}`,
    );
  }
}

/**
 * Claims the arrays that hold `needed` items, from the array at slot `first` on.
 * Returns the slot of the last, -1 if the chain is broken.
 */
function followChain(
  scan: Scan,
  lists: Lists,
  first: number,
  needed: number,
  owner: number,
  object: number,
): number {
  const { arrays, findings } = scan;
  let tail = 0;
  let slot = first;
  let left = needed;
  while (left > 0) {
    const index = slot === 0 ? -1 : arrays.index.indexOf(slot);
    if (index < 0) {
      findings.problem(
        object,
        slot === 0
          ? `entry list is too short: ${left} of ${needed} array items are missing`
          : `entry list goes to ${slot * 8}, where no entry array is`,
      );
      return -1;
    }
    if (lists.owner[index] !== UNOWNED) {
      findings.problem(object, `entry array at ${slot * 8} is part of two lists`);
      return -1;
    }
    const used = Math.min(left, arrays.capacity.values[index]!);
    lists.owner[index] = owner;
    lists.used[index] = used;
    left -= used;
    tail = slot;
    slot = arrays.next.values[index]!;
  }
  return tail;
}

/** Both sequences are ascending, so the window only moves forward. */
function readInFileOrder(scan: Scan, lists: Lists): void {
  const { entries, arrays } = scan;
  let array = 0;
  for (let entry = 0; entry < entries.count; entry++) {
    const slot = entries.slots[entry]!;
    while (array < arrays.index.count && arrays.index.slots[array]! < slot) {
      readArray(scan, lists, array++);
    }
    readEntry(scan, lists, slot);
  }
  while (array < arrays.index.count) readArray(scan, lists, array++);
}

function readArray(scan: Scan, lists: Lists, index: number): void {
  const owner = lists.owner[index]!;
  if (owner === UNOWNED) return;
  const itemSize = arrayItemSize(scan.isCompact);
  const items = scan.arrays.index.offset(index) + ENTRY_ARRAY.items;
  const size = lists.used[index]! * itemSize;
  for (let done = 0; done < size; done += WINDOW_SIZE) {
    const loaded = Math.min(WINDOW_SIZE, size - done);
    const word = scan.window.load(items + done, loaded);
    if (owner === GLOBAL) readGlobalItems(scan, lists, word, loaded / itemSize);
    else readDataItems(scan, lists, owner, word, loaded / itemSize);
  }
}

/** The file's own list must be all entries in file order. */
function readGlobalItems(scan: Scan, lists: Lists, firstWord: number, count: number): void {
  const { findings, entries } = scan;
  for (let i = 0; i < count; i++) {
    const slot = itemSlot(scan, firstWord, i);
    const expected = entries.slots[lists.listed++];
    if (slot === expected) continue;
    if (lists.listed > entries.count) return;
    const is = entries.indexOf(slot) < 0 ? "is not an entry" : "is out of its order";
    findings.problem(
      HEADER.entryArrayOffset,
      `item ${lists.listed - 1} of the entry list is ${slot * 8}, which ${is}`,
    );
  }
}

/** Whether these are entries is not looked up: only those that name the DATA balance its ledger. */
function readDataItems(
  scan: Scan,
  lists: Lists,
  owner: number,
  firstWord: number,
  count: number,
): void {
  const index = owner - FIRST_DATA;
  let last = lists.last[owner]!;
  for (let i = 0; i < count; i++) {
    const slot = itemSlot(scan, firstWord, i);
    if (slot <= last) {
      scan.findings.problem(
        scan.data.index.offset(index),
        `data lists the entry at ${slot * 8} after the one at ${last * 8}`,
      );
    }
    last = slot;
    subtract(lists, index, slot);
  }
  lists.last[owner] = last;
}

function itemSlot(scan: Scan, firstWord: number, item: number): number {
  const { window } = scan;
  return scan.isCompact ? window.words[firstWord + item]! >>> 3 : window.slot(firstWord + item * 2);
}

function readEntry(scan: Scan, lists: Lists, slot: number): void {
  const { window, findings } = scan;
  const object = slot * 8;
  // The size was in bounds in the first pass, but the file may have changed since.
  const sizeMax = scan.header.headerSize + scan.header.arenaSize - object;
  const declared = window.uint64(window.load(object, ENTRY.items) + OBJECT.size / WORD);
  const size = Math.min(declared, sizeMax);
  const itemWords = scan.isCompact ? 1 : 4;
  const itemSize = itemWords * WORD;
  const itemsSize = size - ENTRY.items;
  for (let done = 0; done < itemsSize; done += WINDOW_SIZE) {
    const loaded = Math.min(WINDOW_SIZE, itemsSize - done);
    const start = window.load(object + ENTRY.items + done, loaded);
    const end = start + Math.floor(loaded / itemSize) * itemWords;
    for (let word = start; word < end; word += itemWords) {
      const item = scan.isCompact ? compactSlot(window.words[word]!) : window.slot(word);
      const index = item < 0 ? -1 : scan.data.index.indexOf(item);
      if (index < 0) findings.problem(object, `entry names data at ${item * 8}, where none is`);
      else readItem(scan, lists, slot, index, scan.isCompact ? -1 : word + 2);
    }
  }
}

function compactSlot(offset: number): number {
  return (offset & 7) === 0 ? offset >>> 3 : -1;
}

/** @param hashWord of the hash beside the item, -1 in compact files, which have none */
function readItem(scan: Scan, lists: Lists, slot: number, index: number, hashWord: number): void {
  const { window, data } = scan;
  if (
    hashWord >= 0 &&
    (window.words[hashWord] !== data.hashLow.values[index] ||
      window.words[hashWord + 1] !== data.hashHigh.values[index])
  ) {
    scan.findings.problem(
      slot * 8,
      `entry has another hash than the data at ${data.index.offset(index)} it names`,
    );
  }
  const { ledger } = lists;
  const record = index * LEDGER_SIZE;
  if (ledger[record + LEDGER.namedBy] === (slot | 0)) return;
  ledger[record + LEDGER.namedBy] = slot | 0;
  if (slot === lists.tail) lists.tailItems.add(index);
  else post(ledger, record, mixA(slot), mixB(slot), 1);
}

function subtract(lists: Lists, index: number, slot: number): void {
  if (slot === lists.tail) lists.tailListers.add(index);
  else post(lists.ledger, index * LEDGER_SIZE, -mixA(slot), -mixB(slot), -1);
}

function post(ledger: Int32Array, record: number, a: number, b: number, count: number): void {
  ledger[record + LEDGER.sumA] = (ledger[record + LEDGER.sumA]! + a) | 0;
  ledger[record + LEDGER.sumB] = (ledger[record + LEDGER.sumB]! + b) | 0;
  ledger[record + LEDGER.count] = ledger[record + LEDGER.count]! + count;
}

/** Two finalizers of good hashes, so that two wrongs add up to a right once in 2^64. */
function mixA(slot: number): number {
  const mixed = Math.imul(slot ^ (slot >>> 16), 0x85ebca6b);
  return Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
}

function mixB(slot: number): number {
  const mixed = Math.imul(slot ^ (slot >>> 15), 0x2c1b3c6d);
  return Math.imul(mixed ^ (mixed >>> 12), 0x297a2d39);
}

function checkBalance(scan: Scan, lists: Lists, index: number): void {
  const object = scan.data.index.offset(index);
  const record = index * LEDGER_SIZE;
  const surplus = lists.ledger[record + LEDGER.count]!;
  if (surplus !== 0) {
    scan.findings.problem(
      object,
      surplus > 0
        ? `data does not list ${surplus} of the entries that name it`
        : `data lists ${-surplus} entries that do not name it`,
    );
  } else if ((lists.ledger[record + LEDGER.sumA]! | lists.ledger[record + LEDGER.sumB]!) !== 0) {
    scan.findings.problem(object, "data does not list the entries that name it, but others");
  }
  if (lists.tailListers.has(index) && !lists.tailItems.has(index)) {
    scan.findings.problem(object, "data lists the last entry, which does not name it");
  }
}
