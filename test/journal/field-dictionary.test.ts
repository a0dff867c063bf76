import { describe, expect, test } from "bun:test";
import { hashJenkins, jenkins } from "../../src/bytes/lookup3.ts";
import { viewOf } from "../../src/bytes/view.ts";
import { newEntry } from "../../src/journal/entry.ts";
import {
  FieldDictionary,
  releaseDictionary,
  spellOutFields,
  takeDictionary,
} from "../../src/journal/field-dictionary.ts";

function define(dictionary: FieldDictionary, ...fields: string[]): void {
  for (const field of fields) {
    const bytes = new TextEncoder().encode(`..${field}.`);
    const at = dictionary.copyIn(bytes, 2, bytes.length - 1);
    dictionary.define(at, at + field.length, field.indexOf("="));
  }
}

/** An entry with these numbers, behind one that is not its own. */
function entryOf(dictionary: FieldDictionary, ...numbers: number[]) {
  const entry = newEntry();
  entry.dictionary = dictionary;
  entry.numbers = Uint16Array.of(99, ...numbers);
  entry.numbersStart = 1;
  entry.fieldCount = numbers.length;
  return entry;
}

describe("spellOutFields()", () => {
  test("gives the fields in their order, one behind the other, of any number", () => {
    const dictionary = new FieldDictionary();
    const fields = Array.from({ length: 3000 }, (_, n) => `FIELD_${n}=${"v".repeat(n % 50)}`);
    define(dictionary, ...fields);
    expect(dictionary.sizeMax).toBe(Math.max(...fields.map((field) => field.length)));
    const entry = entryOf(dictionary, 2999, 0, 1500, 0);
    const size = dictionary.sizeOf(entry);
    spellOutFields(entry);
    const { bytes, fieldStart, fieldEnd, nameLength } = entry;
    const found = [0, 1, 2, 3].map((i) => {
      expect(nameLength[i]).toBe(fields[[2999, 0, 1500, 0][i] ?? 0]?.indexOf("="));
      return new TextDecoder().decode(bytes.subarray(fieldStart[i], fieldEnd[i]));
    });
    expect(found).toEqual([2999, 0, 1500, 0].map((n) => fields[n] ?? ""));
    expect(bytes.length).toBe(size);
    expect(fieldStart[1]).toBe(fieldEnd[0] ?? 0);
    expect(entry.dictionary).toBeUndefined();
  });

  test("leaves an entry alone that has its fields", () => {
    const dictionary = new FieldDictionary();
    define(dictionary, "A=1");
    const entry = entryOf(dictionary, 0);
    spellOutFields(entry);
    const { bytes } = entry;
    spellOutFields(entry);
    expect(entry.bytes).toBe(bytes);
  });
});

describe("FieldDictionary.hashUpTo()", () => {
  function hashesOf(fields: readonly string[]): number[] {
    return fields.flatMap((field) => {
      const bytes = new TextEncoder().encode(field);
      hashJenkins(viewOf(bytes), 0, bytes.length);
      return [jenkins.low | 0, jenkins.high | 0];
    });
  }

  test("hashes fields as they come, also when the dictionary is used again", () => {
    const dictionary = new FieldDictionary();
    for (const name of ["FIRST", "SECOND"]) {
      const fields = Array.from({ length: 1000 }, (_, n) => `${name}=${"v".repeat(n % 40)}${n}`);
      for (let n = 0; n < 1000; n += 100) {
        define(dictionary, ...fields.slice(n, n + 100));
        dictionary.hashUpTo(n + 50);
        dictionary.hashUpTo(n + 10);
        expect(dictionary.hashed).toBe(n + 50);
      }
      dictionary.hashUpTo(1000);
      expect([...dictionary.hashes.subarray(0, 2000)]).toEqual(hashesOf(fields));
      dictionary.clear();
      expect(dictionary.hashed).toBe(0);
    }
  });
});

describe("FieldDictionary.recordsOf()", () => {
  test("keeps what each owner noted, while fields are added", () => {
    const dictionary = new FieldDictionary();
    const [one, other] = [{}, {}];
    for (let n = 0; n < 1000; n++) {
      define(dictionary, `N=${n}`);
      const records = dictionary.recordsOf(one);
      expect(records[n]).toBe(-1);
      records[n] = n * 16;
      if (n % 3 === 0) dictionary.recordsOf(other)[n] = n;
    }
    for (let n = 0; n < 1000; n++) {
      expect(dictionary.recordsOf(one)[n]).toBe(n * 16);
      expect(dictionary.recordsOf(other)[n]).toBe(n % 3 === 0 ? n : -1);
    }
  });

  test.each([
    [2, 200, 200],
    [60_000, 8, 8],
    [60_000, 9, 1],
  ])(
    "of %d fields and %d files keeps those of %d: many take no more than a few",
    (fields, files, kept) => {
      const dictionary = new FieldDictionary();
      define(dictionary, ...new Array(fields).fill("A=1"));
      const owners = Array.from({ length: files }, () => ({}));
      for (const [i, owner] of owners.entries()) dictionary.recordsOf(owner)[0] = i;
      // The last ones first: asking for one that is forgotten takes room as well.
      const found = owners.toReversed().map((owner) => dictionary.recordsOf(owner)[0]);
      expect(found.slice(0, kept)).toEqual(Array.from({ length: kept }, (_, i) => files - 1 - i));
      expect(found.slice(kept)).toEqual(new Array(files - kept).fill(-1));
      expect(dictionary.recordsOf({})[1]).toBe(-1);
    },
  );

  test("knows nothing any more in a dictionary that was given back", () => {
    const owner = {};
    const first = takeDictionary();
    define(first, "A=1", "B=2");
    first.recordsOf(owner)[1] = 5;
    releaseDictionary(first);
    const second = takeDictionary();
    expect(second).toBe(first);
    expect([second.count, second.sizeMax]).toEqual([0, 0]);
    define(second, "C=3", "D=44");
    expect(second.recordsOf(owner)[1]).toBe(-1);
    const entry = entryOf(second, 1);
    spellOutFields(entry);
    expect(new TextDecoder().decode(entry.bytes)).toBe("D=44");
    // It has a user now.
    expect(takeDictionary()).not.toBe(first);
  });

  test("a very large one is not kept", () => {
    const large = new FieldDictionary();
    define(large, `A=${"x".repeat(9 << 20)}`);
    releaseDictionary(large);
    expect(takeDictionary()).not.toBe(large);
  });
});
