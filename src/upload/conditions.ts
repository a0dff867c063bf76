/**
 * Conditions on the fields of entries. Each term, a field with one of some values, gets a bit: a field is tested once,
 * when it is read, and whether a condition holds for an entry is a matter of the bits of its fields.
 */
import type { FieldHooks } from "../journal/reader/data-cache.ts";
import type { IndexedTerm } from "../journal/reader/indexed-selector.ts";
import type { JournalEntry } from "../journal/reader/journal-entry.ts";

/** A field with one of some values. */
export interface Term extends IndexedTerm {
  /** Whether the indexes of a journal file can tell its entries. */
  readonly isIndexed: boolean;
  /** Its bit. */
  readonly number: number;
}

/** Alternatives; of one, all terms have to hold. */
export type Condition = readonly (readonly Term[])[];

interface TermTest {
  readonly word: number;
  readonly bit: number;
  readonly values: ReadonlySet<string>;
  readonly valueSizeMax: number;
  readonly accepts: Term["accepts"];
}

/** The tests of one field. */
interface NameTests {
  readonly name: Buffer;
  readonly tests: TermTest[];
}

const WORD_BITS = 32;
/** Longer values are not asked about: what has patterns has short names. */
const PATTERN_VALUE_SIZE_MAX = 4096;

/** Gives out terms, the same one for the same values. */
export class TermTable {
  readonly #terms: Term[] = [];
  readonly #termByKey = new Map<string, Term>();

  get size(): number {
    return this.#terms.length;
  }

  /**
   * The field with one of `values`, or with one that `accepts` takes. Values are text, as UTF-8 in the field.
   */
  oneOf(name: string, values: readonly string[], accepts?: (value: string) => boolean): Term {
    const key = JSON.stringify([name, values]);
    const known = accepts === undefined ? this.#termByKey.get(key) : undefined;
    if (known !== undefined) return known;
    const term = this.#add({
      name,
      payloads: values.map((value) => Buffer.from(`${name}=${value}`)),
      accepts:
        accepts === undefined
          ? undefined
          : (bytes, start, end) =>
              end - start <= PATTERN_VALUE_SIZE_MAX && accepts(bytes.toString("utf8", start, end)),
      isIndexed: true,
    });
    if (accepts === undefined) this.#termByKey.set(key, term);
    return term;
  }

  /** The field with a value that `accepts` takes, when so many values are to be expected that no index helps. */
  tested(name: string, accepts: (bytes: Buffer, start: number, end: number) => boolean): Term {
    return this.#add({ name, payloads: [], accepts, isIndexed: false });
  }

  /** What tells the bits of a field; nothing when there are no terms. */
  hooks(): FieldHooks {
    if (this.size === 0) return {};
    const names = this.#tests();
    const wordCount = Math.ceil(this.size / WORD_BITS);
    const moreTags = new Int32Array(wordCount - 1);
    const tag: FieldHooks["tag"] = (bytes, start, end, nameLength): number => {
      moreTags.fill(0);
      const found = findName(names, bytes, start, nameLength);
      if (found === undefined) return 0;
      const valueStart = start + nameLength + 1;
      for (let word = 1; word < wordCount; word++) {
        moreTags[word - 1] = testsOf(found, word, bytes, valueStart, end);
      }
      return testsOf(found, 0, bytes, valueStart, end);
    };
    return wordCount === 1 ? { tag } : { tag, moreTags };
  }

  #add(term: Omit<Term, "number">): Term {
    const added = { ...term, number: this.size };
    this.#terms.push(added);
    return added;
  }

  /** By the length of the name. */
  #tests(): NameTests[][] {
    const tests: NameTests[][] = [];
    for (const term of this.#terms) {
      const name = Buffer.from(term.name);
      const sameLength = tests[name.length] ?? [];
      tests[name.length] = sameLength;
      const known = sameLength.find((other) => other.name.equals(name));
      const named = known ?? { name, tests: [] };
      if (known === undefined) sameLength.push(named);
      const values = term.payloads.map((payload) => payload.subarray(name.length + 1));
      named.tests.push({
        word: Math.floor(term.number / WORD_BITS),
        bit: 1 << (term.number % WORD_BITS),
        values: new Set(values.map((value) => Buffer.from(value).toString("latin1"))),
        valueSizeMax: Math.max(-1, ...values.map(({ length }) => length)),
        accepts: term.accepts,
      });
    }
    return tests;
  }
}

/** Answers whether a condition holds for an entry. */
export function testOf(condition: Condition): (entry: JournalEntry) => boolean {
  const alternatives = condition.map((terms) => {
    const masks: number[] = [];
    for (const { number } of terms) {
      const word = Math.floor(number / WORD_BITS);
      masks[word] = (masks[word] ?? 0) | (1 << (number % WORD_BITS));
    }
    return Int32Array.from(masks, (mask) => mask ?? 0);
  });
  if (alternatives.every(({ length }) => length === 1)) {
    const masks = alternatives.map(([mask]) => mask as number);
    return ({ tags }) => masks.some((mask) => (tags & mask) === mask);
  }
  return (entry) => alternatives.some((masks) => hasAll(entry, masks));
}

function hasAll({ tags, moreTags }: JournalEntry, masks: Int32Array): boolean {
  return masks.every(
    (mask, word) => ((word === 0 ? tags : (moreTags[word - 1] as number)) & mask) === mask,
  );
}

function findName(
  names: readonly (readonly NameTests[])[],
  bytes: Buffer,
  start: number,
  nameLength: number,
): NameTests | undefined {
  const sameLength = names[nameLength];
  if (sameLength === undefined) return undefined;
  for (const named of sameLength) {
    if (named.name.compare(bytes, start, start + nameLength) === 0) return named;
  }
  return undefined;
}

/** The bits of one word. */
function testsOf(
  { tests }: NameTests,
  word: number,
  bytes: Buffer,
  start: number,
  end: number,
): number {
  let bits = 0;
  for (const test of tests) {
    if (test.word !== word) continue;
    const isValue =
      end - start <= test.valueSizeMax && test.values.has(bytes.toString("latin1", start, end));
    if (isValue || test.accepts?.(bytes, start, end) === true) bits |= test.bit;
  }
  return bits;
}
